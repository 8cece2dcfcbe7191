"""Convolutions on analog tiles: every patch of an image is one input vector."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from engine.nn.grid import TileGrid
from engine.nn.layer import AnalogLayer, Matrix
from engine.nn.patches import Axes, Window, patches
from engine.tile.inputs import check_plain
from engine.tile.settings import TileSpec

Size = int | tuple[int, ...]
ARGUMENTS = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
)


class AnalogConv(AnalogLayer):
    """A convolution [B, C, extents] to [B, out, extents'], its kernel a matrix [out, C kernel] on
    tiles; with G groups, G matrices [out / G, C / G kernel], each on tiles of its own.

    Takes torch's arguments in torch's order; zero padding only. As in torch the batch may be left
    out."""

    axes: ClassVar[int]

    def __init__(  # noqa: PLR0913, PLR0917
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1, padding: Size = 0,
        dilation: Size = 1, groups: int = 1, bias: bool = True, *, tile: TileSpec | str, seed: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{type(self).__name__}: groups must divide in_channels and out_channels, "
                f"not {groups} for {in_channels} and {out_channels}"
            )
        self.in_channels, self.out_channels, self.groups = (
            in_channels,
            out_channels,
            groups,
        )
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
        shape = (out_channels // groups, in_channels // groups, *self.kernel_size)
        # One matrix keeps the name that a layer with one matrix has everywhere.
        names = (
            ["grid"] if groups == 1 else [f"group{number}" for number in range(groups)]
        )
        matrices = dict.fromkeys(names, Matrix(shape))
        self.place(matrices, bias=bias, tile=tile, seed=seed)

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
        y = self._products(volumes)
        # The channels stay last in memory: what follows takes them as they are, and nothing large
        # is transposed.
        y = (
            y.view(images.shape[0], *places, self.out_channels)
            .movedim(-1, 1)
            .to(x.dtype)
        )
        return y if batched else y.squeeze(0)

    def _products(self, volumes: Tensor) -> Tensor:
        """The outputs [B P, out] of all patches of volumes [B, C, D, H, W]."""
        if self.groups == 1:
            return self.grid.product(
                patches(volumes, self.window, ones=int(self.grid.analog_bias))
            )
        # The columns of a group's channels lie side by side in a row of the patches of all.
        rows = patches(volumes, self.window).split(self.matrices["group0"].inputs, 1)
        grids = self._grids()
        if grids[0].analog_bias:
            ones = rows[0].new_ones(len(rows[0]), 1)
            rows = tuple(torch.cat([part, ones], 1) for part in rows)
        parts = [
            grid.product(part.contiguous())
            for grid, part in zip(grids, rows, strict=True)
        ]
        return torch.cat(parts, 1)

    def _grids(self) -> list[TileGrid]:
        """The grids of all groups, in their order."""
        return [self.get_submodule(name) for name in self.matrices]  # type: ignore[misc]

    @classmethod
    def settings_of(cls, layer: Any) -> dict[str, Any]:
        if layer.padding_mode != "zeros":
            raise ValueError(f"padding_mode {layer.padding_mode}")
        settings = {name: getattr(layer, name) for name in ARGUMENTS}
        return settings | {"bias": layer.bias is not None, "padding": _padding(layer)}

    def digital_settings(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in ARGUMENTS}
        return settings | {"bias": self._grids()[0].has_bias}

    def extra_repr(self) -> str:
        own = ", ".join(f"{name}={getattr(self, name)}" for name in ARGUMENTS[2:])
        return f"{self.in_channels}, {self.out_channels}, {own}, bias={self._grids()[0].has_bias}"

    def _sizes(self, name: str, value: Size, least: int = 1) -> tuple[int, ...]:
        found = (value,) * self.axes if isinstance(value, int) else tuple(value)
        if len(found) != self.axes or not all(
            isinstance(v, int) and v >= least for v in found
        ):
            wanted = f"{self.axes} whole numbers >= {least}"
            raise ValueError(
                f"{type(self).__name__}: {name} must be {wanted}, not {value!r}"
            )
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
    reach = [
        d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)
    ]
    if any(v % 2 for v in reach):
        raise ValueError("padding='same' that differs between the two sides")
    return tuple(v // 2 for v in reach)
