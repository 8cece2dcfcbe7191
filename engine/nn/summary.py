"""What a network is made of: its layers, the tiles that they lie on, and how well they fill
them."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


HEADS = {
    "layer": "layer", "kind": "kind", "output": "output", "tiles": "tiles", "weights": "weights", "tile_size": "tile",
    "cells": "cells", "utilisation": "used", "reads": "reads", "digital": "digital", "device": "device",
    "algorithm": "algorithm",
}  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """The layers of a network with parameters; `str()` gives a table."""

    rows: list[Row]

    @property
    def totals(self) -> dict[str, Any]:
        """Sums over the layers; `utilisation` is that of all tiles together."""
        physical = sum(row.cells / row.utilisation for row in self.rows if row.cells)
        cells = sum(row.cells for row in self.rows)
        return {
            "layers": len(self.rows),
            "analog_layers": sum(row.tiles > 0 for row in self.rows),
            "tiles": sum(row.tiles for row in self.rows),
            "cells": cells,
            "utilisation": cells / physical if physical else 0.0,
            "digital": sum(row.digital for row in self.rows),
            "parameters": cells + sum(row.digital for row in self.rows),
        }

    def as_data(self) -> dict[str, Any]:
        """Plain values for a script."""
        return {"layers": [asdict(row) for row in self.rows], "totals": self.totals}

    def cells(self) -> list[list[str]]:
        """Heads and rows as texts."""
        return [
            list(HEADS.values()),
            *([_text(f.name, getattr(row, f.name)) for f in fields(Row)] for row in self.rows),
        ]

    def last_line(self) -> str:
        """The totals in a line."""
        t = self.totals
        tiles = (
            f"{t['tiles']} tile{'s' * (t['tiles'] != 1)}, {t['utilisation']:.1%} used"
            if t["tiles"]
            else "no tiles"
        )
        return f"{t['parameters']:,} parameters: {t['cells']:,} in cells of {tiles}; {t['digital']:,} digital"

    def __str__(self) -> str:
        table = self.cells()
        widths = [max(len(line[k]) for line in table) for k in range(len(table[0]))]
        lines = (
            "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
            for line in table
        )
        return "\n".join([*lines, self.last_line()])


def analog_summary(model: nn.Module, example: Sequence[int] | Tensor) -> Summary:
    """Layers, tiles, their use and parameters of `model`.

    `example` is the shape of an input with its batch (`(1, 3, 32, 32)`; zeros are run through), or
    an input itself. The model is left as it was; noise that it draws for evaluation goes on from
    where it stood."""
    layers = dict(_layers(model))
    seen: dict[str, Any] = {}
    reads: dict[int, int] = {}
    hooks: list[RemovableHandle] = []
    for name, layer in layers.items():
        hooks.append(layer.register_forward_hook(_noting(seen, name)))
        hooks += [tile.register_forward_pre_hook(_counting(reads)) for tile in _tiles(layer)]
    modes = {part: part.training for part in model.modules()}
    x = _input(model, example)
    try:
        with torch.no_grad():
            model.eval()(x)
    except (RuntimeError, AssertionError, AttributeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"the network does not take an input {list(x.shape)}: {reason}") from error
    finally:
        for part, mode in modes.items():
            part.training = mode
        for hook in hooks:
            hook.remove()
    counted: set[int] = set()
    return Summary(
        [
            _row(name, layer, seen.get(name), _mean_reads(layer, reads, len(x)), counted)
            for name, layer in layers.items()
        ]
    )


def _input(model: nn.Module, example: Sequence[int] | Tensor) -> Tensor:
    """The example, where the model is; zeros are of the type of its digital parameters."""
    first = next((p for p in model.parameters() if not isinstance(p, AnalogWeight)), None)
    where = next((p.device for p in model.parameters()), torch.device("cpu"))
    if isinstance(example, Tensor):
        return example.to(where)
    kind = first.dtype if first is not None and first.is_floating_point() else torch.float32
    return torch.zeros(tuple(example), dtype=kind, device=where)


def _layers(module: nn.Module, name: str = "") -> list[tuple[str, nn.Module]]:
    """Analog layers, and other modules that hold parameters of their own."""
    if isinstance(module, AnalogLayer):
        return [(name or "module", module)]
    own = (
        [(name or "module", module)] if any(True for _ in module.parameters(recurse=False)) else []
    )
    children = (
        _layers(child, f"{name}.{key}" if name else key) for key, child in module.named_children()
    )
    found = [*own, *(pair for pairs in children for pair in pairs)]
    return list({id(layer): (key, layer) for key, layer in reversed(found)}.values())[::-1]


def _noting(seen: dict[str, Any], name: str) -> Any:
    def hook(_: nn.Module, __: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        seen.setdefault(name, tuple(first.shape) if isinstance(first, Tensor) else ())

    return hook


def _counting(reads: dict[int, int]) -> Any:
    def hook(tile: nn.Module, inputs: Any) -> None:
        reads[id(tile)] = reads.get(id(tile), 0) + inputs[0].shape[0]

    return hook


def _mean_reads(layer: nn.Module, reads: dict[int, int], batch: int) -> float:
    counts = [reads.get(id(tile), 0) / batch for tile in _tiles(layer)]
    return sum(counts) / len(counts) if counts else 0.0


def _tiles(layer: nn.Module) -> list[AnalogTile]:
    """The tiles of an analog layer. Another module that holds parameters of its own, such as a whole
    network, has layers below it that are counted by themselves."""
    return list(analog_tiles(layer)) if isinstance(layer, AnalogLayer) else []


def _row(
    name: str, layer: nn.Module, output: tuple[int, ...] | None, reads: float, counted: set[int]
) -> Row:
    tiles = _tiles(layer)
    cells = sum(_size(tile)[0] * _size(tile)[1] for tile in tiles)
    physical = sum(math.prod(_physical(tile)) for tile in tiles)
    digital = _digital(layer, tiles, counted)
    kinds = {tile.tile.spec.device.model for tile in tiles}, {tile.algorithm for tile in tiles}
    return Row(
        layer=name,
        kind=type(layer).__name__,
        output=_shape(output),
        tiles=len(tiles),
        weights=_several(_grids(layer)),
        tile_size=_several([_physical(tile) for tile in tiles]),
        cells=cells,
        utilisation=cells / physical if physical else 0.0,
        reads=reads,
        digital=digital,
        device=", ".join(sorted(kinds[0])),
        algorithm=", ".join(sorted(kinds[1])),
    )


def _digital(layer: nn.Module, tiles: list[AnalogTile], counted: set[int]) -> int:
    """Digital parameters of a layer; those that it shares count where they come first.

    Cells are none of them, also those of further arrays that an algorithm has (AnalogWeight)."""
    counted |= {id(tile.tile.weight) for tile in tiles}
    own = layer.parameters(recurse=isinstance(layer, AnalogLayer))
    digital = {id(p): p for p in own if not isinstance(p, AnalogWeight)}
    fresh = {key: p for key, p in digital.items() if key not in counted}
    counted |= set(fresh)
    return sum(p.numel() for p in fresh.values())


def _size(tile: AnalogTile) -> tuple[int, int]:
    """Rows and columns of cells in use."""
    return tile.tile.array.out_size, tile.tile.array.in_size


def _physical(tile: AnalogTile) -> tuple[int, int]:
    """Rows and columns of the crossbar; one without a limit is made to measure."""
    mapping, (rows, columns) = tile.tile.spec.mapping, _size(tile)
    return mapping.max_output_size or rows, mapping.max_input_size or columns


def _grids(layer: nn.Module) -> list[tuple[int, int]]:
    """Rows and columns of every matrix of a layer."""
    if not isinstance(layer, AnalogLayer):
        return []
    return [(matrix.shape[0], matrix.inputs) for matrix in layer.matrices.values()]


def _several(sizes: list[tuple[int, int]]) -> str:
    """Sizes as text, equal ones once with their number."""
    counts: dict[tuple[int, int], int] = {}
    for size in sizes:
        counts[size] = counts.get(size, 0) + 1
    return ", ".join(
        (f"{n} of " if n > 1 else "") + f"{rows} x {columns}"
        for (rows, columns), n in counts.items()
    )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "not reached" if shape is None else " x ".join(map(str, shape[1:])) or "1"


def _text(name: str, value: Any) -> str:
    if name == "utilisation":
        return f"{value:.1%}" if value else ""
    if isinstance(value, str):
        return value
    return f"{value:,g}" if isinstance(value, float) and value else f"{value:,}" if value else ""
