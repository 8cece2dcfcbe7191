"""Stacked LSTMs that predict the next character of a text."""

from __future__ import annotations

from torch import nn

from engine.experiment.build import Maker
from engine.experiment.data import TEXT, Info
from engine.experiment.models._characters import Cell, Sizes, build_characters

ABOUT = "Stacked LSTMs that predict the next character of a text; their state goes on from batch to batch."
SOURCE = "Gokmen, Rasch & Haensch, Front. Neurosci. 12:745 (2018), doi:10.3389/fnins.2018.00745"
TAKES = TEXT


def build(
    make: Maker, info: Info, *, hidden: int = 64, layers: int = 2, dropout: float = 0.0
) -> nn.Module:
    """Layers lstm1, lstm2, ... and fc; dropout after each LSTM."""

    def lstm(inputs: int, outputs: int, name: str) -> nn.Module:
        return make.convert(nn.LSTM(inputs, outputs, batch_first=True), name)

    cell = Cell("lstm", lstm, states=2)
    return build_characters(make, info, cell, Sizes(hidden, layers, dropout))
