"""A model of aihwkit onto a network of this engine: tiles, scales, ranges, digital parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from engine.exchange.aihwkit.file import GRID, Source, SourceTile, read_source
from engine.exchange.aihwkit.lost import Losses
from engine.exchange.aihwkit.names import (
    GridName,
    combined_parts,
    digital_name,
    grid_name,
    match,
)
from engine.exchange.aihwkit.restore import Misfit, logical_weights, restore
from engine.exchange.aihwkit.words import TRAINED, nearest_class
from engine.nn.analog import analog_tiles
from engine.nn.grid import TileGrid
from engine.settings import UserError

if TYPE_CHECKING:
    from engine.nn.analog import AnalogTile

SHOWN = 4
# Rows of an LSTM for each of its hidden values.
GATES = 4


def load(model: nn.Module, file: str | Path) -> Losses:
    """See `engine.exchange.aihwkit.load`."""
    source = read_source(Path(file))
    losses = Losses()
    _load_grids(model, source, losses)
    _load_digital(model, source)
    return losses


def grids_of(model: nn.Module) -> dict[str, TileGrid]:
    """Every matrix on tiles of a network, by its path."""
    return {
        name: part for name, part in model.named_modules() if isinstance(part, TileGrid)
    }


def matched(model: nn.Module, source: Source) -> dict[str, str]:
    """Paths of the grids of a network, with the grids of the source that go there."""
    ours: dict[str, tuple[int, ...]] = {}
    for path, grid in grids_of(model).items():
        ours[path] = (sum(grid.out_sizes), sum(grid.in_sizes))
    theirs: dict[str, tuple[int, ...]] = {}
    names: dict[str, str] = {}
    for name, tiles in source.tiles.items():
        path = grid_name(name).path
        names[path] = name
        theirs[path] = _size(tiles)
    return {path: names[found] for path, found in match(ours, theirs, "layer").items()}


def logical_state(source: Source, losses: Losses) -> dict[str, Tensor]:
    """Weights and biases by torch's names, as floating-point layers would have them, and all other
    parameters."""
    found: dict[str, Tensor] = {}
    for grid in source.tiles:
        parts = combined_parts(grid)
        if parts is None:
            found |= _parameters(source, grid, grid_name(grid), losses)
        else:
            found |= _separated(source, grid, parts, losses)
    for theirs, value in source.digital.items():
        # Biases of grids stand with their weights above.
        if GRID not in theirs:
            found[digital_name(theirs)] = value
    return found


def learning_rates(source: Source) -> list[float]:
    """The rates at which tiles learned by pulses; those of gradients stand in no tile."""
    found = {
        # They are numbers of single precision, whose shortest text is what the user wrote.
        float(f"{tile.scalars['learning_rate']:.7g}")
        for tiles in source.tiles.values()
        for tile in tiles
        if "learning_rate" in tile.scalars and not nearest_class(tile.config, TRAINED)
    }
    return sorted(found)


def _parameters(
    source: Source, grid: str, name: GridName, losses: Losses
) -> dict[str, Tensor]:
    """The weight and bias of one matrix, in the shape of torch's layer where the file knows it."""
    tiles, layer = source.tiles[grid], source.layers.get(grid, {})
    weight = _joined(tiles)
    bias = source.digital.get(f"{grid}{GRID}.bias")
    if layer.get("bias") == "analog":
        # The column of an input that is always 1.
        weight, bias = weight[:, :-1], weight[:, -1].clone()
    elif bias is None and not layer and not tiles[0].digital_bias:
        why = "the bias, if any, is the last column: export the model itself, not its state dict"
        losses.add(name.weight, why)
    shape = layer.get("shape") or list(weight.shape)
    if math.prod(shape) != weight.numel():
        raise UserError(
            f"{source.path}: {grid} is said to be {shape}, and is {list(weight.shape)}"
        )
    found = {name.weight: weight.reshape(shape).contiguous()}
    if bias is not None:
        found[name.bias] = bias
    return found


