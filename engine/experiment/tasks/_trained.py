"""Trained networks to evaluate: from a run folder, or from a file of torch tensors and the name of
a model."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.exchange import aihwkit
from engine.exchange.aihwkit.file import is_source, read_source
from engine.exchange.aihwkit.lost import Losses
from engine.experiment.build import network
from engine.experiment.checkpoint import BEST, LAST, load_checkpoint
from engine.experiment.data import Info
from engine.experiment.runs import DONE, read_config, read_record, run_status
from engine.experiment.tasks import TRAIN, task_of
from engine.experiment.tasks.evaluate import trained_for_tiles
from engine.settings import UserError
from engine.trust.code import check_code_in
from engine.trust.files import open_plain, read_bytes

if TYPE_CHECKING:
    import torch
    from torch import nn

SAFETENSORS, PICKLED = (".safetensors",), (".pt", ".pth", ".th", ".bin")
# Files of torch often hold more than the weights; these are the usual names for them.
WRAPPERS = ("state_dict", "model_state_dict", "model")
# The name that torch gives to what a module says of itself.
EXTRA_STATE = "_extra_state"
SHOWN = 4
# Where networks of torchvision and of users stand in ours.
INSIDE = "network."


def is_weights_file(path: Path) -> bool:
    """Whether a path is meant as a file of tensors."""
    return path.suffix in SAFETENSORS + PICKLED


def home_of(path: Path) -> Path:
    """The run folder of a path, which may also mean its best checkpoint (`RUN/best`)."""
    return (
        path.parent
        if path.name == BEST and (path.parent / "run.json").is_file()
        else path
    )


def fingerprint(path: Path) -> str:
    """A short hash of the weights at `path`, with all else that is taken from there. Raises
    UserError if there are none."""
    if is_source(path):
        # Counters and settings stand in its header, and count as well.
        return hashlib.sha256(read_bytes(path, follow=True)).hexdigest()[:16]
    if is_weights_file(path):
        tensors = _read_file(path)
    else:
        tensors, _ = _read_run(path)
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(_content(tensor))
    return digest.hexdigest()[:16]


def start_of(config: Mapping[str, Any]) -> str:
    """Where the first weights of a training come from; empty for new ones. Raises UserError for two
    places."""
    start = str(config["run"].get("start") or "")
    weights = str((config.get("model") or {}).get("weights") or "")
    if task_of(config) != TRAIN or not weights:
        return start
    if start:
        raise UserError(f"model.weights={weights}, run.start={start}: give one of them")
    if not is_weights_file(Path(weights)):
        ends = ", ".join(SAFETENSORS + PICKLED)
        raise UserError(
            f"model.weights={weights}: it takes a file of tensors ({ends}); "
            "run.start=RUN takes the network of a run"
        )
    return weights


def _content(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor of any type, also of those that NumPy lacks."""
    import torch

    flat = tensor.detach().contiguous().view(-1)
    return flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""


def trained(
    config: Mapping[str, Any], path: Path, info: Info, device: torch.device
) -> tuple[nn.Module, dict[str, nn.Module]]:
    """The network with the weights at `path`, as it was trained, and its layers by name.

    A file of tensors is one of the digital network that `config` names; one from aihwkit keeps its
    tiles if `config` trains for tiles. Raises UserError if something does not fit."""
    if is_source(path) and trained_for_tiles(config):
        model, layers = network(config, info, device)
        _load_source(model, path)
        return model, layers
    if is_weights_file(path):
        digital = {**config, "algorithm": {"name": "digital"}, "layers": {}}
        model, layers = network(digital, info, device)
        fit(model, _read_file(path), path)
        return model, layers
    home = home_of(path)
    own = read_config(home)
    check_code_in(own, home)
    # A network trained for tiles meets the periphery of the evaluation.
    evaluated = task_of(config) != TRAIN and trained_for_tiles(own)
    source = config if evaluated else {**own, "run": {**own["run"], **config["run"]}}
    model, layers = network(source, info, device)
    tensors, state = _read_run(path)
    fit(model, {**tensors, **state}, path)
    return model, layers


def start_from(
    model: nn.Module, path: Path, config: Mapping[str, Any], *, info: Info
) -> None:
    """Gives `model` the logical weights at `path`, whatever they were trained on, and all else that
    was learned; from a file of aihwkit also its cells, and the state of its algorithms."""
    if is_source(path):
        _load_source(model, path)
        return
    import torch

    from engine.nn import AnalogLayer, convert_to_digital

    where = next(iter(model.parameters())).device
    state = torch.get_rng_state()
    digital = convert_to_digital(trained(config, path, info, where)[0])
    torch.set_rng_state(state)
    learned, own = digital.state_dict(), model.state_dict()
    fit(convert_to_digital(model), learned, path)
    for name, layer in model.named_modules():
        if isinstance(layer, AnalogLayer):
            layer.set_logical_weights(digital.get_submodule(name).state_dict())
    model.load_state_dict(
        {key: learned[key] for key in own if key in learned}, strict=False
    )


