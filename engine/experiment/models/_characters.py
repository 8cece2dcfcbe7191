"""A recurrent network over the characters of a text whose state outlives a batch.

B streams, T characters, K kinds of characters, H hidden, N layers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.experiment.build import Maker
from engine.experiment.data import Info
from engine.settings import UserError


@dataclass(frozen=True)
class Cell:
    """A kind of recurrent layer: `make(inputs, outputs, name)` makes one, `states` counts the
    tensors [1, B, H] of its state."""

    name: str
    make: Callable[[int, int, str], nn.Module]
    states: int


@dataclass(frozen=True)
class Sizes:
    """The settings that all networks over characters share."""

    hidden: int
    layers: int
    dropout: float


def build_characters(make: Maker, info: Info, cell: Cell, sizes: Sizes) -> nn.Module:
    """Layers NAME1, NAME2, ... of a cell and fc; dropout after each recurrent layer."""
    if min(sizes.hidden, sizes.layers) < 1 or not 0 <= sizes.dropout < 1:
        raise UserError(
            f"model {make.config['model']['name']}: hidden and layers must be 1 at least and "
            f"dropout in [0, 1), not {sizes.hidden}, {sizes.layers}, {sizes.dropout:g}"
        )
    widths = [info.classes, *[sizes.hidden] * sizes.layers]
    layers = [
        cell.make(inputs, outputs, f"{cell.name}{number}")
        for number, (inputs, outputs) in enumerate(itertools.pairwise(widths), 1)
    ]
    scores = make.linear("fc", sizes.hidden, rows=info.classes)
    return Characters(
        layers, scores, make.output(), states=cell.states, dropout=sizes.dropout
    )


class Characters(nn.Module):
    """Numbers of characters x [B, T] to scores [B, K, T] of the next ones.

    Row b goes on where row b of the last batch ended, until `begin_streams` is called. Gradients
    stay in a batch."""

    def __init__(
        self,
        layers: list[nn.Module],
        scores: nn.Module,
        output: nn.Module,
        *,
        states: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.state_tensors = states
        self.layers, self.scores, self.output = nn.ModuleList(layers), scores, output
        self.dropout = nn.Dropout(dropout)
        self.kinds = int(layers[0].input_size)  # type: ignore[arg-type]
        # One for training, one for evaluation. They stay where they are, so that steps can be
        # replayed on a GPU.
        self.states: dict[bool, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        values = functional.one_hot(x.long(), self.kinds).to(torch.float32)
        # Streams that have ended leave the first ones of a smaller last batch.
        state = self._state(len(x), x.device)[:, :, :, : len(x)]
        carried, ends = state.clone(), []
        for k, layer in enumerate(self.layers):
            values, end = layer(values, self._as_torch(carried[k]))
            parts = end if self.state_tensors > 1 else (end,)
            ends.append(torch.stack([part.detach() for part in parts]))
            values = self.dropout(values)
        state.copy_(torch.stack(ends))
        return self.output(self.scores(values).transpose(1, 2))

    def begin_streams(self) -> None:
        """What comes next follows nothing."""
        for state in self.states.values():
            state.zero_()

    def get_extra_state(self) -> Tensor:
        return (
            self.states[True].clone()
            if True in self.states
            else torch.empty(0, dtype=torch.float32)
        )

    def set_extra_state(self, state: Tensor) -> None:
        self.states = {True: state.clone()} if state.numel() else {}

    def _as_torch(self, state: Tensor) -> Any:
        """A state [S, 1, B, H] as torch's layers take it: a tuple where it has several tensors."""
        return tuple(state) if self.state_tensors > 1 else state[0]

    def _state(self, streams: int, where: torch.device) -> Tensor:
        """State [N, S, 1, B, H] of N layers for `streams` of them at least; new ones follow
        nothing."""
        kept = self.states.get(self.training)
        if kept is None or kept.shape[3] < streams or kept.device != where:
            hidden = int(self.layers[0].hidden_size)  # type: ignore[arg-type]
            state = torch.zeros(
                len(self.layers),
                self.state_tensors,
                1,
                streams,
                hidden,
                dtype=torch.float32,
                device=where,
            )
            if kept is not None:
                state[:, :, :, : kept.shape[3]] = kept
            self.states[self.training] = state
        return self.states[self.training]
