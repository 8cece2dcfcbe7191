"""Any optimizer of torch for digital parameters, beside pulses on analog tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

from engine.optim.sgd import AnalogSGD
from engine.tile.weight import AnalogWeight


class AnalogOptimizer(Optimizer):
    """`AnalogOptimizer(torch.optim.AdamW, model.parameters(), lr=0.001)`: that optimizer for digital
    parameters, pulses on tiles, which take the learning rate of their group and nothing else.

    Tiles learn well at other rates than Adam: give them a group of their own,
    `[{"params": digital_parameters(model)}, {"params": pulsed_parameters(model), "lr": 0.1}]`. A
    step trains digital parameters, then all tiles, then lets time act on all tiles."""

    add_param_group = AnalogSGD.add_param_group
    zero_grad = AnalogSGD.zero_grad

    def __init__(self, kind: type[Optimizer], params: Any, **settings: Any) -> None:
        # One that knows only a number checks the settings, and says what is missing or wrong.
        probe = kind(
            [torch.zeros(1, dtype=torch.float32, requires_grad=True)], **settings
        )
        super().__init__(params, probe.defaults)
        # Torch's optimizers take no group without parameters.
        groups = [{**group, "params": _digital(group)} for group in self.param_groups]
        groups = [group for group in groups if group["params"]]
        self.digital = kind(groups, **settings) if groups else None
        if self.digital is not None:
            self.state = self.digital.state

    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            self._digital_step()
            tiles = [
                (p.owner, float(group["lr"]))
                for group in self.param_groups
                for p in group["params"]
                if type(p) is AnalogWeight and p.owner is not None
            ]
            for owner, lr in tiles:
                owner.learn(lr)
            for owner, _ in tiles:
                owner.end_of_batch()
        return loss

    def _digital_step(self) -> None:
        if self.digital is None:
            return
        # Schedulers, checkpoints and users change the groups and the state of this optimizer.
        own_groups = [group for group in self.param_groups if _digital(group)]
        for own, inner in zip(own_groups, self.digital.param_groups, strict=True):
            inner.update({key: value for key, value in own.items() if key != "params"})
        self.digital.state = self.state
        self.digital.step()


def _digital(group: dict[str, Any]) -> list[Any]:
    return [p for p in group["params"] if type(p) is not AnalogWeight]
