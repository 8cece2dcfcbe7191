"""The recorded samples of a tile as torch sees them: a gradient that can be measured and scaled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

if TYPE_CHECKING:
    from engine.nn.analog import AnalogTile

# Functions that tell something about a gradient. What makes another gradient of it is not among
# them: an optimizer that follows it would move cells without any pulse.
MEASURES = frozenset({
    "linalg_vector_norm", "norm", "_foreach_norm", "sum", "mean", "std", "var", "amax", "amin",
    "max", "min", "abs", "pow", "square", "isnan", "isinf", "isfinite", "any", "all",
    "eq", "ne", "lt", "le", "gt", "ge",
})  # fmt: skip
FACTORS: dict[str, Callable[[Any], Any]] = {
    "mul_": lambda factor: factor,
    "_foreach_mul_": lambda factor: factor,
    "div_": lambda factor: 1.0 / factor,
    "_foreach_div_": lambda factor: 1.0 / factor,
}
ADVICE = (
    "analog weights cannot follow a gradient ({}): they learn by pulses, which engine.optim.AnalogSGD "
    "makes of recorded samples; other optimizers take engine.optim.digital_parameters(model), and "
    "weight.grad.dense() is the gradient as a plain tensor"
)


class SampleGradient(Tensor):
    """The gradient d^T x [O, I] of a tile's logical weights, as the samples x, d behind it.

    Norms and the like are those of d^T x; scaling it in place scales the samples, which is what
    clip_grad_norm_ and GradScaler do. Anything else raises RuntimeError: as a tensor it would let
    optimizers change cells that can be pulsed only."""

    tile: AnalogTile

    @staticmethod
    def __new__(cls, tile: AnalogTile) -> SampleGradient:
        weight = tile.tile.weight
        made: SampleGradient = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, weight.shape, dtype=torch.float32, device=weight.device
        )
        made.tile = tile
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        name = func._schema.name.removeprefix("aten::")
        if name in FACTORS:
            _scale(args[0], args[1], FACTORS[name])
            return None if name.startswith("_foreach") else args[0]
        if name in ("zero_", "_foreach_zero_"):
            _drop(args[0])
            return None if name.startswith("_foreach") else args[0]
        if name == "_amp_foreach_non_finite_check_and_unscale_":
            return _unscale(*args)
        if name == "detach":
            return SampleGradient(args[0].tile)
        if name in MEASURES:
            return func(*tree_map(_dense, args), **tree_map(_dense, kwargs or {}))
        raise RuntimeError(ADVICE.format(name))

    def dense(self) -> Tensor:
        """d^T x as a plain tensor [O, I]; zeros if there is no sample any more."""
        weight = self.tile.tile.weight
        total = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        for x, d in self.tile.pending:
            total += d.to(torch.float32).mT @ x.to(torch.float32)
        return total

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        batches = len(self.tile.pending)
        return f"SampleGradient({list(self.shape)}, {batches} recorded batches)"


def _dense(value: Any) -> Any:
    return value.dense() if isinstance(value, SampleGradient) else value


def _listed(values: Any) -> list[Tensor]:
    return [values] if isinstance(values, Tensor) else list(values)


def _scale(gradients: Any, factors: Any, of: Callable[[Any], Any]) -> None:
    """Multiplies gradients, ours and torch's, by a factor or by one for each."""
    several = isinstance(factors, list | tuple)
    for number, gradient in enumerate(_listed(gradients)):
        given = factors[number] if several else factors
        if isinstance(given, SampleGradient):
            raise RuntimeError(ADVICE.format("as a factor"))
        factor = of(given)
        if not isinstance(gradient, SampleGradient):
            gradient.mul_(factor)
        elif isinstance(factor, Tensor) and factor.numel() != 1:
            raise RuntimeError(ADVICE.format("with a factor for each cell"))
        else:
            gradient.tile.scale_samples(factor)


def _drop(gradients: Any) -> None:
    for gradient in _listed(gradients):
        if isinstance(gradient, SampleGradient):
            gradient.tile.forget()
        else:
            gradient.zero_()


def _unscale(gradients: list[Tensor], found: Tensor, inverse: Tensor) -> None:
    """What GradScaler asks for: a mark in `found` for numbers that are not finite, and the scale
    taken out."""
    digital = [g for g in gradients if not isinstance(g, SampleGradient)]
    if digital:
        torch._amp_foreach_non_finite_check_and_unscale_(digital, found, inverse)
    for gradient in gradients:
        if isinstance(gradient, SampleGradient):
            for sample in gradient.tile.pending:
                for values in sample:
                    found.masked_fill_(~values.isfinite().all(), 1.0)
            gradient.tile.scale_samples(inverse)
