"""What the settings of a periphery mean together: contradictions, and the numbers that its kernels
take."""

from __future__ import annotations

import math
import struct
from typing import Any

from engine.config.tile import IO
from engine.jit.struct import choice

# The header that names the same choices, and numbers them.
ARGS = "mvm/args.cuh"
NM_DECAY = 1e-3
ASSUMED_WMAX = 0.6
MOST_BITS = 16
# Of single precision: a larger bound is none.
LARGEST_FLOAT = 3.4028235e38
# Outputs so near the bound of the ADC count as clipped.
AT_BOUND = 0.999


def check_io(io: IO, where: str = "") -> None:
    """Raises ValueError in one line for settings that contradict each other."""
    if not is_perfect(io):
        for wrong, problem in _contradictions(io):
            if wrong:
                raise ValueError(f"{where}: {problem}" if where else problem)


def is_perfect(io: IO) -> bool:
    """Whether the product is exact: nothing but out_scale applies."""
    return io.is_perfect or io.mv_type == "Ideal"


def step_size(res: float, bound: float) -> float:
    """Width of a converter's step, a float32; 0 for a converter that does not quantise.

    The factors are rounded before they are multiplied, as in aihwkit, whose largest output
    `step * round(bound / step)` then exceeds some bounds by one unit in the last place. It exceeds
    that of the default ADC (12 / 255), where an output that reaches the last step therefore counts
    as clipped, but not a bound of 10. A step rounded once, from double precision, never does.
    """
    if not 0 < 2 * bound < LARGEST_FLOAT:
        return 0.0
    return _float32(_float32(2 * bound) * _float32(_resolution(res)))


def _resolution(res: float) -> float:
    """The step as a fraction of the range, from a fraction or, above 1, a number of steps."""
    return 0.0 if res <= 0 else 1 / res if res > 1 else res


