"""SGD for networks with analog tiles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_dynamo_compiling
from torch.optim.optimizer import (
    Optimizer,
    _global_optimizer_post_hooks,
    _global_optimizer_pre_hooks,
)
from torch.optim.sgd import sgd

from engine.nn.interop.wrappers import outside_compiler
from engine.tile.weight import AnalogWeight


class AnalogSGD(Optimizer):
    """torch's SGD on digital parameters, pulses on analog tiles.

    Tiles take the learning rate of their group and nothing else: momentum, Nesterov and weight
    decay would need a digital copy of the weights. A step trains digital parameters, then all
    tiles, then lets time act on all tiles. Raises ValueError for a negative learning rate."""

    # Torch wraps this method so that its first call imports its compiler, for more than a second
    # and for nothing.
    add_param_group = getattr(
        Optimizer.add_param_group, "__wrapped__", Optimizer.add_param_group
    )

    def __init__(
        self,
        params: Any,
        lr: float = 0.01,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        if not 0 <= lr < math.inf:
            raise ValueError(f"lr must be finite and >= 0, not {lr:g}")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, defaults)

    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        if is_dynamo_compiling():
            return outside_compiler(AnalogSGD.step)(self, closure)  # type: ignore[no-any-return]
        if torch._C._autograd._profiler_enabled() or any(map(len, _hooks(self))):
            return _watched_step(self, closure)
        return self._step(closure)

    # Torch would wrap each step for its profiler and for hooks, of which there are none as a rule,
    # at the price of a small layer.
    step.hooked = True  # type: ignore[attr-defined]

    def _step(self, closure: Callable[[], Tensor] | None) -> Tensor | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            tiles = []
            for group in self.param_groups:
                digital = [p for p in group["params"] if type(p) is not AnalogWeight]
                if len(digital) < len(group["params"]):
                    owners = [
                        p.owner for p in group["params"] if type(p) is AnalogWeight
                    ]
                    tiles += [
                        (owner, float(group["lr"]))
                        for owner in owners
                        if owner is not None
                    ]
                self._digital_step(group, [p for p in digital if p.grad is not None])
            for owner, lr in tiles:
                owner.learn(lr)
            for owner, _ in tiles:
                owner.end_of_batch()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets gradients, and what tiles have recorded for their next update."""
        for group in self.param_groups:
            for p in group["params"]:
                if type(p) is AnalogWeight:
                    owner = p.owner
                    if owner is not None:
                        owner.forget()
                elif set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad = torch.zeros_like(p.grad)

    def _digital_step(self, group: dict[str, Any], params: list[Any]) -> None:
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


def digital_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of `model` that follow a gradient: what any torch optimizer can train."""
    return [p for p in model.parameters() if not isinstance(p, AnalogWeight)]


def pulsed_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of `model` that are cells of pulsed tiles: what only AnalogSGD can train."""
    return [p for p in model.parameters() if isinstance(p, AnalogWeight)]


def _hooks(optimizer: Optimizer) -> tuple[dict[int, Any], ...]:
    """All hooks of a step, this optimizer's and those of all optimizers."""
    own = optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks
    return *own, _global_optimizer_pre_hooks, _global_optimizer_post_hooks


# With torch's own treatment of hooks and profiles.
_watched_step: Any = Optimizer.profile_hook_step(AnalogSGD._step)
