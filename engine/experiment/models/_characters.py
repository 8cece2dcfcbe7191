"""A network over the signs of a text whose state outlives a batch. B streams, T signs, K kinds of signs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Characters(nn.Module):
    """Numbers of signs x [B, T] to scores [B, K, T] of the next ones.

    Row b goes on where row b of the last batch ended, until `begin_streams` is called. Gradients stay in a batch.
    """

    def __init__(self, layers: list[nn.Module], scores: nn.Module, output: nn.Module, *, dropout: float) -> None:
        super().__init__()
        self.layers, self.scores, self.output = nn.ModuleList(layers), scores, output
        self.dropout = nn.Dropout(dropout)
        self.kinds = int(layers[0].input_size)  # type: ignore[arg-type]
        self.state = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        values = functional.one_hot(x.long(), self.kinds).to(torch.float32)
        # Streams that have ended leave the first ones of a smaller last batch.
        carried = self.state[:, :, :, : len(x)].to(x.device) if self.state.numel() else None
        ends = []
        for k, layer in enumerate(self.layers):
            values, end = layer(values, None if carried is None else (carried[k, 0], carried[k, 1]))
            ends.append(torch.stack([part.detach() for part in end]))
            values = self.dropout(values)
        self.state = torch.stack(ends)
        return self.output(self.scores(values).transpose(1, 2))

    def begin_streams(self) -> None:
        """What comes next follows nothing."""
        self.state = torch.empty(0)

    def get_extra_state(self) -> Tensor:
        return self.state

    def set_extra_state(self, state: Tensor) -> None:
        self.state = state