def fit(model: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Loads `state`. Raises UserError that names the keys that are missing, unexpected, or of
    another shape."""
    own = model.state_dict()
    state = {
        key: _unfolded(value, own.get(key))
        for key, value in with_prefix(state, own).items()
    }
    missing, unexpected = (
        [k for k in own if k not in state],
        [k for k in state if k not in own],
    )
    shapes = [
        f"{key} {_shape(state[key])} instead of {_shape(own[key])}"
        for key in own
        # What a module keeps beside its tensors, such as the state of a stream, may be of any shape.
        if key in state
        and not key.endswith(EXTRA_STATE)
        and getattr(own[key], "shape", None) != getattr(state[key], "shape", None)
    ]
    problems = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": shapes,
    }
    told = [f"{what}: {_few(_bare(keys))}" for what, keys in problems.items() if keys]
    if told:
        raise UserError(f"{path} does not fit the model; {'; '.join(told)}")
    model.load_state_dict(dict(state))


def with_prefix(state: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A state by the names that the network has here: a file of a bare network knows nothing of
    what stands around it."""
    if state and not set(state) & set(own):
        longer = {f"{INSIDE}{key}": value for key, value in state.items()}
        if set(longer) & set(own):
            return longer
    return dict(state)


def _unfolded(value: Any, own: Any) -> Any:
    """The kernel of a convolution that lies in a file as the matrix that it is on tiles."""
    if getattr(own, "ndim", 0) < 3 or getattr(value, "ndim", 0) != 2:
        return value
    fits = value.shape[0] == own.shape[0] and value.numel() == own.numel()
    return value.reshape(own.shape) if fits else value


def _load_source(model: nn.Module, path: Path) -> None:
    """The tiles of a file from aihwkit. Raises UserError for a state that has no place."""
    lost = aihwkit.load(model, path).that_matter
    if lost:
        raise UserError(f"{path} holds more than the network: {lost[0]}")


def _read_run(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The model of the newest checkpoint of a run: tensors, and what is not one."""
    place = folder if home_of(folder) != folder else folder / LAST
    folder = home_of(folder)
    read_record(folder)
    found = load_checkpoint(place)
    if found is None and place.name == BEST:
        raise UserError(
            f"{folder} has no {BEST} checkpoint: it was trained without run.keep_best"
        )
    if found is None:
        if run_status(folder) in DONE:
            again = f"aihw train conf={folder / 'config.yaml'} --again"
            raise UserError(
                f"{folder} has no checkpoint any more; `{again}` makes the run anew, in a folder beside it"
            )
        raise UserError(
            f"{folder} has no checkpoint: train it first, `aihw resume {folder}` goes on with it"
        )
    tensors, state, _ = found
    own = {
        key.removeprefix("model/"): value
        for key, value in tensors.items()
        if key.startswith("model/")
    }
    return own, _mapping(state.get("model"))


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _read_file(path: Path) -> dict[str, torch.Tensor]:
    if is_source(path):
        from engine.exchange.aihwkit.network import logical_state

        return logical_state(read_source(path), Losses())
    try:
        # A pipe would block, and a device never end.
        os.close(open_plain(path, os.O_RDONLY, follow=True))
        found = _safetensors(path) if path.suffix in SAFETENSORS else _pickled(path)
        return {name: _plain(name, tensor, path) for name, tensor in found.items()}
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except OSError as problem:
        raise UserError(
            f"{path} cannot be read: {problem.strerror or problem}"
        ) from problem


def _plain(name: str, tensor: torch.Tensor, path: Path) -> torch.Tensor:
    """A tensor as networks hold it. Raises UserError for other ways to store one."""
    import torch

    if tensor.is_quantized or tensor.layout != torch.strided:
        how = (
            "quantized"
            if tensor.is_quantized
            else str(tensor.layout).removeprefix("torch.")
        )
        raise UserError(
            f"{path}: {name} is {how}; save dense tensors of floating-point numbers"
        )
    return tensor.detach()


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as problem:
        raise UserError(f"{path} is no file of safetensors: {problem}") from problem


def _pickled(path: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        return _tensors(torch.load(path, map_location="cpu", weights_only=True), path)
    except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as problem:
        raise UserError(
            f"{path} is no file of torch that holds tensors alone, and anything else in it is not loaded; "
            "save model.state_dict()"
        ) from problem


def _tensors(found: Any, path: Path) -> dict[str, torch.Tensor]:
    import torch

    for name in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not all(
        isinstance(v, torch.Tensor) for v in found.values()
    ):
        raise UserError(
            f"{path} is no state_dict: save model.state_dict(), a mapping of names to tensors"
        )
    return dict(found)


def _shape(value: Any) -> str:
    return "x".join(str(n) for n in getattr(value, "shape", ())) or "one number"


def _bare(names: list[str]) -> list[str]:
    """Names as they are in the file of a network that stands in one of ours."""
    return [name.removeprefix(INSIDE) for name in names]


def _few(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
