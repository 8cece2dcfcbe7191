"""The parameter that torch sees: the weights of a tile, which learn by pulses instead of by a
gradient."""

from __future__ import annotations

import weakref
from typing import Any, NoReturn, Protocol

from torch import Tensor, nn


class Learner(Protocol):
    """What owns an analog weight and knows how to train it."""

    def learn(self, lr: float) -> None: ...

    def forget(self) -> None: ...

    def end_of_batch(self) -> None: ...

    def gradient(self) -> Tensor | None: ...


class AnalogWeight(nn.Parameter):
    """A parameter whose owner collects inputs and gradients and turns them into pulses.

    `grad` shows what is collected, so that setting it to None drops it as for any parameter."""

    _owner: weakref.ref[Any] | None = None

    @property
    def owner(self) -> Learner | None:
        return self._owner() if self._owner is not None else None

    @owner.setter
    def owner(self, owner: Learner) -> None:
        self._owner = weakref.ref(owner)

    @property
    def grad(self) -> Tensor | None:  # type: ignore[override]
        """What backward recorded for the next step; None if there is nothing, as after a step."""
        owner = self.owner
        return None if owner is None else owner.gradient()

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        # Without the property above: a training loop comes by here in each step.
        owner = None if self._owner is None else self._owner()
        if value is None:
            if owner is not None:
                owner.forget()
        elif owner is None or getattr(value, "tile", None) is not owner:
            raise RuntimeError(
                "the gradient of analog weights cannot be set: pulses are made of the samples that "
                "backward records; scale it in place (grad.mul_) or drop it (grad = None)"
            )
        # Otherwise `grad *= factor` writes back what it scaled in place.

    def register_hook(self, hook: Any) -> NoReturn:
        """Refused: a hook would never meet a gradient."""
        _refuse_hook("register_hook")

    def register_post_accumulate_grad_hook(self, hook: Any) -> NoReturn:
        """Refused: a hook would never be called."""
        _refuse_hook("register_post_accumulate_grad_hook")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return AnalogWeight, (self.data, self.requires_grad)


def _refuse_hook(name: str) -> NoReturn:
    raise RuntimeError(
        f"{name} means nothing for analog weights: they learn by pulses from recorded samples and no "
        "gradient reaches them; hook the layer (register_full_backward_hook), or leave them out"
    )
