"""What a network is made of: its layers, the tiles that they lie on, and how well they fill them.

`aihw.analog_summary` and the command line call `analog_summary`. It runs one example through the
network to learn shapes and reads, and leaves the network as it was."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from engine.nn.analog import AnalogTile, analog_tiles
from engine.nn.layer import AnalogLayer
from engine.settings import UserError
from engine.tile.weight import AnalogWeight


@dataclass(frozen=True)
class Row:
    """One layer. `reads` is how often its tiles are read for one sample, `cells` how many hold
    weights."""

    layer: str
    kind: str
    output: str
    tiles: int
    weights: str
    tile_size: str
    cells: int
    utilisation: float
    reads: float
    digital: int
    device: str
    algorithm: str


# Columns of the table by the fields of a row, in their order.
HEADS = {
    "layer": "layer",
    "kind": "kind",
    "output": "output",
    "tiles": "tiles",
    "weights": "weights",
    "tile_size": "tile",
    "cells": "cells",
    "utilisation": "used",
    "reads": "reads",
    "digital": "digital",
    "device": "device",
    "algorithm": "algorithm",
}


@dataclass(frozen=True)
class Summary:
    """The layers of a network with parameters; `str()` gives a table."""

    rows: list[Row]

    @property
    def totals(self) -> dict[str, Any]:
        """Sums over the layers; `utilisation` is that of all tiles together."""
        tiles = sum(row.tiles for row in self.rows)
        cells = sum(row.cells for row in self.rows)
        digital = sum(row.digital for row in self.rows)
        # Rows hold the share in use; all cells of their tiles are these divided by it.
        physical = sum(row.cells / row.utilisation for row in self.rows if row.cells)
        return {
            "layers": len(self.rows),
            "analog_layers": sum(row.tiles > 0 for row in self.rows),
            "tiles": tiles,
            "cells": cells,
            "utilisation": cells / physical if physical else 0.0,
            "digital": digital,
            "parameters": cells + digital,
        }

    def as_data(self) -> dict[str, Any]:
        """Plain values for a script."""
        return {"layers": [asdict(row) for row in self.rows], "totals": self.totals}

    def cells(self) -> list[list[str]]:
        """Heads and rows as texts."""
        table = [list(HEADS.values())]
        for row in self.rows:
            table.append([_text(f.name, getattr(row, f.name)) for f in fields(Row)])
        return table

    def last_line(self) -> str:
        """The totals in a line."""
        totals = self.totals
        tiles = "no tiles"
        if totals["tiles"]:
            plural = "s" * (totals["tiles"] != 1)
            tiles = f"{totals['tiles']} tile{plural}, {totals['utilisation']:.1%} used"
        cells, digital = f"{totals['cells']:,}", f"{totals['digital']:,}"
        return f"{totals['parameters']:,} parameters: {cells} in cells of {tiles}; {digital} digital"

    def __str__(self) -> str:
        table = self.cells()
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = []
        for row in table:
            padded = [
                cell.ljust(width) for cell, width in zip(row, widths, strict=True)
            ]
            lines.append("  ".join(padded).rstrip())
        return "\n".join([*lines, self.last_line()])


class _Observer:
    """What layers and tiles of a network do while one example runs through it."""

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}  # of each layer's first output
        self.reads: Counter[int] = (
            Counter()
        )  # vectors that each tile multiplied, by its id
        self.hooks: list[RemovableHandle] = []
        for name, layer in layers.items():
            self.hooks.append(layer.register_forward_hook(self._shape_hook(name)))
            for tile in _tiles(layer):
                self.hooks.append(tile.register_forward_pre_hook(self._count_reads))

    def _shape_hook(self, name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            shape = tuple(first.shape) if isinstance(first, Tensor) else ()
            self.shapes.setdefault(name, shape)

        return hook

    def _count_reads(self, tile: nn.Module, inputs: Any) -> None:
        self.reads[id(tile)] += inputs[0].shape[0]

    def mean_reads(self, layer: nn.Module, batch: int) -> float:
        """Reads of a tile of this layer for one sample, on average over its tiles."""
        counts = [self.reads[id(tile)] / batch for tile in _tiles(layer)]
        return sum(counts) / len(counts) if counts else 0.0

    def remove(self) -> None:
        """Ends the observation."""
        for hook in self.hooks:
            hook.remove()


def analog_summary(model: nn.Module, example: Sequence[int] | Tensor) -> Summary:
    """Layers, tiles, their use and parameters of `model`.

    `example` is the shape of an input with its batch (`(1, 3, 32, 32)`; zeros are run through), or
    an input itself. The model is left as it was; noise that it draws for evaluation goes on from
    where it stood. Raises UserError for an input that the network does not take."""
    layers = dict(_layers(model))
    observer = _Observer(layers)
    modes = {part: part.training for part in model.modules()}
    x = _input(model, example)
    try:
        with torch.no_grad():
            model.eval()(x)
    except (RuntimeError, AssertionError, AttributeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"the network does not take an input {list(x.shape)}: {reason}"
        ) from error
    finally:
        for part, mode in modes.items():
            part.training = mode
        observer.remove()

    rows = []
    counted: set[int] = set()
    for name, layer in layers.items():
        output = observer.shapes.get(name)
        reads = observer.mean_reads(layer, len(x))
        rows.append(_row(name, layer, output, reads, counted))
    return Summary(rows)


def _input(model: nn.Module, example: Sequence[int] | Tensor) -> Tensor:
    """The example, where the model is; zeros are of the type of its digital parameters."""
    parameters = list(model.parameters())
    device = parameters[0].device if parameters else torch.device("cpu")
    if isinstance(example, Tensor):
        return example.to(device)
    # Cells are float32 also in a model of half precision; they say nothing about its inputs.
    digital = [p for p in parameters if not isinstance(p, AnalogWeight)]
    dtype = torch.float32
    if digital and digital[0].is_floating_point():
        dtype = digital[0].dtype
    return torch.zeros(tuple(example), dtype=dtype, device=device)


def _layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Analog layers, and other modules that hold parameters of their own, each once."""
    found = list(_layers_below(module, ""))
    # A layer that a network uses twice has the name under which it comes first.
    first_names = {id(layer): (name, layer) for name, layer in reversed(found)}
    return list(first_names.values())[::-1]


