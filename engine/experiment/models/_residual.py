"""The block of a residual network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Residual(nn.Module):
    """Two convolutions, each with batch norm, beside a shortcut: a third one, or subsampled and new
    channels zero."""

    def __init__(
        self,
        layers: tuple[nn.Module, nn.Module, nn.Module | None],
        channels: int,
        *,
        stride: int,
    ) -> None:
        super().__init__()
        (self.first, self.second, short), self.stride, self.channels = (
            layers,
            stride,
            channels,
        )
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.short = (
            None if short is None else nn.Sequential(short, nn.BatchNorm2d(channels))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.second(torch.relu(self.norm1(self.first(x)))))
        return torch.relu(
            y + (self._narrow(x) if self.short is None else self.short(x))
        )

    def _narrow(self, x: Tensor) -> Tensor:
        short = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(short, (0, 0, 0, 0, 0, self.channels - x.shape[1]))
