"""The parameter that torch sees: the weights of a tile, which learn by pulses instead of by a
gradient."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

from torch import nn


class Learner(Protocol):
    """What owns an analog weight and knows how to train it."""

    def learn(self, lr: float) -> None: ...

    def forget(self) -> None: ...

    def end_of_batch(self) -> None: ...


class AnalogWeight(nn.Parameter):
    """A parameter whose `grad` stays None: its owner collects inputs and gradients and turns them
    into pulses."""

    _owner: weakref.ref[Any] | None = None

    @property
    def owner(self) -> Learner | None:
        return self._owner() if self._owner is not None else None

    @owner.setter
    def owner(self, owner: Learner) -> None:
        self._owner = weakref.ref(owner)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return AnalogWeight, (self.data, self.requires_grad)
