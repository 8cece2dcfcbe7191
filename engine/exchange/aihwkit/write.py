"""A network of this engine as a file that the script beside aihwkit loads into a model there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from engine.exchange.aihwkit.file import DIGITAL, FORMAT, GRID, VERSION
from engine.exchange.aihwkit.restore import collect
from engine.exchange.aihwkit.state import EXTRA
from engine.nn.analog import AnalogTile, analog_tiles
from engine.nn.grid import TileGrid
from engine.nn.sequences import Recurrent
from engine.settings import UserError
from engine.trust import files


def save(model: nn.Module, file: str | Path, *, batch_size: int = 1) -> None:
    """See `engine.exchange.aihwkit.save`."""
    from safetensors.torch import save as serialise

    grids = {name: m for name, m in model.named_modules() if isinstance(m, TileGrid)}
    if not grids:
        raise UserError(
            "there is no analog tile in the network: nothing to write for aihwkit"
        )
    tensors: dict[str, Tensor] = {}
    tiles: list[dict[str, Any]] = []
    for path, grid in grids.items():
        # The script finds tiles by the names that aihwkit's modules have.
        theirs = _their_name(model, path)
        for tile, suffix in zip(analog_tiles(grid), _suffixes(grid), strict=True):
            entry, state = _tile(tile, f"{theirs}{GRID}{suffix}", batch_size)
            tensors |= {
                f"tile.{len(tiles)}.{key}": value for key, value in state.items()
            }
            tiles.append(entry)
        if grid.bias is not None:
            tensors[f"{DIGITAL}{theirs}{GRID}.bias"] = grid.bias.data
    tensors |= _digital(model, grids)
    # No settings go along: they are those of the model that loads the file.
    digital = [k.removeprefix(DIGITAL) for k in tensors if k.startswith(DIGITAL)]
    content = {
        "format": FORMAT, "version": VERSION, "configs": [], "tiles": tiles, "digital": digital,
    }  # fmt: skip
    metadata = {"format": FORMAT, "content": json.dumps(content)}
    # The format takes neither views nor memory that two tensors share.
    plain = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in tensors.items()
    }
    try:
        files.write_bytes(Path(file), serialise(plain, metadata))
    except OSError as problem:
        raise UserError(
            f"cannot write {file}: {problem.strerror or problem}"
        ) from problem


def _tile(
    tile: AnalogTile, name: str, batch: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The entry and the tensors of one tile; single numbers stand in the entry."""
    try:
        found = collect(tile, batch)
    except ValueError as problem:
        raise UserError(f"{name.replace(GRID, '')}: {problem}") from problem
    extra = {
        key.removeprefix(EXTRA): float(value)
        for key, value in found.items()
        if key.startswith(EXTRA) and value.numel() == 1
    }
    # By it, aihwkit tells mini-batches from samples when it goes on.
    extra["last_update_m_batch"] = float(batch)
    entry = {"name": name, "class": "", "config": 0, "extra": extra}
    return entry, {k: v for k, v in found.items() if k.removeprefix(EXTRA) not in extra}


def _suffixes(grid: TileGrid) -> list[str]:
    """How aihwkit counts the tiles of a grid: inputs first, then outputs."""
    columns = len(grid.in_sizes)
    number = len(grid.in_sizes) * len(grid.out_sizes)
    if number == 1:
        return [""]
    return [f".array.{k % columns}.{k // columns}" for k in range(number)]


def _their_name(model: nn.Module, path: str) -> str:
    """The name of a grid in a network of aihwkit."""
    layer, _, grid = path.rpartition(".")
    owner = model.get_submodule(layer)
    if not isinstance(owner, Recurrent):
        return layer
    kind, _, part = grid.partition("_")
    number, _, back = part.removeprefix("l").partition("_")
    # A layer in both directions is a module of two; in one direction there is no such module.
    way = f".directions.{int(bool(back))}" if owner.sizes.bidirectional else ""
    start = f"{layer}." if layer else ""
    return f"{start}rnn.layers.{number}{way}.cell.weight_{kind}"


def _digital(model: nn.Module, grids: dict[str, TileGrid]) -> dict[str, Tensor]:
    """Parameters and buffers of layers that are not analog."""
    inside = tuple(f"{path}." for path in grids)
    return {
        f"{DIGITAL}{name}": value
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor) and not name.startswith(inside)
    }
