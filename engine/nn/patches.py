"""Images to rows of patches and back, natively, for one, two and three dimensions alike.

Shapes: B samples, C channels, D H W the extents of an image (1 for axes that it does not have), P
patches of an image."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling
from torch.nn import functional

from engine.jit.programs import fill, patches_program
from engine.jit.struct import read_struct
from engine.nn.interop.wrappers import outside_compiler
from engine.tile.autograd import first_order
from engine.tile.inputs import check_plain

Axes = tuple[int, int, int]
Layout = tuple[tuple[int, ...], tuple[int, ...], torch.device]
AXES = ("z", "y", "x")
EXTENTS = ("depth", "height", "width")
SMALL = 8192
BLOCK = 32
NOWHERE = -(1 << 30)


@dataclass(frozen=True)
class Window:
    """The window of a convolution, along D, H and W."""

    kernel: Axes
    step: Axes
    padding: Axes
    dilation: Axes

    def places(self, extents: Axes) -> Axes:
        """How many places the window has along each axis. Raises ValueError if it does not fit."""
        rules = zip(extents, self.kernel, self.step, self.padding, self.dilation, strict=True)
        found = [
            (size + 2 * pad - dil * (k - 1) - 1) // step + 1 for size, k, step, pad, dil in rules
        ]
        if min(found) < 1:
            raise ValueError(
                f"a window of {self.kernel} does not fit into images of {extents}, padding {self.padding}"
            )
        return found[0], found[1], found[2]


def patches(x: Tensor, window: Window, *, ones: int = 0) -> Tensor:
    """Rows [B P, C kd kh kw + ones] of x [B, C, D, H, W] in float32; the last `ones` columns are
    1."""
    if is_dynamo_compiling():
        return outside_compiler(patches)(x, window, ones=ones)  # type: ignore[no-any-return]
    if x.dtype is not torch.float32 or type(x) is not Tensor:
        check_plain(x, "a convolution on tiles")
        x = x.to(torch.float32)
    return _Patches.apply(x, window, ones)


class _Patches(torch.autograd.Function):
    """Gathers; the gradient gathers the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Window, ones: int) -> Tensor:
        ctx.shape, ctx.window, ctx.last = x.shape, window, x.shape[1] > 1 and x.stride(1) == 1
        columns = x.shape[1] * window.kernel[0] * window.kernel[1] * window.kernel[2]
        z, y, w = window.places((x.shape[2], x.shape[3], x.shape[4]))
        rows = torch.empty(
            x.shape[0] * z * y * w, columns + ones, dtype=torch.float32, device=x.device
        )
        _run("take_patches", x, rows, window)
        return rows

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return first_order(_Patches.backward, ctx, grads)
        if not ctx.needs_input_grad[0]:
            return None, None, None
        rows = grads[0].to(torch.float32).contiguous()
        b, c, *extents = ctx.shape
        # The gradient lies as the image did: with the channels last after another convolution.
        image = (
            rows.new_empty(b, *extents, c).movedim(-1, 1) if ctx.last else rows.new_empty(ctx.shape)
        )
        _run("return_patches", image, rows, ctx.window)
        return image, None, None


def _run(name: str, image: Tensor, rows: Tensor, window: Window) -> None:
    plain, table = _plan(name, window, (image.shape, image.stride(), image.device), rows.shape[1])
    args = type(plain).from_buffer_copy(plain)
    fill(args, ("image", "rows", "table"), (image, rows, table))
    threads = 1 if rows.numel() < SMALL else None
    patches_program(image.device.type).run(name, args, threads=threads, warp=True)


@functools.lru_cache(maxsize=256)
def _plan(name: str, window: Window, layout: Layout, row: int) -> tuple[Any, Tensor]:
    """All arguments of a kernel but the addresses, and its table."""
    shape, strides, where = layout
    args = read_struct("patches/patches.cuh", "PatchArgs")()
    places = window.places((shape[2], shape[3], shape[4]))
    args.channels, args.row, args.columns = shape[1], row, shape[1] * math.prod(window.kernel)
    args.kernel_z, args.kernel_yx = window.kernel[0], window.kernel[1] * window.kernel[2]
    values = zip(EXTENTS, AXES, shape[2:], places, window.step, window.padding, strict=True)
    for extent, axis, size, place, step, pad in values:
        setattr(args, extent, size)
        setattr(args, f"out_{extent}", place)
        setattr(args, f"step_{axis}", step)
        setattr(args, f"pad_{axis}", pad)
    for axis, stride in zip(("b", "c", *AXES), strides, strict=True):
        setattr(args, f"stride_{axis}", stride)
    if name == "take_patches":
        args.items = shape[0] * math.prod(places)
        return args, _columns_of(window, shape[1:], strides[1:]).to(where)
    args.items = math.prod(shape[:3]) * -(-shape[3] * shape[4] // BLOCK)
    return args, _taps_of(window, (shape[2], shape[3], shape[4]), row).to(where)


def _columns_of(window: Window, shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
    """[4, columns]: offset of a column's number from the corner of its patch, and its place along
    D, H and W."""
    _check_size(sum(size * stride for size, stride in zip(shape, strides, strict=True)), shape[1:])
    reach = [
        torch.arange(k, dtype=torch.int64) * d
        for k, d in zip(window.kernel, window.dilation, strict=True)
    ]
    channel, z, y, x = (
        axis.flatten()
        for axis in torch.meshgrid(torch.arange(shape[0], dtype=torch.int64), *reach, indexing="ij")
    )
    offset = channel * strides[0] + z * strides[1] + y * strides[2] + x * strides[3]
    return _in_blocks(torch.stack([offset, z, y, x]), NOWHERE).flatten().to(torch.int32)


def _taps_of(window: Window, extents: Axes, row: int) -> Tensor:
    """[kd, D] patches along D, then [kh kw, H W] offsets of rows: what sees a number through a tap,
    or -1."""
    places = window.places(extents)
    _check_size(math.prod(places) * row, extents)
    z, y, x = (_seen(window, axis, size, places[axis]) for axis, size in enumerate(extents))
    plane = y[:, None, :, None] * places[2] + x[None, :, None, :]
    both = (y[:, None, :, None] >= 0) & (x[None, :, None, :] >= 0)
    rows = torch.where(both, plane * row, -1).reshape(-1, extents[1] * extents[2])
    return torch.cat([z.flatten(), _in_blocks(rows, -1).flatten()]).to(torch.int32)


def _seen(window: Window, axis: int, size: int, places: int) -> Tensor:
    """[taps, size]: the place of the window that sees a number through a tap, or -1."""
    taps = torch.arange(window.kernel[axis], dtype=torch.int64).view(-1, 1) * window.dilation[axis]
    moved = torch.arange(size, dtype=torch.int64) + window.padding[axis] - taps
    place = moved.div(window.step[axis], rounding_mode="floor")
    return torch.where(
        (moved % window.step[axis] == 0) & (place >= 0) & (place < places), place, -1
    )


def _in_blocks(table: Tensor, filling: int) -> Tensor:
    """Every line filled up to whole blocks."""
    return functional.pad(table, (0, -table.shape[1] % BLOCK), value=filling)


def _check_size(numbers: int, extents: Axes | tuple[int, ...]) -> None:
    if numbers >= 1 << 31:
        raise ValueError(
            f"images of {tuple(extents)} are too large for a convolution: {numbers} numbers a sample"
        )
