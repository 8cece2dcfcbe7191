"""A tile whose weights a gradient trains, while its products meet an analog periphery and disturbed
weights.

Shapes: B samples, I inputs, O outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engine.algorithms.parts.factors import Factors
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
from engine.jit.struct import words
from engine.tile.autograd import first_order
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
    if x.dtype is not torch.float32 or not x.is_contiguous():
        x = x.to(torch.float32).contiguous()
    # Past nn.Module's own search for attributes, which takes longer than a kernel's launch.
    ranges: Any = state.__dict__.get("input_range", state._modules.get("input_range"))
    if ranges is not None and tile.training:
        ranges.observe(x)
    scale, learned = scales
    factors = Factors(None if ranges is None else ranges.value, scale, learned)
    if not torch.is_grad_enabled():
        # Nothing is kept for a way back, and autograd's part of a call takes half of its time.
        cut = x if ranges is None else ranges.cut(x)
        y = tile.mvm(cut, state.disturbed(tile))
        return factors.scale(y, out=y) if factors.present else y
    parts = (tile, state, scale)
    weight = tile.array.weight
    found: Tensor = _TrainedProduct.apply(x, weight, factors.range, learned, parts)
    return found


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
        ctx.save_for_backward(
            x, weight if other is None else other.weight, cut, seen, scale, learned
        )
        factors = Factors(limit, scale, learned)
        if not factors.present:
            return y
        # The way back needs the outputs as they are.
        out = y if seen is None else torch.empty_like(y)
        return factors.scale(y, out=out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return first_order(_TrainedProduct.backward, ctx, grads, ctx.leaves)
        # Asked for once: gradient checkpointing gives them out a single time.
        (_, state, _) = ctx.parts
        x, met, cut, seen, scale, learned = ctx.saved_tensors
        needs_x, needs_weight, needs_range, needs_scale, _ = ctx.needs_input_grad
        grad_x = grad_weight = grad_range = grad_scale = None
        with torch.autocast(x.device.type, enabled=False):
            d = grads[0].to(torch.float32).contiguous()
            ranges = state.input_range
            limit = None if ranges is None else ranges.value
            factors = Factors(limit, scale, learned)
            back, own, clipped, args = factors.spread(d, seen, state.limit)
            if needs_scale:
                grad_scale = factors.gradient(args)
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
