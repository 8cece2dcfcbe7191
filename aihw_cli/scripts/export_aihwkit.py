"""Carry a trained model from aihwkit to aihw, and back.

Run this file where aihwkit is installed. It needs torch and aihwkit, and nothing of aihw:

    python export_aihwkit.py model.pt model.safetensors

`model.pt` was written by `torch.save(model.state_dict(), ...)` or `torch.save(model, ...)`. Such a
file is a pickle, which runs code when it is read: only take files that you trust. In Python:

    import export_aihwkit

    export_aihwkit.save(model, "model.safetensors")    # then: aihw import model.safetensors
    export_aihwkit.load(model, "back.safetensors")     # made by: aihw export RUN --to aihwkit

The file that is written holds numbers and JSON alone, in the format of safetensors.
"""

from __future__ import annotations

import argparse
import enum
import json
import struct
import sys
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

FORMAT, VERSION = "aihwkit exchange", 1
STATE = ".analog_tile_state"
# Other words under which training scripts keep the state of a model in their checkpoints.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model")
# What tile and periphery keep beside the arrays; all of it lies in the state dict under the tile.
TILE_TENSORS = (
    "mapping_scales",
    "out_scaling_alpha",
    "input_range",
    "input_range_update_idx",
)
# Copies of the weights, and factors that are made anew.
COPIES = ("analog_ctx", "shared_weights", "tile.weight", "alpha")
TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def save(model: Any, file: Any, *, beside: Iterable[str] = ()) -> list[str]:
    """Write the settings, weights and states of a model, or of its state dict, to `file`.

    Returns a line for everything in it that cannot be carried, and for what lay `beside` it.
    """
    module = model if isinstance(model, torch.nn.Module) else None
    state = dict(module.state_dict() if module is not None else model)
    trained = _trained(module) if module is not None else {}
    content, tensors, left = _collect(state, trained)
    if not content["tiles"]:
        raise SystemExit("there is no analog tile in it: nothing to export")
    if module is not None:
        content["layers"] = _layers(module)
    left += [f"{name}: beside the model in its checkpoint" for name in beside]
    content["left"] = left
    _write(Path(file), tensors, content)
    return left


def load(model: Any, file: Any) -> list[str]:
    """Give a model of aihwkit what `aihw export RUN --to aihwkit` wrote.

    It must have the same layers, and settings of the same kind; what does not fit is refused by
    name. Layers are found by their names, or in their order where all shapes are the same. Returns
    a line for everything that aihwkit does not take: it draws write noise anew, for example."""
    tensors, content = read(file)
    entries = {entry["name"]: number for number, entry in enumerate(content["tiles"])}
    tiles = {
        name: tile
        for name, tile in model.named_modules()
        if hasattr(tile, "analog_ctx")
    }
    parts = {
        name: _part(tensors, f"tile.{number}.") for name, number in entries.items()
    }
    pairs = _pairs(
        {name: list(tile.tile.get_weights().shape) for name, tile in tiles.items()},
        {name: list(part["weights"].shape) for name, part in parts.items()},
    )
    lost: list[str] = []
    with torch.no_grad():
        for name, theirs in pairs.items():
            entry = content["tiles"][entries[theirs]]
            lost += _load_tile(tiles[name], name, parts[theirs], entry)
        digital = _part(tensors, "digital.")
        # A library that wrote the file may have sorted its names.
        listed = [name for name in content.get("digital", []) if name in digital]
        _load_digital(model, {**dict.fromkeys(listed), **digital})
    return lost


