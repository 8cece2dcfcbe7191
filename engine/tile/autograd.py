"""Derivatives of products: the first ones are computed, the second ones refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

Gradients = tuple[Tensor | None, ...]


def first_order(
    backward: Callable[..., Gradients],
    ctx: Any,
    grads: tuple[Tensor, ...],
    parameters: Iterable[Tensor | None] = (),
) -> Gradients:
    """Gradients that cannot be differentiated again: what `backward` gives under `create_graph=True`.

    Torch's `once_differentiable` gives 0 where `torch.autograd.grad` asks for a second derivative,
    since its engine passes by what does not lead to the inputs. So these gradients depend on all
    that they are made of, also on `parameters`, and raise RuntimeError on the way there. A
    `backward` calls this itself while gradients are enabled: a decorator would cost each product a
    call."""
    with torch.no_grad():
        found = backward(ctx, *(g.detach() for g in grads))
    made_of = [
        t
        for t in (*grads, *ctx.saved_tensors, *parameters)
        if t is not None and t.requires_grad
    ]
    if not made_of:
        return found
    return tuple(None if g is None else _Last.apply(g, *made_of) for g in found)


class _Last(torch.autograd.Function):
    """The first of several tensors, whose own gradient raises."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *made_of: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        raise RuntimeError(
            "second derivatives do not go through analog tiles: a gradient penalty or a Hessian needs "
            "digital layers (convert_to_digital, or exclude=[...] in convert_to_analog)"
        )
