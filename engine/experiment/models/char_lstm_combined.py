"""Stacked LSTMs, each with one matrix for its inputs and its state, that predict the next
character of a text."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.experiment.build import Maker
from engine.experiment.data import TEXT, Info
from engine.experiment.models._characters import Cell, Sizes, build_characters

ABOUT = (
    "Stacked LSTMs with one crossbar each: inputs and state are columns of one matrix, so that a "
    "step is one product and one update."
)
SOURCE = "Gokmen, Rasch & Haensch, Front. Neurosci. 12:745 (2018), doi:10.3389/fnins.2018.00745"
TAKES = TEXT
# Input, forget, cell, output: torch's order of rows.
GATES = 4

State = tuple[Tensor, Tensor]


class CombinedLSTM(nn.Module):
    """torch.nn.LSTM of one layer, batches first: i, f, g, o = W [x; h] + b; c' = sigmoid(f) c +
    sigmoid(i) tanh(g); h' = sigmoid(o) tanh(c').

    x [B, T, I], state (h, c) of [1, B, H] each. The inputs of a step cannot be read in advance,
    since they share their matrix with the state; updates of all steps go to one matrix."""

    def __init__(self, matrix: nn.Module, inputs: int, hidden: int) -> None:
        super().__init__()
        self.matrix, self.input_size, self.hidden_size = matrix, inputs, hidden

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h, c = (part[0] for part in state)
        outputs = []
        for given in x.unbind(1):
            gates = self.matrix(torch.cat([given, h], 1))
            i, f, g, o = gates.chunk(GATES, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, 1), (h[None], c[None])


def build(
    make: Maker, info: Info, *, hidden: int = 64, layers: int = 2, dropout: float = 0.0
) -> nn.Module:
    """Layers lstm1, lstm2, ... of one matrix each and fc; dropout after each LSTM."""

    def lstm(inputs: int, outputs: int, name: str) -> nn.Module:
        matrix = make.linear(name, inputs + outputs, rows=GATES * outputs)
        return CombinedLSTM(matrix, inputs, outputs)

    cell = Cell("lstm", lstm, states=2)
    return build_characters(make, info, cell, Sizes(hidden, layers, dropout))
