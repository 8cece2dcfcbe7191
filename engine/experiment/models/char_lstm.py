"""Stacked LSTMs that guess the next sign of a text."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from engine.experiment.data import TEXT
from engine.settings import UserError

if TYPE_CHECKING:
    from torch import nn

    from engine.experiment.build import Maker
    from engine.experiment.data import Info

ABOUT = "Stacked LSTMs that guess the next sign of a text; their state goes on from batch to batch."
SOURCE = "Gokmen, Rasch & Haensch, Front. Neurosci. 12:745 (2018), doi:10.3389/fnins.2018.00745"
TAKES = TEXT


def build(
    make: Maker, info: Info, *, hidden: int = 64, layers: int = 2, dropout: float = 0.0
) -> nn.Module:
    """Layers lstm1, lstm2, ... and fc; dropout after each LSTM."""
    from torch import nn

    from engine.experiment.models._characters import Characters

    if min(hidden, layers) < 1 or not 0 <= dropout < 1:
        raise UserError(
            f"model char_lstm: hidden and layers must be 1 at least and dropout in [0, 1), not {hidden}, {layers}, "
            f"{dropout:g}"
        )
    sizes = [info.classes, *[hidden] * layers]
    lstms = [
        make.convert(nn.LSTM(inputs, outputs, batch_first=True), f"lstm{number}")
        for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes), 1)
    ]
    return Characters(
        lstms,
        make.linear("fc", hidden, rows=info.classes),
        make.output(),
        dropout=dropout,
    )
