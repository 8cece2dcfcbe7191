"""Conductances for a chip and back: a file with the magnitude of every weight, one line a tile.

The file is CSV: a line `tile,rows,columns,conductances in uS (g_max 40)`, then for each tile its
name in the network, its shape, and its conductances row by row."""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.jit.programs import Program, fill
from engine.jit.struct import read_struct
from engine.jit.unit import unit_text
from engine.settings import UserError
from engine.tile.tile import Tile

G_MAX = 40.0
MOST, LEAST = 40.0, 10.0


def fusion_text() -> str:
    """The translation unit of the conversion."""
    return unit_text("inference/fusion.cu")


@functools.cache
def _program(backend: str) -> Program:
    return Program(fusion_text(), backend)


def save(network: nn.Module, file: str | Path, *, g_max: float = G_MAX) -> None:
    """Writes the conductances of all tiles; the largest weight of each row gets g_max (10 to 40
    uS).

    Raises UserError for another g_max, a network without tiles, or a file that cannot be written.
    """
    if not LEAST <= g_max <= MOST:
        raise UserError(f"g_max must be {LEAST:g} to {MOST:g} uS, not {g_max:g}")
    rows = []
    for name, tile in _tiles(network).items():
        weight = tile.weight.detach().contiguous()
        g = torch.empty_like(weight)
        _run("magnitudes", weight, g=g, g_max=g_max)
        rows.append([name, *weight.shape, *(f"{v:.9g}" for v in g.flatten().tolist())])
    try:
        with Path(file).open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows(
                [
                    [
                        "tile",
                        "rows",
                        "columns",
                        f"conductances in uS (g_max {g_max:g})",
                    ],
                    *rows,
                ]
            )
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}") from None


def load(network: nn.Module, file: str | Path) -> None:
    """The tiles take the weights that the conductances of a file make; signs and scale are those of
    their own weights.

    Raises UserError, naming the tile, for a file that does not fit the network.
    """
    try:
        with Path(file).open(newline="", encoding="utf-8") as lines:
            read = {row[0]: row[1:] for row in list(csv.reader(lines))[1:] if row}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"cannot read {file}: {getattr(error, 'strerror', None) or error}"
        ) from None
    tiles = _tiles(network)
    if set(read) != set(tiles):
        wrong = sorted(set(read) ^ set(tiles))[0]
        raise UserError(
            f"{file} does not fit: tile {wrong!r} is {'not in it' if wrong in tiles else 'only in it'}"
        )
    made = {
        name: _weights(tile, read[name], f"{file}: tile {name!r}")
        for name, tile in tiles.items()
    }
    for name, tile in tiles.items():
        tile.array.weight.data.copy_(made[name])


def _weights(tile: Tile, row: list[str], where: str) -> Tensor:
    weight = tile.weight.detach().contiguous()
    shape = ",".join(map(str, weight.shape))
    if ",".join(row[:2]) != shape:
        raise UserError(f"{where} has shape {','.join(row[:2])}, not {shape}")
    try:
        values = [float(v) for v in row[2:]]
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    if len(values) != weight.numel() or not all(0 <= v < float("inf") for v in values):
        raise UserError(
            f"{where} must have {weight.numel()} conductances >= 0, it has {len(values)} numbers"
        )
    out = torch.empty_like(weight)
    _run(
        "signed_again",
        weight,
        measured=torch.tensor(
            values, dtype=torch.float32, device=weight.device
        ).view_as(weight),
        out=out,
    )
    return out


def _tiles(network: nn.Module) -> dict[str, Tile]:
    found = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, Tile)
    }
    if not found:
        raise UserError(
            "there is nothing to convert: no analog tiles; engine.nn.convert_to_analog makes some"
        )
    if any(tile.array.lanes > 1 for tile in found.values()):
        raise UserError(
            "tiles of several lanes have several weights: they cannot be written to one file"
        )
    return found


def _run(kernel: str, weight: Tensor, *, g_max: float = 0.0, **tensors: Tensor) -> None:
    args: Any = read_struct("inference/fusion.cuh", "FusionArgs")()
    args.items, args.columns, args.g_max = weight.shape[0], weight.shape[1], g_max
    fill(args, ("w", *tensors), (weight, *tensors.values()))
    _program(weight.device.type).run(kernel, args)
