"""The file that the exporter beside aihwkit writes: settings, weights and states of a model.

It is safetensors with JSON in its header. Whoever made it is a stranger: names, sizes and shapes
are checked before anything is built from them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.settings import UserError
from engine.trust.files import open_plain

if TYPE_CHECKING:
    from torch import Tensor

FORMAT, VERSION = "aihwkit exchange", 1
# A name becomes a key of a state dict and of a recipe, never a path or a module.
NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,299}$")
MAX_TEXT, MAX_TILES, MAX_CONFIGS, MAX_DEPTH = 64 << 20, 100_000, 10_000, 12
MAX_AXES = 6
DIGITAL = "digital."
GRID = ".analog_module"


@dataclass(frozen=True)
class SourceTile:
    """One tile: the name of its grid, its place there (row, column), its settings and its state.

    `scalars` are single numbers of the state, `tensors` all others, by aihwkit's names."""

    grid: str
    position: tuple[int, int]
    kind: str
    config: Mapping[str, Any]
    scalars: Mapping[str, float]
    tensors: Mapping[str, Tensor]

    @property
    def weights(self) -> Tensor:
        """What the tile shows [O, I], without its scales."""
        return self.tensors["weights"]

    @property
    def digital_bias(self) -> bool:
        """Whether a bias, if there is one, is added beside the tile."""
        return bool(self.config.get("mapping", {}).get("digital_bias", True))


@dataclass
class Source:
    """A model of aihwkit: its tiles by grid, its digital tensors, what its exporter left out."""

    path: Path
    aihwkit: str
    tiles: dict[str, list[SourceTile]]
    digital: dict[str, Tensor]
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


def is_source(path: Path) -> bool:
    """Whether a file is one of the exporter, by its header alone."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


def read_source(path: Path) -> Source:
    """The model in a file of the exporter. Raises UserError in one line."""
    from safetensors import SafetensorError, safe_open

    try:
        # A pipe would block, and a device never end.
        os.close(open_plain(path, os.O_RDONLY, follow=True))
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            content = _content(path, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except OSError as problem:
        raise UserError(
            f"{path} cannot be read: {problem.strerror or problem}"
        ) from problem
    except SafetensorError as problem:
        raise UserError(f"{path} is no file of safetensors: {problem}") from problem
    # Content that is JSON, but not of this format, fails somewhere in the middle of reading.
    try:
        return _source(path, content, tensors)
    except UserError:
        raise
    except (
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        ValueError,
        OverflowError,
    ) as problem:
        raise UserError(
            f"{path} is damaged: {type(problem).__name__} {problem}"
        ) from problem


def _content(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    if metadata.get("format") != FORMAT:
        how = "`aihw import --exporter` prints the script that writes them, beside aihwkit"
        raise UserError(f"{path} is no file that was exported from aihwkit; {how}")
    text = metadata.get("content", "")
    # Before it is parsed: a parser takes many times the memory of its text.
    if len(text) > MAX_TEXT:
        raise UserError(
            f"{path}: its settings are {len(text)} characters, more than {MAX_TEXT}"
        )
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise UserError(
            f"{path} is damaged: its settings are no JSON ({problem})"
        ) from problem
    version = content.get("version", 0) if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise UserError(f"{path} is damaged: it does not say its version")
    if version > VERSION:
        raise UserError(f"{path} was written by a newer exporter; update aihw")
    return content


def _source(path: Path, content: dict[str, Any], tensors: dict[str, Tensor]) -> Source:
    """The model of checked content."""
    tiles, configs = content["tiles"], content["configs"]
    if not tiles:
        raise UserError(f"{path} holds no tile")
    if len(tiles) > MAX_TILES or len(configs) > MAX_CONFIGS:
        raise UserError(
            f"{path}: {len(tiles)} tiles of {len(configs)} kinds are too many"
        )
    # What follows walks through settings recursively.
    for config in configs:
        _check_depth(path, config)
    found: dict[str, list[SourceTile]] = {}
    for number, entry in enumerate(tiles):
        tile = _tile(path, entry, configs, _with_prefix(tensors, f"tile.{number}."))
        found.setdefault(tile.grid, []).append(tile)
    # Rows of tiles, as a grid here lists them; the exporter goes column by column.
    for name, grid in found.items():
        grid.sort(key=lambda tile: tile.position)
        _check_grid(path, name, grid)
    # Safetensors sorts names; where networks differ in theirs, their order tells what is what.
    listed = content.get("digital", [])
    unsorted = _with_prefix(tensors, DIGITAL)
    digital = {
        name: unsorted[name] for name in (*listed, *unsorted) if name in unsorted
    }
    for name in (*digital, *found):
        _check_name(path, name)
    layers = {entry["name"]: _layer(path, entry) for entry in content.get("layers", [])}
    # Texts of strangers are shown, cut to a length that a terminal can bear.
    left = [str(line)[:300] for line in content.get("left", [])]
    return Source(
        path, str(content.get("aihwkit", ""))[:40], found, digital, layers, left
    )


def _check_grid(path: Path, name: str, tiles: list[SourceTile]) -> None:
    """Raises UserError unless tiles make a whole matrix together."""
    rows = {tile.position[0]: tile.weights.shape[0] for tile in tiles}
    columns = {tile.position[1]: tile.weights.shape[1] for tile in tiles}
    wanted = [(row, column) for row in sorted(rows) for column in sorted(columns)]
    shapes = [(rows[row], columns[column]) for row, column in wanted]
    whole = [tile.position for tile in tiles] == wanted
    if not whole or [tuple(tile.weights.shape) for tile in tiles] != shapes:
        raise UserError(f"{path}: the tiles of {name} do not make a matrix")


def _layer(path: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of a layer beside its tiles."""
    shape = entry.get("shape") or []
    if (
        not all(isinstance(size, int) and size > 0 for size in shape)
        or len(shape) > MAX_AXES
    ):
        raise UserError(f"{path}: layer {entry['name']!r} has no shape {shape!r}")
    return {"shape": list(shape), "bias": str(entry.get("bias", ""))}


