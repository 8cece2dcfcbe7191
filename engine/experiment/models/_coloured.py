"""A network for colour images that takes grey ones as well."""

from __future__ import annotations

from torch import Tensor, nn


class Coloured(nn.Module):
    """x [B, 1, H, W] is shown to all of the network's `channels`; x [B, channels, H, W] as it
    is."""

    def __init__(self, network: nn.Module, output: nn.Module, channels: int) -> None:
        super().__init__()
        self.network, self.output, self.channels = network, output, channels

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.network(x.expand(-1, self.channels, -1, -1)))