def _layers_below(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, AnalogLayer):
        yield name or "module", module
        return
    if any(True for _ in module.parameters(recurse=False)):
        yield name or "module", module
    for key, child in module.named_children():
        yield from _layers_below(child, f"{name}.{key}" if name else key)


def _tiles(layer: nn.Module) -> list[AnalogTile]:
    """The tiles of an analog layer. Another module that holds parameters of its own, such as a whole
    network, has layers below it that are counted by themselves."""
    return list(analog_tiles(layer)) if isinstance(layer, AnalogLayer) else []


def _row(
    name: str,
    layer: nn.Module,
    output: tuple[int, ...] | None,
    reads: float,
    counted: set[int],
) -> Row:
    """The row of a layer; `counted` holds the ids of parameters in earlier rows."""
    tiles = _tiles(layer)
    cells = sum(math.prod(_size(tile)) for tile in tiles)
    physical = sum(math.prod(_physical_size(tile)) for tile in tiles)
    devices = {tile.tile.spec.device.model for tile in tiles}
    algorithms = {tile.algorithm for tile in tiles}
    return Row(
        layer=name,
        kind=type(layer).__name__,
        output=_shape_text(output),
        tiles=len(tiles),
        weights=_sizes_text(_matrix_sizes(layer)),
        tile_size=_sizes_text([_physical_size(tile) for tile in tiles]),
        cells=cells,
        utilisation=cells / physical if physical else 0.0,
        reads=reads,
        digital=_digital_count(layer, tiles, counted),
        device=", ".join(sorted(devices)),
        algorithm=", ".join(sorted(algorithms)),
    )


def _digital_count(layer: nn.Module, tiles: list[AnalogTile], counted: set[int]) -> int:
    """Digital parameters of a layer; those that it shares count where they come first.

    Cells are none of them, also those of further arrays that an algorithm has (AnalogWeight)."""
    # Weights of hardware-aware training are no AnalogWeight, but cells all the same.
    counted |= {id(tile.tile.weight) for tile in tiles}
    total = 0
    for parameter in layer.parameters(recurse=isinstance(layer, AnalogLayer)):
        if not isinstance(parameter, AnalogWeight) and id(parameter) not in counted:
            counted.add(id(parameter))
            total += parameter.numel()
    return total


def _size(tile: AnalogTile) -> tuple[int, int]:
    """Rows and columns of cells in use."""
    array = tile.tile.array
    return array.out_size, array.in_size


def _physical_size(tile: AnalogTile) -> tuple[int, int]:
    """Rows and columns of the crossbar; one without a limit is made to measure."""
    mapping = tile.tile.spec.mapping
    rows, columns = _size(tile)
    return mapping.max_output_size or rows, mapping.max_input_size or columns


def _matrix_sizes(layer: nn.Module) -> list[tuple[int, int]]:
    """Rows and columns of every matrix of a layer."""
    if not isinstance(layer, AnalogLayer):
        return []
    return [(matrix.shape[0], matrix.inputs) for matrix in layer.matrices.values()]


def _sizes_text(sizes: list[tuple[int, int]]) -> str:
    """Sizes as text, equal ones once with their number."""
    texts = []
    for (rows, columns), count in Counter(sizes).items():
        number = f"{count} of " if count > 1 else ""
        texts.append(f"{number}{rows} x {columns}")
    return ", ".join(texts)


def _shape_text(shape: tuple[int, ...] | None) -> str:
    """The shape of an output of one sample."""
    if shape is None:
        return "not reached"
    return " x ".join(map(str, shape[1:])) or "1"


def _text(name: str, value: Any) -> str:
    """A value in the table; zeros are left out."""
    if isinstance(value, str):
        return value
    if not value:
        return ""
    if name == "utilisation":
        return f"{value:.1%}"
    return f"{value:,g}" if isinstance(value, float) else f"{value:,}"
