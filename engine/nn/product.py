"""The product of a pulsed tile as a function of autograd.

`AnalogTile.forward` applies it. The backward pass reads the tile in the transposed direction for the
gradient of the inputs, and records the samples from which the optimizer's step makes pulses; no
gradient of the weights is ever computed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from engine.tile.autograd import first_order

# One context for all products: making a new one would take longer than asking whether it is needed.
UNCHANGED: AbstractContextManager[Any] = nullcontext()


class ProductOwner(Protocol):
    """What the product needs of the tile that it belongs to; `AnalogTile` is one."""

    held: nn.Parameter
    limit: float  # outputs beyond it get no gradient; 0 = no limit
    _buffers: dict[str, Tensor | None]

    def read(self, x: Tensor) -> Tensor: ...

    def read_back(self, d: Tensor) -> Tensor: ...

    def record(self, x: Tensor, d: Tensor) -> None: ...


class PulsedProduct(torch.autograd.Function):
    """y [B, O] = tile(x [B, I]); backward reads the tile with d = dL/dy and records x and d."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        owner: ProductOwner,
    ) -> Tensor:
        ctx.owner = owner
        ctx.dtype = x.dtype
        with full_precision(x):
            y = owner.read(x)

        # Compared before scaling: the limit is that of the ADC.
        unclipped = None
        if owner.limit > 0:
            unclipped = y.abs() < owner.limit
        ctx.save_for_backward(x, unclipped)

        scale = owner._buffers["scale"]
        if scale is not None:
            y = y * scale
        if x.dtype is not torch.float32:
            y = y.to(x.dtype)
        return y if bias is None else y.add_(bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            # create_graph=True: this calls backward again without gradients, and refuses second
            # derivatives.
            return first_order(PulsedProduct.backward, ctx, grads, [ctx.owner.held])
        (d,) = grads
        owner = ctx.owner
        x, unclipped = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        grad_bias = d.sum(0) if needs_bias else None
        if d.dtype is not torch.float32:
            d = d.to(torch.float32)

        # Recorded before the scale: `AnalogTile.learn` divides by it, so that the logical weights
        # follow d^T x.
        if needs_weight and _reaches_leaf(ctx.next_functions[1][0]):
            owner.record(x, d)
        if not needs_x:
            return None, None, grad_bias, None

        scale = owner._buffers["scale"]
        if scale is not None:
            d = d * scale
        if unclipped is not None:
            d = d * unclipped
        with full_precision(d):
            grad_x = owner.read_back(d).to(ctx.dtype)
        return grad_x, None, grad_bias, None


def _reaches_leaf(node: Any) -> bool:
    """Whether this backward pass goes on to a leaf: `torch.autograd.grad` for inputs alone must not
    teach the tile. Raises RuntimeError where the gradient of exactly this leaf is asked for."""
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError as error:
        raise RuntimeError(
            "torch.autograd.grad does not reach the weights of pulsed tiles: take loss.backward(), "
            "after which weight.grad.dense() is their gradient"
        ) from error


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """A context in which autocast does not halve the precision of a product."""
    # Asking for the type of a device takes ten times as long as this, in every product.
    if not torch._C._is_any_autocast_enabled():
        return UNCHANGED
    return torch.autocast(x.device.type, enabled=False)
