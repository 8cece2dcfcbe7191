"""What kernels can read: strided memory of floating-point numbers, of real tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# What torch's own layers compute with; physics is float32, whichever of these comes.
FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})


def check_floats(x: Tensor, who: str = "a tile") -> None:
    """Raises TypeError in one line for tensors that torch's layers would refuse as well.

    Converting them would cut real numbers to whole ones, or complex ones to their real part."""
    if x.dtype not in FLOATS:
        name = str(x.dtype).removeprefix("torch.")
        raise TypeError(
            f"{who} takes floating-point inputs, not {name}: convert them with x.float()"
        )
    if x.layout is not torch.strided:
        name = str(x.layout).removeprefix("torch.")
        raise TypeError(
            f"{who} takes dense inputs, not {name} ones: convert them with x.to_dense()"
        )


def check_plain(x: Tensor, who: str = "a tile") -> None:
    """As `check_floats`, and for tensors without memory: those of tracers, for example."""
    check_floats(x, who)
    if type(x).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        raise TypeError(
            f"{who} cannot read a {type(x).__name__}: its kernels need the numbers, so that tracing "
            "(torch.export, make_fx) ends here"
        )


def check_weight(weight: Tensor, shape: tuple[int, ...]) -> None:
    """Raises TypeError in one line for weights that kernels would misread."""
    if (
        weight.dtype is torch.float32
        and weight.is_contiguous()
        and weight.shape == shape
    ):
        return
    kind = str(weight.dtype).removeprefix("torch.")
    raise TypeError(
        f"the weights of a tile were replaced by {kind} {list(weight.shape)} with strides "
        f"{list(weight.stride())}: they must stay float32 {list(shape)}, contiguous; write others "
        "with set_weights()"
    )


def check_processor(device: torch.device) -> None:
    """Raises RuntimeError in one line for devices that have no kernels."""
    if device.type not in ("cpu", "cuda"):
        raise RuntimeError(
            f"tiles live on the CPU or on a CUDA GPU, not on {device.type}"
        )


def fitting(values: Any, shape: Sequence[int], what: str) -> Tensor:
    """Weights in float32 that fit a `shape` as they are.

    Raises TypeError or ValueError in one line for another shape or kind, and for numbers that are
    not finite."""
    if not isinstance(values, Tensor):
        raise TypeError(f"{what} must be a tensor, not {type(values).__name__}")
    check_dense(values, what)
    if tuple(values.shape) != tuple(shape):
        raise ValueError(f"{what} must be {list(shape)}, not {list(values.shape)}")
    found = values.detach().to(torch.float32)
    if not bool(found.isfinite().all()):
        raise ValueError(f"{what} holds numbers that are not finite in float32")
    return found


def check_dense(values: Tensor, what: str) -> None:
    """Raises TypeError in one line for weights that are not simply real numbers in memory."""
    kinds = {
        "sparse": (values.layout is not torch.strided, "to_dense()"),
        "quantized": (values.is_quantized, "dequantize()"),
        "complex": (values.is_complex(), "real"),
        "without memory (meta)": (values.is_meta, "to_empty() and its weights"),
    }
    for kind, (found, way) in kinds.items():
        if found:
            raise TypeError(
                f"{what} must be dense real numbers, not {kind}: take its {way}"
            )


def check_shape(values: Tensor, like: Tensor) -> None:
    """Raises ValueError in one line for weights that do not fit: copying would spread them out.

    One matrix [O, I] for all lanes is what `like` [L, O, I] takes as well."""
    if values.shape not in (like.shape, like.shape[-2:]):
        found = list(values.shape)
        raise ValueError(
            f"the weights of these cells must be {list(like.shape)}, not {found}"
        )
