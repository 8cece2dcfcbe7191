"""The recorded samples of a tile as torch sees them: a gradient that can be measured and scaled.

A pulsed tile has no gradient tensor; it keeps the samples (x, d) of each backward pass until the
optimizer turns them into pulses. `AnalogWeight.grad` shows these samples as a `SampleGradient`, so
that clip_grad_norm_, GradScaler and logging work as with any parameter. What must hold: every
measure equals that of `dense()`, d^T x summed over all samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

# Functions that measure a gradient. Those that make another gradient of it are not among them: an
# optimizer that follows such a gradient would move cells without any pulse.
MEASURES = frozenset({
    "linalg_vector_norm", "norm", "_foreach_norm", "sum", "mean", "std", "var", "amax", "amin",
    "max", "min", "abs", "pow", "square", "isnan", "isinf", "isfinite", "any", "all",
    "eq", "ne", "lt", "le", "gt", "ge",
})  # fmt: skip
# Functions that scale a gradient in place, and the factor that their argument stands for.
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


class SampleRecorder(Protocol):
    """What a gradient needs of the tile whose samples it shows; `AnalogTile` is one."""

    held: torch.nn.Parameter  # the weight [O, I]
    pending: list[
        tuple[Tensor, Tensor]
    ]  # x [B, I] and d [B, O] of every recorded batch

    def scale_samples(self, factor: Tensor | float) -> None: ...

    def forget(self) -> None: ...


class SampleGradient(Tensor):
    """The gradient d^T x [O, I] of a tile's logical weights, as the samples x, d behind it.

    Norms and the like are those of d^T x; scaling it in place scales the samples, which is what
    clip_grad_norm_ and GradScaler do. Anything else raises RuntimeError: as a tensor it would let
    optimizers change cells that can be pulsed only."""

    tile: SampleRecorder  # type: ignore[assignment]  # hides Tensor.tile, which no gradient needs

    @staticmethod
    def __new__(cls, tile: SampleRecorder) -> SampleGradient:
        weight = tile.held
        made: SampleGradient = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, weight.shape, dtype=torch.float32, device=weight.device
        )
        made.tile = tile
        return made

    # Only __torch_dispatch__ decides: it meets every operation, also those without a Python name.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.removeprefix("aten::")
        # In-place functions return their argument, those over lists of tensors return nothing.
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
        """The gradient d^T x as a plain tensor [O, I]; zeros if no sample is left."""
        weight = self.tile.held
        total = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        for x, d in self.tile.pending:
            total += d.to(torch.float32).mT @ x.to(torch.float32)
        return total

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        batches = len(self.tile.pending)
        return f"SampleGradient({list(self.shape)}, {batches} recorded batches)"


def _dense(value: Any) -> Any:
    return value.dense() if isinstance(value, SampleGradient) else value


def _as_list(values: Any) -> list[Tensor]:
    return [values] if isinstance(values, Tensor) else list(values)


def _scale(gradients: Any, factors: Any, factor_of: Callable[[Any], Any]) -> None:
    """Multiplies gradients, ours and torch's, by one factor or by one for each."""
    one_for_each = isinstance(factors, list | tuple)
    for number, gradient in enumerate(_as_list(gradients)):
        given = factors[number] if one_for_each else factors
        if isinstance(given, SampleGradient):
            raise RuntimeError(ADVICE.format("as a factor"))
        factor = factor_of(given)
        if not isinstance(gradient, SampleGradient):
            gradient.mul_(factor)
        elif isinstance(factor, Tensor) and factor.numel() != 1:
            # Samples have no entry for a single cell that could be scaled.
            raise RuntimeError(ADVICE.format("with a factor for each cell"))
        else:
            gradient.tile.scale_samples(factor)


def _drop(gradients: Any) -> None:
    """Sets gradients to zero: a tile forgets its samples."""
    for gradient in _as_list(gradients):
        if isinstance(gradient, SampleGradient):
            gradient.tile.forget()
        else:
            gradient.zero_()


def _unscale(gradients: list[Tensor], found: Tensor, inverse: Tensor) -> None:
    """Divides gradients by GradScaler's scale and marks in `found` whether one is not finite.

    `inverse` is 1 / scale; both are tensors of one element, which GradScaler reads later."""
    digital = [g for g in gradients if not isinstance(g, SampleGradient)]
    if digital:
        torch._amp_foreach_non_finite_check_and_unscale_(digital, found, inverse)
    for gradient in gradients:
        if isinstance(gradient, SampleGradient):
            for sample in gradient.tile.pending:
                for values in sample:
                    # A mask on the device: reading the answer here would wait for the GPU.
                    found.masked_fill_(~values.isfinite().all(), 1.0)
            gradient.tile.scale_samples(inverse)
