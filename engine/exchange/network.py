"""Trained networks as files that run without this engine: floating-point weights, ONNX.

What is written computes with the logical weights, exactly: tiles, noise and devices stay here."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from importlib import util
from pathlib import Path

import torch
from torch import Tensor, nn

from engine.nn import convert_to_digital
from engine.settings import UserError
from engine.trust import files

# Largest difference between the outputs of a file and of the network, of the largest output.
TOLERANCE = 1e-4
ONNX_EXTRA = ("onnx", "onnxscript")


def torch_state(model: nn.Module) -> dict[str, Tensor]:
    """The logical weights and all other parameters by torch's names, each with memory of its
    own."""
    digital = convert_to_digital(model)
    inner = getattr(digital, "network", None)
    # A network that stands in one of ours keeps the names that it has by itself.
    bare = (
        inner
        if isinstance(inner, nn.Module) and _holds_all(digital, inner)
        else digital
    )
    state = bare.state_dict()
    return {
        name: value.detach().cpu().contiguous().clone()
        for name, value in state.items()
        if isinstance(value, Tensor)
    }


def _holds_all(whole: nn.Module, part: nn.Module) -> bool:
    """Whether nothing of a network's state is outside a part of it."""
    return len(whole.state_dict()) == len(part.state_dict())


def write_torch(model: nn.Module, path: Path) -> None:
    """A file of torch that holds tensors alone: `torch.load(path, weights_only=True)`."""
    content = io.BytesIO()
    torch.save(torch_state(model), content)
    with _writing(path):
        files.write_new(path, content.getvalue())


def write_safetensors(model: nn.Module, path: Path) -> None:
    """A file of safetensors."""
    from safetensors.torch import save

    with _writing(path):
        files.write_new(path, save(torch_state(model)))


def write_onnx(model: nn.Module, example: Tensor, path: Path) -> str:
    """A file of ONNX for any number of samples, made with `example` [B, ..]; returns a line on how
    it was checked. Raises UserError without the packages it takes, or for a wrong result."""
    if hasattr(model, "begin_streams"):
        raise UserError(
            "ONNX has no network whose state outlives a batch, as this one's does"
        )
    missing = [name for name in ONNX_EXTRA if util.find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX needs {', '.join(missing)}: pip install 'aihw[onnx]'")
    if path.exists():
        raise UserError(f"{path} is there already; name another file with --out")
    network = convert_to_digital(model).cpu().eval()
    with _quiet(), torch.no_grad():
        expected = _outputs(network(example))
        try:
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=["input"],
                output_names=[f"output{k or ''}" for k in range(len(expected))],
                dynamic_shapes=({0: torch.export.Dim.AUTO},),
            )
            assert program is not None
            content = program.model_proto.SerializeToString()
        except Exception as problem:
            # Whatever torch cannot translate is a fact about the network, told in one line.
            first = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
            raise UserError(
                f"torch cannot write this network as ONNX: {first}"
            ) from problem
    how = _checked(content, example, expected)
    with _writing(path):
        files.write_new(path, content)
    return how


def _checked(content: bytes, example: Tensor, expected: list[Tensor]) -> str:
    """Compare a network of ONNX with ours where onnxruntime is there. Raises UserError if their
    outputs differ."""
    if util.find_spec("onnxruntime") is None:
        return "not checked: onnxruntime is not installed"
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: example.numpy()})
    worst = 0.0
    for ours, theirs in zip(expected, found, strict=True):
        scale = max(float(ours.abs().max()), 1.0)
        worst = max(worst, float((ours - torch.from_numpy(theirs)).abs().max()) / scale)
    if not worst <= TOLERANCE:
        raise UserError(
            f"the file of ONNX computes otherwise: outputs differ by {worst:.2g}"
        )
    return f"checked with onnxruntime: outputs differ by {worst:.1g} at most"


def _outputs(found: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return [found] if isinstance(found, Tensor) else list(found)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Torch's exporter tells of its steps and of what will change; none of it concerns the
    user."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turns a file that is there, or a folder that is not, into one line for the user."""
    try:
        yield
    except FileExistsError:
        raise UserError(
            f"{path} is there already; name another file with --out"
        ) from None
    except OSError as problem:
        raise UserError(
            f"cannot write {path}: {problem.strerror or problem}"
        ) from problem