def _float32(value: float) -> float:
    """The nearest number of single precision."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def clipping_limit(io: IO) -> float:
    """The output from which on the ADC counts as clipping; 0 where it does not, or at another one
    for each sample."""
    if is_perfect(io) or io.out_bound <= 0:
        return 0.0
    limit = AT_BOUND * io.out_scale * io.out_bound
    if io.mask_clipped_gradient:
        return limit
    if io.noise_management not in ("None", "Constant") or io.bound_management != "None":
        return 0.0
    return limit * (
        io.nm_thres if io.noise_management == "Constant" and io.nm_thres > 0 else 1.0
    )


def has_spreads(io: IO) -> bool:
    """Whether outputs differ from each other for good."""
    return not is_perfect(io) and (
        _spread_noise(io) or _has_offset(io) or _has_curve(io)
    )


def has_asymmetry(io: IO) -> bool:
    """Whether weights read differently where the input is negative."""
    return (
        not is_perfect(io)
        and io.mv_type.startswith("PosNeg")
        and io.w_read_asymmetry_dtod > 0
    )


def passes(io: IO) -> int:
    """How often one read drives the array."""
    if io.mv_type == "BitWise":
        return _magnitude_bits(io)
    return 1 if io.mv_type in ("OnePass", "Ideal") else 2


def plan_numbers(io: IO, inputs: int, *, forward: bool) -> dict[str, Any]:
    """The fields of the C struct `MvmPlan`."""
    numbers = {name: getattr(io, name) for name in PLAIN}
    numbers |= {"passes": 1, "signed_kinds": 1, "absolute_kinds": 0, "sections": 1}
    numbers |= {"plain": 1, "bound_management": 0}
    if is_perfect(io):
        return numbers
    numbers |= (
        _managed(io, forward) | _converters(io) | _currents(io, inputs) | _sections(io)
    )
    return numbers | {"plain": int(_is_plain(numbers))}


def _is_plain(numbers: dict[str, Any]) -> bool:
    """Whether kernels for plain peripheries may be taken: those of which plan_of<true> in
    mvm/args.cuh leaves nothing out."""
    absent = (
        *(
            "sums",
            "offset",
            "curve",
            "inp_sto_round",
            "out_sto_round",
            "weight_noise",
            "reading",
        ),
        *(
            "inp_noise",
            "inp_asymmetry",
            "out_asymmetry",
            "out_noise_std",
            "absolute_kinds",
        ),
    )
    return numbers["sections"] == 1 and not any(numbers[name] for name in absent)


PLAIN = (
    "inp_noise", "inp_asymmetry", "inp_sto_round", "out_noise", "out_noise_std", "out_scale", "out_asymmetry",
    "out_sto_round", "max_bm_factor", "max_bm_res", "ir_drop", "r_series", "v_offset_std", "v_offset_positive",
)  # fmt: skip


def _contradictions(io: IO) -> list[tuple[bool, str]]:
    managed, mode = io.noise_management != "None", io.mv_type
    unbound = [
        side
        for side in ("inp", "out")
        if getattr(io, f"{side}_bound") <= 0 < getattr(io, f"{side}_res")
    ]
    polar = io.w_read_asymmetry_dtod > 0 and not mode.startswith("PosNeg")
    found = [
        (
            managed and io.inp_bound != 1,
            f"noise_management={io.noise_management} needs inp_bound=1, not {io.inp_bound:g}",
        ),
        *[
            (
                True,
                f"{s}_res={getattr(io, f'{s}_res'):g} needs a bound: {s}_bound must be > 0",
            )
            for s in unbound
        ],
        (
            io.w_noise > 0 and io.w_noise_type == "None",
            f"w_noise={io.w_noise:g} needs a w_noise_type, such as PCMRead",
        ),
        (
            polar,
            f"w_read_asymmetry_dtod={io.w_read_asymmetry_dtod:g} needs mv_type=PosNegSeparate, not {mode}",
        ),
    ]
    return found + (
        _split_contradictions(io) if mode in ("SplitMode", "BitWise") else []
    )


def _split_contradictions(io: IO) -> list[tuple[bool, str]]:
    bits, mode, shift = _magnitude_bits(io), io.mv_type, io.split_mode_bit_shift
    rest = f"mv_type={mode} drives whole DAC steps:"
    return [
        (
            not 1 <= bits <= MOST_BITS,
            f"mv_type={mode} needs inp_res = 1 / (2^bits - 2), not {io.inp_res:g}",
        ),
        (io.inp_noise > 0, f"{rest} inp_noise must be 0, not {io.inp_noise:g}"),
        (
            io.inp_asymmetry != 0,
            f"{rest} inp_asymmetry must be 0, not {io.inp_asymmetry:g}",
        ),
        (
            mode == "SplitMode" and shift >= bits,
            f"split_mode_bit_shift must be < {bits} for this inp_res, not {shift}",
        ),
    ]


def _magnitude_bits(io: IO) -> int:
    """Bits of the largest DAC number; 0 where the DAC does not have 2^bits - 2 steps."""
    share = _resolution(io.inp_res)
    steps = round(1 / share) + 2 if share > 0 else 0
    whole = steps > 2 and steps & (steps - 1) == 0 and abs(1 / share + 2 - steps) < 1e-3
    return steps.bit_length() - 2 if whole else 0


def _spread_noise(io: IO) -> bool:
    return io.out_noise > 0 and io.out_noise_std > 0


def _has_offset(io: IO) -> bool:
    return io.v_offset_std > 0 or io.r_series > 0


def _has_curve(io: IO) -> bool:
    return io.out_nonlinearity > 0 or io.r_series > 0


def _managed(io: IO, forward: bool) -> dict[str, Any]:
    return {
        "nm_thres": 0.0 if io.noise_management == "None" else io.nm_thres,
        "nm_decay": NM_DECAY,
        "nm_assumed_wmax": ASSUMED_WMAX,
        "noise_management": choice(ARGS, "NoiseManagement", io.noise_management),
        "bound_management": choice(
            ARGS, "BoundManagement", io.bound_management if forward else "None"
        ),
        "test_negative": io.bm_test_negative_bound,
        "clears": io.bm_negative_hit_clears,
    }


def _converters(io: IO) -> dict[str, Any]:
    # Kernels take 0 for a bound that is not there.
    finite = {
        f"{side}_bound": max(getattr(io, f"{side}_bound"), 0.0)
        for side in ("inp", "out")
    }
    finite = {
        name: bound if math.isfinite(bound) else 0.0 for name, bound in finite.items()
    }
    return finite | {
        "inp_step": step_size(io.inp_res, io.inp_bound),
        "out_step": step_size(io.out_res, io.out_bound),
    }


def _currents(io: IO, inputs: int) -> dict[str, Any]:
    top = io.out_bound if io.out_bound > 0 and math.isfinite(io.out_bound) else 1.0
    noise = io.w_noise_type if io.w_noise > 0 else "None"
    return {
        "w_noise": io.w_noise,
        "weight_noise": choice(ARGS, "WeightNoise", noise),
        "ir_ratio": inputs / io.ir_drop_g_ratio,
        "reference": -io.v_offset_w_min,
        "bend": max(io.out_nonlinearity, 0.0) / top,
        "bend_std": io.out_nonlinearity_std,
        "slope": io.slope_calibration * top,
        "w_read_asymmetry": io.w_read_asymmetry_dtod,
        "offset": _has_offset(io),
        "curve": _has_curve(io),
        "sums": noise == "AdditiveConstant" or _has_offset(io),
    }


def _sections(io: IO) -> dict[str, Any]:
    drop, power = io.ir_drop > 0, io.w_noise > 0 and io.w_noise_type == "PCMRead"
    signed, absolute, count = 1 + drop, drop + power, passes(io)
    return {
        "reading": choice(ARGS, "Reading", io.mv_type),
        "passes": count,
        "split_shift": io.split_mode_bit_shift,
        "signed_kinds": signed,
        "absolute_kinds": absolute,
        "sections": count * (signed + absolute),
    }
