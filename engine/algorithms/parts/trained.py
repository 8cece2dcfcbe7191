"""A tile whose weights a gradient trains, while its products meet an analog periphery and disturbed
weights.

Shapes: B samples, I inputs, O outputs.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engine.algorithms.parts.input_range import LearnedRange
from engine.algorithms.parts.modify import (
    EVALUATION_STREAM,
    TRAINING_STREAM,
    PerSampleNoise,
    WeightOverride,
    is_active,
    modify,
    settle,
)
from engine.jit.programs import fill, training_program
from engine.jit.struct import read_struct, words
from engine.tile.autograd import first_order
from engine.tile.launch import warps_of
from engine.tile.mvm import Product
from engine.tile.periphery import clipping_limit
from engine.tile.settings import IO

if TYPE_CHECKING:
    from engine.tile.settings import TileSpec
    from engine.tile.tile import Tile


class Trained(nn.Module):
    """What such a tile needs beside its weights: this mini-batch's disturbed copy, its input range,
    exact products.

    `stale` tells that the copy must be drawn again, `version` which change of the weights was
    clipped and remapped."""

    def __init__(self, tile: Tile, spec: TileSpec, *, analog_backward: bool) -> None:
        super().__init__()
        self.modifier, self.clip, self.remap = spec.modifier, spec.clip, spec.remap
        self.ranges, self.analog_backward = spec.input_range, analog_backward
        self.input_range = (
            LearnedRange(spec.input_range) if spec.input_range.enable else None
        )
        self.active = is_active(spec.modifier)
        shared = self.active and not spec.modifier.per_batch_sample
        copy = torch.empty_like(tile.array.weight.data) if shared else None
        self.register_buffer("copy", copy, persistent=False)
        self.exact = Product(IO(is_perfect=True), "backward", tile.array)
        self.limit = clipping_limit(spec.forward)
        self.stale, self.version = True, -1

    copy: Tensor | None

    def disturbed(self, tile: Tile) -> WeightOverride | None:
        """The weights that products meet now if not the tile's own, drawn if a new mini-batch
        begins."""
        if not self.active or not (tile.training or self.modifier.enable_during_test):
            return None
        array, stream = (
            tile.array,
            TRAINING_STREAM if tile.training else EVALUATION_STREAM,
        )
        if self.copy is None:
            call = array.next_call() if tile.training else tile.read_calls
            return WeightOverride(
                array,
                array.weight.detach(),
                PerSampleNoise(array, self.modifier, call=call, stream=stream),
            )
        if not tile.training:
            room = torch.empty_like(self.copy)
            return WeightOverride(
                array,
                modify(array, self.modifier, room, call=tile.read_calls, stream=stream),
            )
        if self.stale or self.modifier.per_forward:
            # Products of the same mini-batch that drew before keep theirs for their way back.
            room = (
                torch.empty_like(self.copy) if self.modifier.per_forward else self.copy
            )
            modify(array, self.modifier, room, call=array.next_call(), stream=stream)
            self.copy, self.stale = room, False
        return WeightOverride(array, self.copy)

    def settle(
        self, tile: Tile, scale: Tensor | None, out_scale: Tensor | None
    ) -> None:
        """Clips and remaps the weights after an optimizer step; what follows draws a new copy."""
        if self.remap.type != "None" and scale is not None and out_scale is not None:
            scale.mul_(out_scale.detach())
            out_scale.data.fill_(1.0)
        settle(tile.array.weight, scale, self.clip, remap=self.remap)
        self.mark(tile)

    def mark(self, tile: Tile) -> None:
        """The weights are as they should be: their next change is the optimizer's."""
        self.stale, self.version = True, _version(tile.array.weight)

    def changed(self, tile: Tile) -> bool:
        """Whether an optimizer changed the weights since they were settled; the first time nobody
        can tell."""
        if self.version < 0:
            self.mark(tile)
        return self.version != _version(tile.array.weight)

    def get_extra_state(self) -> Tensor:
        return torch.zeros(1, dtype=torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        self.stale, self.version = True, -1

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "stale": True, "version": -1}

    def _apply(self, fn: Any, recurse: bool = True) -> Trained:
        self.stale, self.version = True, -1
        return super()._apply(fn, recurse)


def _version(weight: Tensor) -> int:
    """How often an optimizer changed a weight; made under inference_mode, none ever does."""
    try:
        return weight._version
    except RuntimeError:
        return 0


def product(
    tile: Tile, state: Trained, x: Tensor, scales: tuple[Tensor | None, Tensor | None]
) -> Tensor:
    """y [B, O] of x [B, I] times both `scales` ([O] or [1]), of which the second is learned.

    Gradients reach x, the weights, the learned scale and the input range.
    """
    x = x.to(torch.float32).contiguous()
    found = state.input_range
    if found is not None and tile.training:
        found.observe(x)
    scale, learned = scales
    parts = (tile, state, scale)
    y: Tensor = _TrainedProduct.apply(
        x, tile.array.weight, None if found is None else found.value, learned, parts
    )
    return y


