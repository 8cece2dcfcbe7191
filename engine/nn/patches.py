"""Images to rows of patches and back, by kernels, for one, two and three dimensions alike.

`AnalogConv` calls `patches`: every patch of an image is one input vector of its tiles. The kernels
index memory by tables made here, so that they neither divide nor test strides; both directions must
visit the same pairs of image and patch, since the gradient is the transpose of the gather.

Shapes: B samples, C channels, D H W the extents of an image (1 for axes that it does not have), P
patches of an image, kd kh kw the extents of the window."""

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
# Shape, strides and device of an image.
Layout = tuple[tuple[int, ...], tuple[int, ...], torch.device]
AXES = ("z", "y", "x")
EXTENTS = ("depth", "height", "width")
# Numbers below which waking further threads takes longer than the work.
SMALL = 8192
# Entries that a warp handles at once; kernels read tables in whole blocks (`whole_blocks`).
BLOCK = 32
# A coordinate for table entries beyond the last column: within no image, wherever the patch lies.
OUTSIDE = -(1 << 30)
# Tables hold 32-bit offsets.
MAX_OFFSET = 1 << 31


@dataclass(frozen=True)
class Window:
    """The window of a convolution, along D, H and W, in torch's meaning of these words."""

    kernel: Axes
    step: Axes
    padding: Axes
    dilation: Axes

    def places(self, extents: Axes) -> Axes:
        """Positions of the window along each axis of an image with these extents.

        Raises ValueError if the window does not fit."""
        z, y, x = (self._positions(axis, size) for axis, size in enumerate(extents))
        if min(z, y, x) < 1:
            raise ValueError(
                f"a window of {self.kernel} does not fit into images of {extents}, padding {self.padding}"
            )
        return z, y, x

    def _positions(self, axis: int, size: int) -> int:
        """Positions along one axis of `size` numbers: 0 or less if there is none."""
        reach = self.dilation[axis] * (self.kernel[axis] - 1)
        room = size + 2 * self.padding[axis] - reach - 1
        return room // self.step[axis] + 1


def patches(x: Tensor, window: Window, *, ones: int = 0) -> Tensor:
    """Rows [B P, C kd kh kw + ones] of x [B, C, D, H, W] in float32; the last `ones` columns are
    1.

    Raises ValueError for images that the window does not fit into or that are too large."""
    if is_dynamo_compiling():
        return outside_compiler(patches)(x, window, ones=ones)  # type: ignore[no-any-return]
    if x.dtype is not torch.float32 or type(x) is not Tensor:
        check_plain(x, "a convolution on tiles")
        x = x.to(torch.float32)
    return _Patches.apply(x, window, ones)


