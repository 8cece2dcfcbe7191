"""Settings of a tile: the periphery of each direction, the pulsed update, the mapping of weights.

Names and defaults are aihwkit's where they mean the same. Every field carries its unit, meaning and
range."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.fields import setting
from engine.config.sections import Settings

# The kernels number the same choices, in mvm/args.cuh.
NOISE_MANAGEMENT = ("None", "AbsMax", "AbsMaxNPSum", "Max", "Constant", "AverageAbsMax")
BOUND_MANAGEMENT = ("None", "Iterative", "IterativeWorstCase")
WEIGHT_NOISE = ("None", "AdditiveConstant", "PCMRead")
READINGS = (
    "OnePass",
    "PosNegSeparate",
    "PosNegSeparateDigitalSum",
    "SplitMode",
    "BitWise",
)
MV_TYPES = ("Ideal", *READINGS)
PULSE_TYPES = (
    "None",
    "StochasticCompressed",
    "Stochastic",
    "NoneWithDevice",
    "MeanCount",
    "DeterministicImplicit",
)
DENSE = ("None", "NoneWithDevice")


@dataclass
class IO(Settings):
    """Periphery of one direction of a tile: DAC, product, ADC, and the management of noise and
    bounds."""

    is_perfect: bool = setting(False, "exact product; only out_scale still applies")
    mv_type: str = setting("OnePass", "how a signed product is read", choices=MV_TYPES)
    inp_bound: float = setting(1.0, "DAC range; <= 0 = no bound", "normalised input")
    inp_res: float = setting(
        1 / 126,
        "DAC step as a share of its range; > 1 = number of steps; <= 0 = continuous",
    )
    inp_sto_round: bool = setting(False, "the DAC rounds stochastically")
    inp_noise: float = setting(
        0.0, "noise after the DAC", "normalised input", minimum=0
    )
    inp_asymmetry: float = setting(0.0, "negative inputs are weaker by this share")
    out_bound: float = setting(12.0, "ADC range; <= 0 = no bound", "normalised output")
    out_res: float = setting(
        1 / 510,
        "ADC step as a share of its range; > 1 = number of steps; <= 0 = continuous",
    )
    out_sto_round: bool = setting(False, "the ADC rounds stochastically")
    out_noise: float = setting(
        0.06, "noise before the ADC", "normalised output", minimum=0
    )
    out_noise_std: float = setting(
        0.0, "output-to-output spread of out_noise", "of out_noise", minimum=0
    )
    out_scale: float = setting(1.0, "digital factor after the ADC")
    out_asymmetry: float = setting(0.0, "negative outputs are weaker by this share")
    bound_management: str = setting(
        "Iterative", "what happens when the ADC clips", choices=BOUND_MANAGEMENT
    )
    noise_management: str = setting(
        "AbsMax", "how inputs are scaled to the DAC range", choices=NOISE_MANAGEMENT
    )
    nm_thres: float = setting(
        0.0,
        "upper limit of the input scale, or the constant one; 0 = no limit",
        minimum=0,
    )
    w_noise: float = setting(
        0.0, "weight noise of one read, referred to the output", "weight", minimum=0
    )
    w_noise_type: str = setting("None", "kind of weight noise", choices=WEIGHT_NOISE)
    ir_drop: float = setting(
        0.0, "scale of the voltage drop along the wires", minimum=0
    )
    ir_drop_g_ratio: float = setting(
        1 / 0.35 / 5e-6, "wire conductance over largest cell conductance", above=0
    )
    out_nonlinearity: float = setting(0.0, "strength of the S-shaped output curve")
    out_nonlinearity_std: float = setting(
        0.0, "output-to-output spread of it", "of out_nonlinearity", minimum=0
    )
    slope_calibration: float = setting(
        0.0, "share of the output curve's slope that is calibrated away", minimum=0
    )
    v_offset_std: float = setting(
        0.0, "output-to-output spread of the voltage offset", minimum=0
    )
    v_offset_positive: bool = setting(
        False, "offsets have one sign, not either; half of the outputs have none"
    )
    v_offset_w_min: float = setting(-1.0, "weight of the reference device")
    r_series: float = setting(
        0.0, "series resistance as a share of the total output current", minimum=0
    )
    w_read_asymmetry_dtod: float = setting(
        0.0, "spread of the weights' dependence on read polarity", minimum=0
    )
    # Each reduction by half is a read with random numbers and, on a GPU, a list of its own
    # (QUEUE_ROUNDS in mvm/args.cuh).
    max_bm_factor: int = setting(
        1000,
        "bound management stops beyond this input reduction",
        minimum=0,
        maximum=1 << 30,
    )
    max_bm_res: float = setting(
        0.25,
        "bound management stops beyond this share of DAC steps; 0 = no start",
        minimum=0,
    )
    bm_test_negative_bound: bool = setting(
        True, "a negative ADC hit triggers bound management as well"
    )
    bm_negative_hit_clears: bool = setting(
        False, "where it does not, it undoes an earlier positive hit"
    )
    mask_clipped_gradient: bool = setting(
        False,
        "outputs of the tile beyond out_bound pass no gradient to its inputs, whatever the management of bounds",
    )
    split_mode_bit_shift: int = setting(
        3, "bits of the DAC in the first pass of SplitMode", "bits", minimum=1
    )


@dataclass
class Update(Settings):
    """The pulsed update: trains of pulses on rows and columns whose coincidences move the cells."""

    desired_bl: int = setting(
        31,
        "length of the pulse trains, the largest with update_bl_management",
        "pulses",
        minimum=1,
    )
    fixed_bl: bool = setting(
        True, "the trains keep their length when the learning rate is too large for it"
    )
    pulse_type: str = setting(
        "StochasticCompressed", "how trains are made", choices=PULSE_TYPES
    )
    res: float = setting(
        0.0, "step of the firing probability; <= 0 = continuous", maximum=1
    )
    x_res_implicit: float = setting(
        0.0, "step of the input for DeterministicImplicit; <= 0 = continuous", maximum=1
    )
    d_res_implicit: float = setting(
        0.0,
        "step of the gradient for DeterministicImplicit; <= 0 = continuous",
        maximum=1,
    )
    sto_round: bool = setting(
        False, "probabilities are rounded to their steps stochastically"
    )
    update_bl_management: bool = setting(
        True, "trains are as short as each sample allows; implies update_management"
    )
    update_management: bool = setting(
        True, "probabilities of rows and columns are balanced for each sample"
    )
    um_grad_scale: float = setting(
        1.0, "bias of that balance: < 1 lets the gradient saturate earlier", above=0
    )


@dataclass
class Mapping(Settings):
    """How a logical weight matrix lies on tiles."""

    digital_bias: bool = setting(
        True, "the bias is added digitally, not by a column of the tile"
    )
    weight_scaling_omega: float = setting(
        0.0, "largest weight on the tile after scaling; 0 = no scaling", minimum=0
    )
    weight_scaling_columnwise: bool = setting(
        False, "one scale for each output instead of one for the tile"
    )
    weight_scaling_lr_compensation: bool = setting(
        False, "the tile's learning rate is divided by the mean scale"
    )
    learn_out_scaling: bool = setting(False, "a digital output scale is learned")
    out_scaling_columnwise: bool = setting(
        False, "one learned scale for each output instead of one for the tile"
    )
    max_input_size: int = setting(
        512, "largest number of tile inputs; 0 = no limit", minimum=0
    )
    max_output_size: int = setting(
        512, "largest number of tile outputs; 0 = no limit", minimum=0
    )
