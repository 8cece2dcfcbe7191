"""Derivatives of products: the first ones are computed, the second ones refused."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

Gradients = tuple[Tensor | None, ...]
Backward = Callable[..., Gradients]


def first_order(
    parameters: Callable[[Any], Iterable[Tensor | None]],
) -> Callable[[Backward], Backward]:
    """The `backward` of an autograd function whose gradients cannot be differentiated again.

    `create_graph=True` alone is fine; RuntimeError is raised where a second derivative is asked
    for. Torch's `once_differentiable` gives 0 where it is asked for by `torch.autograd.grad`: the
    gradients must depend on all that they are made of, also on `parameters(ctx)`, so that the
    engine comes by."""

    def decorate(backward: Backward) -> Backward:
        @functools.wraps(backward)
        def guarded(ctx: Any, *grads: Tensor) -> Gradients:
            if not torch.is_grad_enabled():
                return backward(ctx, *grads)
            with torch.no_grad():
                found = backward(ctx, *(g.detach() for g in grads))
            made_of = [
                t
                for t in (*grads, *ctx.saved_tensors, *parameters(ctx))
                if t is not None and t.requires_grad
            ]
            if not made_of:
                return found
            return tuple(None if g is None else _Last.apply(g, *made_of) for g in found)

        return guarded

    return decorate


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
