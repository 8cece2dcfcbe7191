"""aihwkit and this engine: their words for the same things, and models carried both ways.

`aihw_cli/scripts/export_aihwkit.py` runs beside aihwkit and writes the file that is read here, or
loads the one that `save` writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from engine.exchange.aihwkit.lost import Losses


def load(model: nn.Module, file: str | Path) -> Losses:
    """Give a network the tiles and parameters of aihwkit's model in `file`; returns what of it has
    no place here.

    Layers are found by their names, or in their order where all matrices have the same shapes.
    Raises UserError, in one line, for a network or settings that it does not fit."""
    from engine.exchange.aihwkit import network

    return network.load(model, file)


def save(model: nn.Module, file: str | Path, *, batch_size: int = 1) -> None:
    """Write a network for `export_aihwkit.load`: tiles, scales, ranges and digital parameters under
    aihwkit's names.

    aihwkit counts samples where this engine counts mini-batches of `batch_size`. Raises UserError
    in one line for a network without tiles, or with tiles that aihwkit does not have."""
    from engine.exchange.aihwkit import write

    write.save(model, file, batch_size=batch_size)
