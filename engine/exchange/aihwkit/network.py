"""A model of aihwkit onto a network of this engine: tiles, scales, ranges, digital parameters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from engine.exchange.aihwkit.file import GRID, Source, SourceTile, read_source
from engine.exchange.aihwkit.lost import Losses
from engine.exchange.aihwkit.names import GridName, digital_name, grid_name, match
from engine.exchange.aihwkit.restore import Misfit, logical_weights, restore
from engine.nn.analog import analog_tiles
from engine.nn.grid import TileGrid
from engine.settings import UserError

if TYPE_CHECKING:
    from engine.nn.analog import AnalogTile


def load(model: nn.Module, file: str | Path) -> Losses:
    """See `engine.exchange.aihwkit.load`."""
    source = read_source(Path(file))
    losses = Losses()
    _load_grids(model, source, losses)
    _load_digital(model, source)
    return losses


def matched(model: nn.Module, source: Source) -> dict[str, str]:
    """Paths of the grids of a network, with the grids of the source that go there."""
    ours = {path: (sum(g.out_sizes), sum(g.in_sizes)) for path, g in _grids(model).items()}
    names = {grid_name(grid).path: grid for grid in source.tiles}
    theirs = {path: _size(source.tiles[grid]) for path, grid in names.items()}
    return {path: names[found] for path, found in match(ours, theirs, "layer").items()}


def logical_state(source: Source, losses: Losses) -> dict[str, Tensor]:
    """Weights and biases by torch's names, as floating-point layers would have them, and all other
    parameters."""
    found: dict[str, Tensor] = {}
    for grid, tiles in source.tiles.items():
        try:
            name = grid_name(grid)
        except UserError as problem:
            losses.add(grid, str(problem))
            continue
        weight = torch.cat([torch.cat(row, 1) for row in _blocks(tiles)], 0)
        found |= _parameters(source, grid, name, weight, losses)
    for theirs, value in source.digital.items():
        if GRID not in theirs:
            found[digital_name(theirs)] = value
    return found


def _parameters(
    source: Source, grid: str, name: GridName, weight: Tensor, losses: Losses
) -> dict[str, Tensor]:
    """The weight and bias of one matrix, in the shape of torch's layer where the file knows it."""
    layer = source.layers.get(grid, {})
    digital = source.digital.get(f"{grid}{GRID}.bias")
    found: dict[str, Tensor] = {}
    if digital is not None:
        found[name.bias] = digital
    elif layer.get("bias") == "analog":
        weight, found[name.bias] = weight[:, :-1], weight[:, -1].clone()
    elif not layer and not source.tiles[grid][0].config["mapping"]["digital_bias"]:
        why = "the bias, if any, is the last column: export the model itself, not its state dict"
        losses.add(name.weight, why)
    shape = layer.get("shape")
    found[name.weight] = weight.reshape(shape) if shape else weight.contiguous()
    return found


def _load_grids(model: nn.Module, source: Source, losses: Losses) -> None:
    grids = _grids(model)
    for path, theirs in matched(model, source).items():
        grid, tiles = grids[path], source.tiles[theirs]
        own = list(analog_tiles(grid))
        sizes = [tuple(tile.tile.weight.shape) for tile in own]
        if sizes != [tuple(tile.weights.shape) for tile in tiles]:
            raise UserError(
                f"{path} lies on tiles {_sizes(sizes)} here, and on "
                f"{_sizes([tuple(t.weights.shape) for t in tiles])} in {source.path}: set "
                "tile.mapping.max_input_size and max_output_size"
            )
        _load_bias(grid, path, source.digital.get(f"{theirs}{GRID}.bias"))
        for tile, found in zip(own, tiles, strict=True):
            _load_tile(tile, found, path, losses)


def _load_tile(tile: AnalogTile, source: SourceTile, path: str, losses: Losses) -> None:
    try:
        restore(tile, source, losses)
    except Misfit as problem:
        config = source.config.get("class", "")
        raise UserError(f"{path} does not fit {config} of the file: {problem}") from problem


def _load_bias(grid: TileGrid, path: str, bias: Tensor | None) -> None:
    if (bias is None) != (grid.bias is None):
        here, there = ("a", "no") if bias is None else ("no", "a")
        raise UserError(f"{path} has {here} digital bias here, and {there} one in the file")
    if grid.bias is not None and bias is not None:
        grid.bias.data.copy_(bias)


def _load_digital(model: nn.Module, source: Source) -> None:
    """Parameters and buffers of layers that are not analog."""
    inside = tuple(f"{path}." for path in _grids(model))
    own = {
        name: value
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor) and not name.startswith(inside)
    }
    given = {
        digital_name(name): value for name, value in source.digital.items() if GRID not in name
    }
    here, there = ({k: tuple(v.shape) for k, v in found.items()} for found in (own, given))
    for name, theirs in match(here, there, "parameter").items():
        own[name].copy_(given[theirs])


def _grids(model: nn.Module) -> dict[str, TileGrid]:
    return {name: m for name, m in model.named_modules() if isinstance(m, TileGrid)}


def _size(tiles: list[SourceTile]) -> tuple[int, int]:
    """Rows and columns of the matrix that tiles make together."""
    rows = sum(tile.weights.shape[0] for tile in tiles if tile.place[1] == 0)
    return rows, sum(tile.weights.shape[1] for tile in tiles if tile.place[0] == 0)


def _blocks(tiles: list[SourceTile]) -> list[list[Tensor]]:
    """Logical weights by rows and columns of tiles."""
    rows = sorted({tile.place[0] for tile in tiles})
    return [[logical_weights(tile) for tile in tiles if tile.place[0] == row] for row in rows]


def _sizes(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(f"{out} x {inputs}" for out, inputs in shapes[:4])
