"""SGD for networks with analog tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer
from torch.optim.sgd import sgd

from engine.tile.weight import AnalogWeight


class AnalogSGD(Optimizer):
    """torch's SGD on digital parameters, pulses on analog tiles.

    Tiles take the learning rate of their group and nothing else: momentum, Nesterov and weight decay would need a
    digital copy of the weights. A step trains digital parameters, then all tiles, then lets time act on all tiles.
    Raises ValueError for a negative learning rate.
    """

    # Torch wraps this method so that its first call imports its compiler, for more than a second and for nothing.
    add_param_group = getattr(Optimizer.add_param_group, "__wrapped__", Optimizer.add_param_group)

    def __init__(
        self, params: Any, lr: float = 0.01, *, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False
    ) -> None:
        if lr < 0:
            raise ValueError(f"lr must be >= 0, not {lr:g}")
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        tiles = [
            (p.owner, group["lr"])
            for group in self.param_groups
            for p in group["params"]
            if isinstance(p, AnalogWeight)
        ]
        for group in self.param_groups:
            self._digital_step(group)
        for owner, lr in tiles:
            if owner is not None:
                owner.learn(float(lr))
        for owner, _ in tiles:
            if owner is not None:
                owner.end_of_batch()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets gradients, and what tiles have recorded for their next update."""
        for group in self.param_groups:
            for p in group["params"]:
                if isinstance(p, AnalogWeight):
                    if p.owner is not None:
                        p.owner.forget()
                elif set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad = torch.zeros_like(p.grad)

    def _digital_step(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        if not group["momentum"] and not group["weight_decay"]:
            torch._foreach_add_(params, [p.grad for p in params], alpha=-group["lr"])
            return
        buffers = [self.state[p].get("momentum_buffer") for p in params]
        sgd(
            params, [p.grad for p in params], buffers, weight_decay=group["weight_decay"], momentum=group["momentum"],
            lr=group["lr"], dampening=0.0, nesterov=group["nesterov"], maximize=False,
        )  # fmt: skip
        if group["momentum"]:
            for p, buffer in zip(params, buffers, strict=True):
                self.state[p]["momentum_buffer"] = buffer
