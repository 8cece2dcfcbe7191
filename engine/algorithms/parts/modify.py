"""What hardware-aware training does to weights: the copy of a mini-batch, and clip and remap after
a step.

Shapes: O rows, I columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.config.hwa import WeightClip, WeightModifier, WeightRemap
from engine.jit.programs import fill, training_program
from engine.jit.struct import choice, read_constant, read_struct

if TYPE_CHECKING:
    from engine.tile.launch import Readable

HEADER = "hwa/modifier.cuh"
TRAINING_STREAM, EVALUATION_STREAM = (
    read_constant(HEADER, name) for name in ("MODIFY", "MODIFY_EVALUATION")
)
FIGURES = read_constant(HEADER, "FIGURES")


class WeightOverride:
    """A tile's array with other weights: what a product reads instead of the array itself.

    With `per_sample` noise the weights of every vector are disturbed anew while it is multiplied.
    """

    def __init__(
        self, array: Readable, weight: Tensor, per_sample: PerSampleNoise | None = None
    ) -> None:
        self.out_size, self.in_size, self.lanes = (
            array.out_size,
            array.in_size,
            array.lanes,
        )
        self.weight, self.control, self.per_sample = weight, array.control, per_sample


class PerSampleNoise:
    """How weights are disturbed for every vector of a product, and of the product the other way:
    alike."""

    def __init__(
        self, array: Readable, modifier: WeightModifier, *, call: int, stream: int
    ) -> None:
        args, self.ends = _prepared(array, modifier, call=call, stream=stream)
        self.settings = torch.frombuffer(bytearray(args), dtype=torch.uint8).to(
            array.weight.device
        )

    def data_ptr(self) -> int:
        """Where the kernels find the settings."""
        return self.settings.data_ptr()


def is_active(modifier: WeightModifier) -> bool:
    """Whether any weight is changed at all."""
    return modifier.type not in ("None", "Copy", "DropConnect") or (
        modifier.type != "None" and modifier.pdrop > 0
    )


def modify(
    array: Readable, modifier: WeightModifier, out: Tensor, *, call: int, stream: int
) -> Tensor:
    """Writes the weights [O, I] of `array` to `out`, disturbed; `call` and `stream` number the
    draws."""
    args, _ = _prepared(array, modifier, call=call, stream=stream)
    args.out = out.data_ptr()
    _run("modify_rows", args, out)
    return out


def _prepared(
    array: Readable, modifier: WeightModifier, *, call: int, stream: int
) -> tuple[Any, Tensor]:
    """The arguments but for where to write, and a tensor that must live as long."""
    weight = array.weight.detach()
    columns = weight.shape[1]
    changed = columns - 1 if modifier.copy_last_column else columns
    args = _modify_args(modifier)
    args.items, args.cols, args.changed, args.call, args.stream = (
        weight.shape[0],
        columns,
        changed,
        call,
        stream,
    )
    ends = _smallest_and_largest(weight[:, :changed], modifier)
    fill(args, ("w", "range", "control"), (weight, ends, array.control))
    return args, ends


def _smallest_and_largest(weight: Tensor, modifier: WeightModifier) -> Tensor:
    """The ends of the weights' range: [2], or [O, 2] where each output has its own; anything where
    they do not count. They are exact in any order, so that no kernel of our own is needed."""
    if not modifier.rel_to_actual_wmax or not weight.numel():
        return weight.new_zeros(2 * len(weight))
    if modifier.per_channel:
        return torch.stack(torch.aminmax(weight, dim=1), 1)
    return torch.stack(torch.aminmax(weight))


def _modify_args(modifier: WeightModifier) -> Any:
    args = read_struct(HEADER, "ModifyArgs")()
    for name in ("std_dev", "dorefa_clip", "pdrop", "assumed_wmax", "g_max"):
        setattr(args, name, getattr(modifier, name))
    for name in ("zero_thres", "t_inference", "t0"):
        setattr(args, name, getattr(modifier, f"pcm_{name}"))
    for name in ("at_reset", "at_gmax", "at_random"):
        setattr(args, name, getattr(modifier, f"pcm_prob_{name}"))
    share = 1 / modifier.res if modifier.res > 1 else modifier.res
    args.res = 2 * share if modifier.convention == "Torch" else share
    args.type = choice(HEADER, "ModifierType", modifier.type)
    args.as_torch = int(modifier.convention == "Torch")
    args.sto_round, args.relative = (
        int(modifier.sto_round),
        int(modifier.rel_to_actual_wmax),
    )
    args.per_channel = int(modifier.per_channel)
    args.degree = len(modifier.coeffs)
    args.coeffs[: args.degree] = modifier.coeffs
    return args


def settle(
    weight: Tensor, scale: Tensor | None, clip: WeightClip, *, remap: WeightRemap
) -> None:
    """Clips the weights [O, I] in place, then remaps them, which changes `scale` [O] as well."""
    remaps = remap.type != "None"
    if (
        clip.type == "None" or (clip.type == "FixedValue" and clip.fixed_value <= 0)
    ) and not remaps:
        return
    data = weight.detach()
    args = read_struct(HEADER, "SettleArgs")()
    args.items = args.rows = data.shape[0]
    args.cols, args.clip, args.remap = (
        data.shape[1],
        choice(HEADER, "ClipType", clip.type),
        choice(HEADER, "RemapType", remap.type),
    )
    args.fixed_value, args.sigma = clip.fixed_value, clip.sigma
    args.remapped_wmax, args.max_scale_range = (
        remap.remapped_wmax,
        remap.max_scale_range,
    )
    args.max_scale_ref = remap.max_scale_ref
    figures, limits = data.new_empty(args.rows, FIGURES), data.new_empty(FIGURES)
    fill(args, ("w", "figures", "limits"), (data, figures, limits))
    args.scale = scale.data_ptr() if scale is not None else None
    if remaps or clip.type != "FixedValue":
        _run("row_figures", args, data)
    else:
        figures.zero_()
    args.items = 1
    training_program(data.device.type).run("settle_limits", args, warps=8)
    args.items = args.rows
    _run("settle_rows", args, data)


def row_figures(x: Tensor, figures: Tensor) -> None:
    """Largest magnitude, mean and squares about it of each row of x [B, I], to `figures`."""
    args = read_struct(HEADER, "SettleArgs")()
    args.items = args.rows = x.shape[0]
    args.cols = x.shape[1]
    fill(args, ("w", "figures"), (x, figures))
    _run("row_figures", args, x)


def _run(name: str, args: Any, like: Tensor) -> None:
    training_program(like.device.type).run(name, args, warp=True)