class _TrainedProduct(torch.autograd.Function):
    """Forward through the periphery with the disturbed weights; backward exact, with the same
    weights."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        limit: Tensor | None,
        learned: Tensor | None,
        parts: Any,
    ) -> Tensor:
        tile, state, scale = ctx.parts = parts
        other = state.disturbed(tile)
        cut = x if limit is None else state.input_range.cut(x)
        y: Tensor = tile.mvm(cut, other)
        ctx.per_sample = None if other is None else other.per_sample
        ctx.leaves = weight, limit, learned
        seen = y if state.limit > 0 or learned is not None else None
        factors = [f.detach() for f in (limit, scale, learned) if f is not None]
        ctx.save_for_backward(
            x, weight if other is None else other.weight, cut, seen, scale, learned
        )
        if not factors:
            return y
        factor = functools.reduce(torch.mul, factors)
        return y.mul_(factor) if seen is None else y * factor

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return first_order(_TrainedProduct.backward, ctx, grads, ctx.leaves)
        # Asked for once: gradient checkpointing gives them out a single time.
        (_, state, _), saved = ctx.parts, ctx.saved_tensors
        x, met, cut, _, _, learned = saved
        needs_x, needs_weight, needs_range, needs_scale, _ = ctx.needs_input_grad
        grad_x = grad_weight = grad_range = grad_scale = None
        with torch.autocast(x.device.type, enabled=False):
            d = grads[0].to(torch.float32).contiguous()
            back, own, clipped, args = _spread(state, saved[3:], d)
            if needs_scale:
                grad_scale = _scale_gradient(args, learned)
            if needs_x or needs_range:
                grad_x = _back(
                    ctx.parts[0],
                    state,
                    WeightOverride(ctx.parts[0].array, met.detach(), ctx.per_sample),
                    back,
                )
            if needs_range or (
                state.input_range is not None
                and state.ranges.stop_at_range
                and grad_x is not None
            ):
                found = state.input_range.gradient(
                    x, grad_x, clipped, width=back.shape[1]
                )
                grad_range = found if needs_range else None
            if needs_weight:
                grad_weight = _outer(state, own, cut)
                if (
                    state.input_range is not None
                    and not state.ranges.gradient_over_range
                ):
                    grad_weight.mul_(state.input_range.value.detach())
        return grad_x if needs_x else None, grad_weight, grad_range, grad_scale, None


def _back(tile: Tile, state: Trained, view: WeightOverride, d: Tensor) -> Tensor:
    """The gradient [B, I] of the inputs of d [B, O], with the weights of `view`."""
    if state.analog_backward:
        return tile.mvm_t(d, view)
    state.exact.exact = tile.forward_product.exact
    return state.exact.read(d, view, call=0, training=True)


def _outer(state: Trained, d: Tensor, x: Tensor) -> Tensor:
    """d^T x, [O, I]; in a fixed order where the tile's products are."""
    if not state.exact.exact:
        return d.mT @ x
    return state.exact.read(d.mT.contiguous(), Rows(x), call=0, training=True)


class Rows:
    """A batch of vectors where a product expects weights."""

    lanes = 1

    def __init__(self, x: Tensor) -> None:
        self.weight, (self.out_size, self.in_size) = x, x.shape
        self.control = x.new_zeros(1, words("random.cuh", "Control"), dtype=torch.int32)


def _spread(
    state: Trained, saved: Any, d: Tensor
) -> tuple[Tensor, Tensor, Tensor | None, Any]:
    """d [B, O] as the way back to the inputs takes it, and as the weights' gradient does; clipped
    outputs [B]. `saved` are outputs, scale and learned scale where they count."""
    seen, scale, learned = saved
    if seen is None and scale is None:
        return d, d, None, None
    args = read_struct("hwa/range.cuh", "OutputArgs")()
    args.items, (args.rows, args.cols), args.limit = d.shape[0], d.shape, state.limit
    back, own, clipped = (
        torch.empty_like(d),
        torch.empty_like(d),
        d.new_empty(d.shape[0]),
    )
    fill(args, ("d", "back", "own", "clipped"), (d, back, own, clipped))
    limit = None if state.input_range is None else state.input_range.value
    for name, tensor in (
        ("y", seen),
        ("scale", scale),
        ("learned", learned),
        ("range", limit),
    ):
        setattr(args, name, None if tensor is None else tensor.data_ptr())
    args.scale_step = int(scale is not None and scale.numel() > 1)
    args.learned_step = int(learned is not None and learned.numel() > 1)
    args.kept = d  # the struct points to it
    program = training_program(d.device.type)
    program.run("spread_gradient", args, warps=warps_of(args.items, args.cols))
    return back, own, clipped, args


def _scale_gradient(args: Any, learned: Tensor) -> Tensor:
    """The gradient of the learned scale, [O] or [1]."""
    found = learned.new_empty(args.cols)
    args.by_column, args.items = found.data_ptr(), (args.cols + 31) // 32
    program = training_program(learned.device.type)
    program.run("learn_scale", args, warp=True)
    if learned.numel() > 1:
        return found
    joined = learned.new_empty(1)
    args.joined, args.items = joined.data_ptr(), 1
    program.run("join_scale", args, threads=1, warp=True)
    return joined
