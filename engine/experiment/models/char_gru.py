"""Stacked GRUs that predict the next character of a text."""

from __future__ import annotations

from torch import nn

from engine.experiment.build import Maker
from engine.experiment.data import TEXT, Info
from engine.experiment.models._characters import Cell, Sizes, build_characters

ABOUT = "Stacked GRUs that predict the next character of a text; their state goes on from batch to batch."
SOURCE = "Cho et al., EMNLP (2014), doi:10.3115/v1/D14-1179"
TAKES = TEXT


def build(
    make: Maker, info: Info, *, hidden: int = 64, layers: int = 2, dropout: float = 0.0
) -> nn.Module:
    """Layers gru1, gru2, ... and fc; dropout after each GRU."""

    def gru(inputs: int, outputs: int, name: str) -> nn.Module:
        return make.convert(nn.GRU(inputs, outputs, batch_first=True), name)

    cell = Cell("gru", gru, states=1)
    return build_characters(make, info, cell, Sizes(hidden, layers, dropout))
