"""The block of a residual network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Residual(nn.Module):
    """Two convolutions, each with batch norm, beside a shortcut without parameters: subsampled, new channels zero."""

    def __init__(self, first: nn.Module, second: nn.Module, channels: int, *, stride: int) -> None:
        super().__init__()
        self.first, self.second, self.stride, self.channels = first, second, stride, channels
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.second(torch.relu(self.norm1(self.first(x)))))
        short = x[:, :, :: self.stride, :: self.stride]
        return torch.relu(y + functional.pad(short, (0, 0, 0, 0, 0, self.channels - x.shape[1])))
