"""Settings of hardware-aware training: how weights are disturbed, clipped and remapped, and the
range of the inputs.

Names and defaults are aihwkit's where they mean the same. Every field carries its unit, meaning and
range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.config.fields import setting
from engine.config.sections import Settings

MODIFIERS = (
    "None", "Copy", "Discretize", "MultNormal", "AddNormal", "DiscretizeAddNormal", "DoReFa", "Poly", "ProgNoise",
    "DropConnect", "PCMNoise",
)  # fmt: skip
CLIPS = (
    "None", "FixedValue", "LayerGaussian", "AverageChannelMax", "LayerGaussianPerChannel",
)  # fmt: skip
REMAPS = ("None", "LayerwiseSymmetric", "ChannelwiseSymmetric")
CONVENTIONS = ("Compiled", "Torch")
MOST_COEFFICIENTS = 8


@dataclass
class WeightModifier(Settings):
    """What training sees instead of the weights: drawn once in a mini-batch, the weights themselves
    stay."""

    type: str = setting("None", "kind of disturbance", choices=MODIFIERS)
    std_dev: float = setting(
        0.0, "strength of the noise", "of the largest weight", minimum=0
    )
    res: float = setting(
        0.0,
        "step as a share of the largest weight; > 1 = number of steps; 0 = continuous",
        minimum=0,
    )
    sto_round: bool = setting(
        False, "weights are rounded to their steps stochastically"
    )
    dorefa_clip: float = setting(0.6, "largest weight after DoReFa", "weight")
    pdrop: float = setting(
        0.0, "probability that a weight is 0, after any type", minimum=0, maximum=1
    )
    enable_during_test: bool = setting(
        False, "evaluation is disturbed as well, anew in each product"
    )
    rel_to_actual_wmax: bool = setting(
        True, "the largest weight is that of the tile, not assumed_wmax"
    )
    per_channel: bool = setting(
        False,
        "The largest weight is that of each output by itself, not of the whole tile.",
    )
    assumed_wmax: float = setting(
        1.0, "largest weight if not that of the tile", "weight", above=0
    )
    copy_last_column: bool = setting(
        False, "the last column stays as it is, such as that of an analog bias"
    )
    coeffs: list[float] = setting(
        [0.0105392, 0.0768, -0.046925],
        "c0 + c1 x + c2 x^2 ... (Poly, ProgNoise)",
        "of the largest weight; ProgNoise: uS",
        shortest=0,
    )
    g_max: float = setting(
        25.0, "conductance of the largest weight (ProgNoise, PCMNoise)", "uS", above=0
    )
    pcm_zero_thres: float = setting(
        0.0, "smaller conductances count as 0", "of the noise at 0", minimum=0
    )
    pcm_t_inference: float = setting(
        0.0, "time of drift before reading", "s", minimum=0
    )
    pcm_prob_at_reset: float = setting(
        0.0, "share of cells stuck at 0", minimum=0, maximum=1
    )
    pcm_prob_at_gmax: float = setting(
        0.0, "share of cells moved by g_max, up or down", minimum=0, maximum=1
    )
    pcm_prob_at_random: float = setting(
        0.0, "share of cells stuck anywhere", minimum=0, maximum=1
    )
    pcm_t0: float = setting(
        20.0, "time between programming and the first read", "s", above=0
    )
    per_forward: bool = setting(
        False, "drawn anew for each product of a mini-batch, as in aihwkit's torch tile"
    )
    per_batch_sample: bool = setting(
        False,
        "drawn anew for each vector of each product (a sample, a patch of a convolution, a time step)",
    )
    convention: str = setting(
        "Compiled", "meaning of res and of std_dev in MultNormal: that of aihwkit's compiled or of its torch tile",
        choices=CONVENTIONS,
    )  # fmt: skip


@dataclass
class WeightClip(Settings):
    """Where weights are clipped after each optimizer step."""

    type: str = setting("None", "what the limit follows", choices=CLIPS)
    fixed_value: float = setting(
        -1.0, "the limit, or the largest one of the other types; <= 0 = none", "weight"
    )
    sigma: float = setting(
        2.5,
        "The limit of LayerGaussian over all weights, of LayerGaussianPerChannel over those of an output.",
        "standard deviations",
        above=0,
    )


@dataclass
class WeightRemap(Settings):
    """How weights fill the range of the tile again after each optimizer step; the output scales
    take up the rest."""

    type: str = setting(
        "None", "one factor for the tile, or one for each output", choices=REMAPS
    )
    remapped_wmax: float = setting(1.0, "largest weight after it", "weight", above=0)
    max_scale_range: float = setting(
        0.0,
        "largest scale over the smallest one (channelwise); 0 = no limit",
        minimum=0,
    )
    max_scale_ref: float = setting(
        0.0, "least value that counts as the smallest scale", minimum=0
    )


@dataclass
class InputRange(Settings):
    """The input that meets the full range of the DAC: from the first batches, then learned."""

    enable: bool = setting(False, "inputs are cut off at the range and divided by it")
    learn_input_range: bool = setting(True, "the range is trained")
    init_value: float = setting(3.0, "range before the first batch", "input", above=0)
    init_from_data: int = setting(
        100, "batches whose spread sets the range at first", "batches", minimum=0
    )
    init_std_alpha: float = setting(
        3.0, "range they ask for", "standard deviations", above=0
    )
    decay: float = setting(
        0.001, "pull to a smaller range while few inputs are cut off", minimum=0
    )
    input_min_percentage: float = setting(
        0.95, "share of inputs within the range above which it acts", maximum=1
    )
    manage_output_clipping: bool = setting(
        False, "outputs at the bound of the ADC push the range up"
    )
    output_min_percentage: float = setting(
        0.95, "share of outputs within the bound below which they do", maximum=1
    )
    gradient_scale: float = setting(
        1.0, "factor of the gradient, with gradient_relative"
    )
    gradient_relative: bool = setting(True, "the gradient is relative to the range")
    stop_at_range: bool = setting(
        False, "inputs that are cut off get no gradient, as in aihwkit's torch tile"
    )
    gradient_over_range: bool = setting(
        False, "the weights' gradient is over the range, as in aihwkit's compiled tile"
    )
    clipped_per_input: bool = setting(
        False, "clipped outputs count as a share of the inputs, as in aihwkit"
    )


def training_problem(
    modifier: WeightModifier, remap: WeightRemap, ranges: InputRange, *, forward: Any
) -> str:
    """One line on what does not fit together, also with the periphery `forward`; or nothing."""
    managed = (
        forward.noise_management not in ("None", "Constant")
        or forward.bound_management != "None"
    )
    unbound = forward.is_perfect or forward.out_bound <= 0
    checks = (
        (
            len(modifier.coeffs) > MOST_COEFFICIENTS,
            f"modifier.coeffs must be at most {MOST_COEFFICIENTS} numbers, not {len(modifier.coeffs)}",
        ),
        (
            modifier.type == "Discretize" and modifier.res == 0,
            "modifier.res must be > 0 with the type Discretize",
        ),
        (
            remap.max_scale_range > 0 and remap.remapped_wmax != 1,
            f"remap.max_scale_range needs remapped_wmax 1, not {remap.remapped_wmax:g}",
        ),
        (
            ranges.enable and not forward.is_perfect and forward.inp_bound != 1,
            f"input_range needs forward.inp_bound 1, not {forward.inp_bound:g}",
        ),
        (
            ranges.enable and ranges.manage_output_clipping and (managed or unbound),
            "input_range.manage_output_clipping needs an ADC bound, and noise_management and bound_management None",
        ),
    )
    return next((line for wrong, line in checks if wrong), "")
