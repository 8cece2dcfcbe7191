"""A network over the signs of a text whose state outlives a batch. B streams, T signs, K kinds of
signs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Characters(nn.Module):
    """Numbers of signs x [B, T] to scores [B, K, T] of the next ones.

    Row b goes on where row b of the last batch ended, until `begin_streams` is called. Gradients
    stay in a batch."""

    def __init__(
        self,
        layers: list[nn.Module],
        scores: nn.Module,
        output: nn.Module,
        *,
        dropout: float,
    ) -> None:
        super().__init__()
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
            values, end = layer(values, (carried[k, 0], carried[k, 1]))
            ends.append(torch.stack([part.detach() for part in end]))
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

    def _state(self, streams: int, where: torch.device) -> Tensor:
        """State [N, 2, 1, B, H] of N layers for `streams` of them at least; new ones follow
        nothing."""
        kept = self.states.get(self.training)
        if kept is None or kept.shape[3] < streams or kept.device != where:
            hidden = int(self.layers[0].hidden_size)  # type: ignore[arg-type]
            state = torch.zeros(
                len(self.layers),
                2,
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
