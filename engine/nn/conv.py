"""Convolutions on analog tiles: every patch of an image is one input vector."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from engine.nn.layer import AnalogLayer, Matrix
from engine.nn.patches import Axes, Window, patches
from engine.tile.inputs import check_plain
from engine.tile.settings import TileSpec

Size = int | tuple[int, ...]
ARGUMENTS = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation")


class AnalogConv(AnalogLayer):
    """A convolution [B, C, extents] to [B, out, extents'], its kernel a matrix [out, C kernel] on
    tiles.

    Takes torch's arguments in torch's order; zero padding and one group only. As in torch the batch
    may be left out."""

    axes: ClassVar[int]

    def __init__(  # noqa: PLR0913, PLR0917
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1, padding: Size = 0,
        dilation: Size = 1, groups: int = 1, bias: bool = True, *, tile: TileSpec | str, seed: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if groups != 1:
            raise ValueError(
                f"{type(self).__name__} has one group, not {groups}: tiles hold one full matrix"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride = (
            self._sizes("kernel_size", kernel_size),
            self._sizes("stride", stride),
        )
        self.padding, self.dilation = (
            self._sizes("padding", padding, 0),
            self._sizes("dilation", dilation),
        )
        self.window = Window(*(_three(v, fill) for v, fill in (
            (self.kernel_size, 1), (self.stride, 1), (self.padding, 0), (self.dilation, 1))))  # fmt: skip
        shape = (out_channels, in_channels, *self.kernel_size)
        self.place({"grid": Matrix(shape)}, bias=bias, tile=tile, seed=seed)

    def forward(self, x: Tensor) -> Tensor:
        batched = x.dim() == self.axes + 2
        images = x if batched else x.unsqueeze(0)
        if images.dim() != self.axes + 2 or images.shape[1] != self.in_channels:
            extents = ", ".join("DHW"[-self.axes :])
            raise ValueError(
                f"{type(self).__name__} takes x [B, {self.in_channels}, {extents}], not {list(x.shape)}"
            )
        if x.dtype is not torch.float32 or x.layout is not torch.strided:
            check_plain(x, type(self).__name__)
        places = self.window.places(_three(tuple(images.shape[2:]), 1))[3 - self.axes :]
        volumes = images.reshape(*images.shape[:2], *_three(tuple(images.shape[2:]), 1))
        y = self.grid.product(patches(volumes, self.window, ones=int(self.grid.analog_bias)))
        # The channels stay last in memory: what follows takes them as they are, and nothing large
        # is transposed.
        y = y.view(images.shape[0], *places, self.out_channels).movedim(-1, 1).to(x.dtype)
        return y if batched else y.squeeze(0)

    @classmethod
    def settings_of(cls, layer: Any) -> dict[str, Any]:
        if layer.groups != 1:
            raise ValueError(f"{layer.groups} groups")
        if layer.padding_mode != "zeros":
            raise ValueError(f"padding_mode {layer.padding_mode}")
        settings = {name: getattr(layer, name) for name in ARGUMENTS} | {
            "bias": layer.bias is not None
        }
        return settings | {"padding": _padding(layer)}

    def digital_settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ARGUMENTS} | {"bias": self.grid.has_bias}

    def extra_repr(self) -> str:
        own = ", ".join(f"{name}={getattr(self, name)}" for name in ARGUMENTS[2:])
        return f"{self.in_channels}, {self.out_channels}, {own}, bias={self.grid.has_bias}"

    def _sizes(self, name: str, value: Size, least: int = 1) -> tuple[int, ...]:
        found = (value,) * self.axes if isinstance(value, int) else tuple(value)
        if len(found) != self.axes or not all(isinstance(v, int) and v >= least for v in found):
            wanted = f"{self.axes} whole numbers >= {least}"
            raise ValueError(f"{type(self).__name__}: {name} must be {wanted}, not {value!r}")
        return found


class AnalogConv1d(AnalogConv):
    """torch.nn.Conv1d on analog tiles: x [B, C, W]."""

    digital, axes = nn.Conv1d, 1


class AnalogConv2d(AnalogConv):
    """torch.nn.Conv2d on analog tiles: x [B, C, H, W]."""

    digital, axes = nn.Conv2d, 2


class AnalogConv3d(AnalogConv):
    """torch.nn.Conv3d on analog tiles: x [B, C, D, H, W]."""

    digital, axes = nn.Conv3d, 3


def _three(values: tuple[int, ...], filling: int) -> Axes:
    """The values of all three axes: those that an image does not have come first."""
    z, y, x = (*([filling] * (3 - len(values))), *values)
    return z, y, x


def _padding(layer: Any) -> tuple[int, ...]:
    """The padding of torch's layer in numbers, also where it is given by a word."""
    if layer.padding == "valid":
        return tuple(0 for _ in layer.kernel_size)
    if layer.padding != "same":
        return tuple(layer.padding)
    reach = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    if any(v % 2 for v in reach):
        raise ValueError("padding='same' that differs between the two sides")
    return tuple(v // 2 for v in reach)