def _separated(
    source: Source, grid: str, parts: tuple[GridName, GridName], losses: Losses
) -> dict[str, Tensor]:
    """The weights of inputs and state from the one matrix that an LSTM of aihwkit may have."""
    whole = _parameters(source, grid, GridName("", "", "weight", "bias"), losses)
    weight, bias = whole["weight"], whole.get("bias")
    hidden, rest = divmod(weight.shape[0], GATES)
    if rest or weight.shape[1] <= hidden:
        raise UserError(
            f"{source.path}: {grid} is {list(weight.shape)}, which no LSTM has"
        )
    losses.add(
        grid,
        "its cells, as layers here have a matrix each for inputs and state; its weights are carried",
    )
    inputs, state = parts
    found = {inputs.weight: weight[:, :-hidden], state.weight: weight[:, -hidden:]}
    # Torch adds two biases where the one matrix has one.
    return (
        found
        if bias is None
        else found | {inputs.bias: bias, state.bias: torch.zeros_like(bias)}
    )


def _joined(tiles: list[SourceTile]) -> Tensor:
    """The logical matrix that tiles make together."""
    rows: dict[int, list[Tensor]] = {}
    for tile in tiles:
        rows.setdefault(tile.position[0], []).append(logical_weights(tile))
    return torch.cat([torch.cat(row, 1) for row in rows.values()], 0)


def _load_grids(model: nn.Module, source: Source, losses: Losses) -> None:
    grids = grids_of(model)
    for path, theirs in matched(model, source).items():
        grid, tiles = grids[path], source.tiles[theirs]
        targets = list(analog_tiles(grid))
        here = [tuple(tile.tile.weight.shape) for tile in targets]
        there = [tuple(tile.weights.shape) for tile in tiles]
        if here != there:
            raise UserError(
                f"{path} lies on tiles {_text(here)} here, and on {_text(there)} in {source.path}: "
                "set tile.mapping.max_input_size and max_output_size"
            )
        _load_bias(grid, path, source.digital.get(f"{theirs}{GRID}.bias"))
        for tile, found in zip(targets, tiles, strict=True):
            _load_tile(tile, found, path, losses)


def _load_tile(tile: AnalogTile, source: SourceTile, path: str, losses: Losses) -> None:
    try:
        restore(tile, source, losses)
    except Misfit as problem:
        config = source.config.get("class", "")
        raise UserError(
            f"{path} does not fit {config} of the file: {problem}"
        ) from problem


def _load_bias(grid: TileGrid, path: str, bias: Tensor | None) -> None:
    target = grid.bias
    if (bias is None) != (target is None):
        here, there = ("a", "no") if bias is None else ("no", "a")
        raise UserError(
            f"{path} has {here} digital bias here, and {there} one in the file"
        )
    if target is not None and bias is not None:
        target.data.copy_(bias)


def _load_digital(model: nn.Module, source: Source) -> None:
    """Parameters and buffers of layers that are not analog."""
    inside = tuple(f"{path}." for path in grids_of(model))
    targets: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor) and not name.startswith(inside):
            targets[name] = value
    given: dict[str, Tensor] = {}
    for name, value in source.digital.items():
        if GRID not in name:
            given[digital_name(name)] = value
    for name, theirs in match(_shapes(targets), _shapes(given), "parameter").items():
        # The tensors of a state dict are those of the model: they are written in place.
        targets[name].copy_(given[theirs])


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _size(tiles: list[SourceTile]) -> tuple[int, int]:
    """Rows and columns of the matrix that tiles make together."""
    rows = sum(tile.weights.shape[0] for tile in tiles if tile.position[1] == 0)
    columns = sum(tile.weights.shape[1] for tile in tiles if tile.position[0] == 0)
    return rows, columns


def _text(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(f"{out} x {inputs}" for out, inputs in shapes[:SHOWN])