def describe(value: Any) -> Any:
    """Settings as plain values: an object becomes its public fields, its class and its bases."""
    if isinstance(value, enum.Enum):
        return value.value
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if isinstance(value, dict):
        return {str(key): describe(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return describe(value.tolist())
    return _object(value)


def _object(value: Any) -> Any:
    """A class or function by its name; any other object with its fields."""
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    fields = {k: describe(v) for k, v in vars(value).items() if not k.startswith("_")}
    bases = [
        kind.__name__
        for kind in type(value).__mro__[1:-1]
        if "Mixin" not in kind.__name__
    ]
    return {"class": type(value).__name__, "bases": bases, **fields}


def read(file: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and content of an exchange file."""
    data = Path(file).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length].decode())
    content = json.loads(header.pop("__metadata__", {}).get("content", "{}"))
    if content.get("format") != FORMAT or content.get("version", 0) > VERSION:
        raise SystemExit(f"{file} was not written for this script")
    kinds, tensors = {word: kind for kind, word in TYPES.items()}, {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        raw = bytearray(data[8 + length + first : 8 + length + last])
        flat = (
            torch.frombuffer(raw, dtype=kinds[entry["dtype"]])
            if raw
            else torch.empty(0)
        )
        tensors[name] = flat.reshape(entry["shape"])
    return tensors, content


def _collect(
    state: dict[str, Any], trained: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Content and tensors of a state dict, and what of it is left out.

    `trained` holds the weights that programmed tiles were trained to."""
    import aihwkit

    names = [key[: -len(STATE)] for key in state if key.endswith(STATE)]
    content: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    content["aihwkit"] = aihwkit.__version__
    configs: list[Any] = []
    tiles: list[Any] = []
    tensors: dict[str, Any] = {}
    left: list[str] = []
    for number, name in enumerate(names):
        saved = state.pop(name + STATE)
        entry = {"name": name, "class": saved.get("analog_tile_class", "")}
        entry["config"] = _index(configs, describe(saved["rpu_config"]))
        entry["learning_rate"] = saved.get("analog_lr")
        found = _tile_tensors(saved, entry)
        for key in TILE_TENSORS:
            # Depending on its kind, a tile keeps its output scales in its state or beside it.
            value = state.pop(f"{name}.{key}", saved.get(key))
            if value is not None:
                found[key] = value
        if name in trained:
            found["weights"] = trained[name]
            left.append(
                f"{name}: its weights as programmed and drifted; the trained ones are carried"
            )
        elif _has_drifted(state.get(f"{name}.alpha")):
            left.append(
                f"{name}: its trained weights: it has drifted; export the model, not its state"
            )
        for key in COPIES:
            state.pop(f"{name}.{key}", None)
        tensors.update({f"tile.{number}.{k}": v for k, v in found.items()})
        tiles.append(entry)
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            tensors["digital." + key] = value
        else:
            left.append(f"{key}: a {type(value).__name__}, which is no tensor")
    digital = [key[len("digital.") :] for key in tensors if key.startswith("digital.")]
    content.update(configs=configs, tiles=tiles, digital=digital)
    return content, tensors, left


def _tile_tensors(saved: Any, entry: dict[str, Any]) -> dict[str, Any]:
    """Weights, constants of the cells by name, and the state of the algorithm of one tile."""
    found = {"weights": torch.as_tensor(saved["analog_tile_weights"])}
    hidden = torch.as_tensor(saved["analog_tile_hidden_parameters"])
    for index, name in enumerate(saved["analog_tile_hidden_parameter_names"]):
        found["hidden." + name] = hidden[index]
    entry["extra"] = {}
    for key, values in (saved.get("state_extra") or {}).items():
        name = _short(key)
        if len(values) == 1:
            entry["extra"][name] = float(values[0])
        elif len(values) > 1:
            found["extra." + name] = torch.tensor(values, dtype=torch.float64)
    return found


def _short(key: str) -> str:
    """The name of a part of the state without the prefix that all of them have."""
    return key[4:] if key.startswith("rpu.") else key


def _index(configs: list[Any], found: Any) -> int:
    """The place of settings in the list of all, each kept once."""
    if found not in configs:
        configs.append(found)
    return configs.index(found)


def _layers(module: Any) -> list[dict[str, Any]]:
    """Class, weight shape and bias of every analog layer: what its state dict does not say."""
    found = []
    for name, layer in module.named_modules():
        grid = getattr(layer, "analog_module", None)
        if grid is None:
            continue
        shape = [layer.out_features, layer.in_features]
        if hasattr(layer, "kernel_size"):
            shape = [
                layer.out_channels,
                layer.in_channels // layer.groups,
                *layer.kernel_size,
            ]
        analog = bool(getattr(grid, "analog_bias", False))
        bias = "analog" if analog else "none" if grid.bias is None else "digital"
        found.append(
            {"name": name, "class": type(layer).__name__, "shape": shape, "bias": bias}
        )
    return found


def _trained(module: Any) -> dict[str, Any]:
    """The weights that tiles were trained to, where they hold programmed ones by now."""
    found = {}
    for name, tile in module.named_modules():
        reference = getattr(tile, "reference_combined_weights", None)
        if (
            reference is not None
            and getattr(tile, "programmed_weights", None) is not None
        ):
            found[name] = reference
    return found


def _has_drifted(compensation: Any) -> bool:
    """Whether a tile makes up for drift. A state dict tells nothing else of programming."""
    return compensation is not None and not bool((compensation == 1).all())


def _part(tensors: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The tensors whose names begin so, without the beginning."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def _pairs(here: dict[str, Any], there: dict[str, Any]) -> dict[str, str]:
    """For each name here the one of the file: the same, or the one in the same place."""
    # A layer of one tile may be an array of one there.
    plain = {name.replace(".array.0.0", ""): name for name in here}
    if set(here) != set(there) and set(plain) == set(there):
        return {plain[name]: name for name in there}
    if set(here) == set(there):
        return {name: name for name in here}
    if list(here.values()) == list(there.values()):
        listed = list(there)
        return {name: listed[index] for index, name in enumerate(here)}
    wrong = sorted(set(here) ^ set(there))[0]
    side = "model" if wrong in here else "file"
    raise SystemExit(f"model and file differ: {wrong} is only in the {side}")


def _load_digital(model: Any, given: dict[str, Any]) -> None:
    """Parameters and buffers outside of the tiles, biases of their layers included."""
    parameters = {
        name: value
        for name, value in (*model.named_parameters(), *model.named_buffers())
        if not any(
            name.endswith("." + key) or name == key for key in (*COPIES, *TILE_TENSORS)
        )
    }
    shapes = (
        {k: list(v.shape) for k, v in found.items()} for found in (parameters, given)
    )
    for name, theirs in _pairs(*shapes).items():
        parameters[name].data.copy_(given[theirs])


def _load_tile(
    tile: Any, name: str, saved: dict[str, Any], entry: dict[str, Any]
) -> list[str]:
    """One tile; a line for each part of its state that did not stay as it was written."""
    shape, weights = list(tile.tile.get_weights().shape), saved["weights"].float()
    if shape != list(weights.shape):
        raise SystemExit(f"{name} has weights {shape}, not {list(weights.shape)}")
    names, given = list(tile.get_hidden_parameters()), _part(saved, "hidden.")
    if set(given) != set(names):
        wrong = sorted(set(given) ^ set(names))[0]
        raise SystemExit(f"{name}: {wrong} is only on one side: other devices")
    ordered = OrderedDict((key, given[key].float()) for key in names)
    # Bounds first, as weights are clipped to them; then the arrays, which written weights clear.
    tile.set_hidden_parameters(ordered)
    tile.tile.set_weights(weights)
    tile.set_hidden_parameters(ordered)
    if hasattr(tile, "_copy_weights_to_shared_tensors"):
        # Of devices with write noise, what is seen must not be drawn anew.
        tile._copy_weights_to_shared_tensors(weights)
    _load_periphery(tile, name, saved)
    _load_extra(tile, saved, entry)
    kept = dict(tile.get_hidden_parameters(), weights=tile.tile.get_weights())
    return [
        f"{name}: {key} is not what was written: aihwkit sets it in its own way"
        for key, value in kept.items()
        if not torch.allclose(
            value, saved.get("hidden." + key, weights).float(), atol=1e-6
        )
    ]


def _load_extra(tile: Any, saved: dict[str, Any], entry: dict[str, Any]) -> None:
    """Counters, choppers, and what else a training algorithm keeps beside its arrays."""
    extra = tile.tile.dump_extra() or {}
    for key in list(extra):
        part = _short(key)
        if part in entry["extra"]:
            extra[key] = [entry["extra"][part]]
        elif "extra." + part in saved:
            extra[key] = saved["extra." + part].flatten().tolist()
    if extra:
        tile.tile.load_extra(extra, False)


def _load_periphery(tile: Any, name: str, saved: dict[str, Any]) -> None:
    """Scales and input range. What the file has and the model has not must be 1."""
    for key in TILE_TENSORS:
        target: Any = getattr(tile, key, None)
        if target is None and key in saved and not bool((saved[key] == 1).all()):
            raise SystemExit(f"{name} has no {key}: other settings")
        if target is not None and key in saved:
            target.data.copy_(saved[key].reshape(target.shape))


def _write(path: Path, tensors: dict[str, Any], content: dict[str, Any]) -> None:
    """The format of safetensors: the length of a header, the header in JSON, the numbers. Written
    here by hand, so that the old environment needs no package more."""
    header: dict[str, Any] = {
        "__metadata__": {"format": FORMAT, "content": json.dumps(content)}
    }
    offset, blocks = 0, []
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        # bfloat16 has no numpy type; its bytes are taken as they are.
        block = (
            plain.reshape(-1).view(torch.uint8).numpy().tobytes()
            if plain.numel()
            else b""
        )
        header[name] = {
            "dtype": TYPES[plain.dtype],
            "shape": list(plain.shape),
            "data_offsets": [offset, offset + len(block)],
        }
        blocks.append(block)
        offset += len(block)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.writelines(blocks)


def _state_of(path: str) -> tuple[Any, list[str]]:
    """The model or the state dict in a file of torch, and the names of what lies beside it."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=False)
    except (AttributeError, ImportError) as problem:
        # A pickle of a whole model names its class, and the module where it was defined.
        raise SystemExit(
            f"{path} holds objects of classes that are not found here ({problem}). Where the model "
            "is built: import export_aihwkit; export_aihwkit.save(model, FILE)"
        ) from None
    except OSError as problem:
        raise SystemExit(
            f"{path} cannot be read: {problem.strerror or problem}"
        ) from None
    if isinstance(found, torch.nn.Module):
        return found, []
    for name in WRAPPERS:
        if isinstance(found, dict) and isinstance(
            found.get(name), (dict, torch.nn.Module)
        ):
            return found[name], [str(key) for key in found if key != name]
    if not isinstance(found, dict):
        raise SystemExit(f"{path} holds a {type(found).__name__}, no model")
    return found, []


def main() -> None:
    """Read a checkpoint of aihwkit and write what aihw imports."""
    parser = argparse.ArgumentParser(
        description="From a checkpoint of aihwkit to aihw."
    )
    parser.add_argument(
        "checkpoint", help="file of torch.save(model.state_dict(), ...)"
    )
    parser.add_argument("out", help="the file to write; then: aihw import OUT")
    given = parser.parse_args()
    model, beside = _state_of(given.checkpoint)
    left = save(model, given.out, beside=beside)
    sys.stdout.write(f"{given.out} holds {given.checkpoint}\n")
    sys.stdout.writelines(f"not carried: {line}\n" for line in left)


if __name__ == "__main__":
    main()