class _Patches(torch.autograd.Function):
    """Gathers patches; the gradient of an image gathers from the rows in which its numbers are."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Window, ones: int) -> Tensor:
        samples, channels, *extents = x.shape
        ctx.shape = x.shape
        ctx.window = window
        ctx.channels_last = channels > 1 and x.stride(1) == 1

        positions = window.places((extents[0], extents[1], extents[2]))
        columns = channels * math.prod(window.kernel)
        rows = torch.empty(
            samples * math.prod(positions),
            columns + ones,
            dtype=torch.float32,
            device=x.device,
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
        samples, channels, *extents = ctx.shape
        # The gradient lies in memory as the image did: channels last after another convolution.
        if ctx.channels_last:
            image = rows.new_empty(samples, *extents, channels)
            image = image.movedim(-1, 1)
        else:
            image = rows.new_empty(ctx.shape)
        _run("return_patches", image, rows, ctx.window)
        return image, None, None


def _run(kernel: str, image: Tensor, rows: Tensor, window: Window) -> None:
    """Runs `take_patches` (image to rows) or `return_patches` (rows to the image's gradient)."""
    layout = (image.shape, image.stride(), image.device)
    plan, table = _plan(kernel, window, layout, rows.shape[1])
    # A copy: the plan is shared by all threads, and the addresses change with every call.
    args = type(plan).from_buffer_copy(plan)
    fill(args, ("image", "rows", "table"), (image, rows, table))
    threads = 1 if rows.numel() < SMALL else None
    program = patches_program(image.device.type)
    program.run(kernel, args, threads=threads, warp=True)


@functools.lru_cache(maxsize=256)
def _plan(kernel: str, window: Window, layout: Layout, row: int) -> tuple[Any, Tensor]:
    """All arguments of a kernel but the addresses, and its table; `row` is the length of a row."""
    shape, strides, device = layout
    samples, channels, depth, height, width = shape
    extents = (depth, height, width)
    positions = window.places(extents)

    args = read_struct("patches/patches.cuh", "PatchArgs")()
    args.channels = channels
    args.row = row
    args.columns = channels * math.prod(window.kernel)
    args.kernel_z = window.kernel[0]
    args.kernel_yx = window.kernel[1] * window.kernel[2]
    for k, (extent, axis) in enumerate(zip(EXTENTS, AXES, strict=True)):
        setattr(args, extent, extents[k])
        setattr(args, f"out_{extent}", positions[k])
        setattr(args, f"step_{axis}", window.step[k])
        setattr(args, f"pad_{axis}", window.padding[k])
    for axis, stride in zip(("b", "c", *AXES), strides, strict=True):
        setattr(args, f"stride_{axis}", stride)

    # An item is what a warp handles: a patch, or a block of a plane of the image.
    if kernel == "take_patches":
        args.items = samples * math.prod(positions)
        table = _column_table(window, shape[1:], strides[1:])
    else:
        blocks = math.ceil(height * width / BLOCK)
        args.items = samples * channels * depth * blocks
        table = _tap_table(window, extents, row)
    return args, table.to(device)


def _column_table(
    window: Window, shape: tuple[int, ...], strides: tuple[int, ...]
) -> Tensor:
    """The table of `take_patches` [4, columns], for an image [C, D, H, W] with these strides.

    For each column of a row: the offset in memory from the corner of its patch, and how far from
    this corner it lies along D, H and W."""
    reach = sum(size * stride for size, stride in zip(shape, strides, strict=True))
    _check_size(reach, shape[1:])

    channels = torch.arange(shape[0], dtype=torch.int64)
    taps = [
        torch.arange(size, dtype=torch.int64) * dilation
        for size, dilation in zip(window.kernel, window.dilation, strict=True)
    ]
    # Columns run over channels first, then over the window: torch's order of a kernel's weights.
    grid = torch.meshgrid(channels, *taps, indexing="ij")
    coordinates = [axis.flatten() for axis in grid]
    offset = torch.zeros_like(coordinates[0])
    for coordinate, stride in zip(coordinates, strides, strict=True):
        offset += coordinate * stride
    table = torch.stack([offset, *coordinates[1:]])
    return _in_blocks(table, OUTSIDE).flatten().to(torch.int32)


def _tap_table(window: Window, extents: Axes, row: int) -> Tensor:
    """The table of `return_patches`: [kd, D], then [kh kw, H W].

    The first part holds the position along D of the window that sees plane d through tap kd. The
    second holds the offset, in numbers, from the first row of such a plane of patches to the row
    that sees (h, w) through tap (kh, kw). Both hold -1 where there is none."""
    positions = window.places(extents)
    _check_size(math.prod(positions) * row, extents)

    z, y, x = (
        _seen_through(window, axis, size, positions[axis])
        for axis, size in enumerate(extents)
    )
    y = y[:, None, :, None]
    x = x[None, :, None, :]
    patch = y * positions[2] + x
    exists = (y >= 0) & (x >= 0)
    rows = torch.where(exists, patch * row, -1)
    rows = rows.reshape(-1, extents[1] * extents[2])
    table = torch.cat([z.flatten(), _in_blocks(rows, -1).flatten()])
    return table.to(torch.int32)


def _seen_through(window: Window, axis: int, size: int, positions: int) -> Tensor:
    """[taps, size]: the position of the window that sees a number through a tap, or -1."""
    step = window.step[axis]
    taps = torch.arange(window.kernel[axis], dtype=torch.int64) * window.dilation[axis]
    numbers = torch.arange(size, dtype=torch.int64)
    # Where the corner of such a window would be: position x step.
    corner = numbers + window.padding[axis] - taps.view(-1, 1)
    position = corner.div(step, rounding_mode="floor")
    exists = (corner % step == 0) & (position >= 0) & (position < positions)
    return torch.where(exists, position, -1)


def _in_blocks(table: Tensor, filling: int) -> Tensor:
    """Every line filled up to whole blocks."""
    missing = -table.shape[1] % BLOCK
    return functional.pad(table, (0, missing), value=filling)


def _check_size(numbers: int, extents: Axes | tuple[int, ...]) -> None:
    """Raises ValueError for samples whose offsets do not fit into a table."""
    if numbers >= MAX_OFFSET:
        raise ValueError(
            f"images of {tuple(extents)} are too large for a convolution: {numbers} numbers a sample"
        )
