"""Convolutions on analog tiles: every patch of the image is one input vector."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.utils import _pair

from engine.nn.grid import TileGrid
from engine.nn.linear import draw_seed, start_weights
from engine.tile.settings import TileSpec

Size = int | tuple[int, int]


class AnalogConv2d(nn.Module):
    """A convolution [B, C, H, W] to [B, out, H', W'], its kernel a matrix [out, C kh kw] on tiles. Zero padding, one group."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1, padding: Size = 0,
        dilation: Size = 1, bias: bool = True, *, tile: TileSpec, seed: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride = _pair(kernel_size), _pair(stride)
        self.padding, self.dilation = _pair(padding), _pair(dilation)
        inputs = in_channels * self.kernel_size[0] * self.kernel_size[1]
        self.grid = TileGrid(out_channels, inputs, tile, bias=bias, seed=draw_seed(seed))
        weight, start_bias = start_weights(out_channels, inputs)
        self.grid.set_weights(weight, start_bias if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        patches = functional.unfold(
            x, self.kernel_size, dilation=self.dilation, padding=self.padding, stride=self.stride
        ).transpose(1, 2)
        high, wide = (
            (size + 2 * pad - dil * (k - 1) - 1) // step + 1
            for size, k, step, pad, dil in zip(
                x.shape[-2:], self.kernel_size, self.stride, self.padding, self.dilation, strict=True
            )
        )
        return self.grid(patches).transpose(1, 2).reshape(x.shape[0], self.out_channels, high, wide)

    def set_weights(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Writes weight [out, C, kh, kw] and bias [out]."""
        self.grid.set_weights(weight.reshape(self.out_channels, -1), bias)

    def get_weights(self) -> tuple[Tensor, Tensor | None]:
        """The logical weight [out, C, kh, kw] and bias [out]."""
        weight, bias = self.grid.get_weights()
        return weight.view(self.out_channels, self.in_channels, *self.kernel_size), bias

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