def _tile(
    path: Path, entry: Mapping[str, Any], configs: list[Any], tensors: dict[str, Tensor]
) -> SourceTile:
    name = str(entry["name"])
    _check_name(path, name)
    weights = tensors.get("weights")
    if weights is None or weights.dim() != 2 or weights.numel() == 0:
        raise UserError(f"{path}: tile {name} has no matrix of weights")
    for key, value in tensors.items():
        if key.startswith("hidden.") and value.shape != weights.shape:
            raise UserError(
                f"{path}: tile {name}: {key} is not of the shape of the weights"
            )
    grid, _, position = name.partition(f"{GRID}.array.")
    where = (0, 0)
    if position:
        # aihwkit counts slices of the inputs first, then slices of the outputs.
        column, row = (int(part) for part in position.split("."))
        where = (row, column)
    scalars = {str(k): float(v) for k, v in entry.get("extra", {}).items()}
    if entry.get("learning_rate") is not None:
        scalars["learning_rate"] = float(entry["learning_rate"])
    config = configs[int(entry["config"])]
    return SourceTile(
        grid.removesuffix(GRID), where, str(entry["class"]), config, scalars, tensors
    )


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)
    }


def _check_name(path: Path, name: str) -> None:
    if not NAME.match(name) or ".." in name:
        raise UserError(f"{path}: {name!r} cannot be the name of a layer or parameter")


def _check_depth(path: Path, value: Any, depth: int = 0) -> None:
    """Raises UserError for settings nested deeper than any that there are."""
    if depth > MAX_DEPTH:
        raise UserError(f"{path}: its settings are nested deeper than {MAX_DEPTH}")
    for inner in _inner(value):
        _check_depth(path, inner, depth + 1)


def _inner(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value
