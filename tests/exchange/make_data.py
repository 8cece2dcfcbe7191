"""Makes the recorded files of these tests, beside aihwkit: `python -m tests.exchange.make_data
[NAME ...]`. Without names, those that are missing: its draws cannot be repeated.

`presets.json.gz` holds the fields of every preset. Each other file holds a small trained model as
the exporter writes it, with inputs, the outputs that aihwkit computes of them without noise, and
the weights of its own conversion to torch."""

from __future__ import annotations

import gzip
import inspect
import json
import sys
from pathlib import Path

import torch
from torch import nn

FOLDER = Path(__file__).parent / "data"
SCRIPTS = Path(__file__).resolve().parents[2] / "aihw_cli" / "scripts"


def main() -> None:
    sys.path.insert(0, str(SCRIPTS))
    import export_aihwkit

    text = json.dumps(all_presets(export_aihwkit), sort_keys=True).encode()
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "presets.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))
    asked = sys.argv[1:]
    for name, make in MODELS.items():
        if name in asked or not (asked or (FOLDER / f"{name}.safetensors").exists()):
            torch.manual_seed(1)
            record(export_aihwkit, name, *make())


def all_presets(exporter):
    """The fields of every preset."""
    from aihwkit.simulator import presets

    return {
        name: exporter.describe(kind())
        for name, kind in vars(presets).items()
        if inspect.isclass(kind) and name.endswith("Preset")
    }


def record(exporter, name, model, inputs, steps=12):
    """Trains a little, and writes the model with what it computes of `inputs`."""
    from aihwkit.nn.conversion import convert_to_digital
    from aihwkit.optim import AnalogSGD

    optimizer = AnalogSGD(model.parameters(), lr=0.05)
    optimizer.regroup_param_groups(model)
    for _ in range(steps):
        optimizer.zero_grad()
        first(model(inputs)).square().mean().backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        outputs = first(model(inputs))
    tensors = {"check.x": inputs, "check.y": outputs}
    if not any("rnn" in key for key in model.state_dict()):
        digital = convert_to_digital(model).state_dict()
        tensors.update({f"check.{key}": value for key, value in digital.items()})
    path = FOLDER / f"{name}.safetensors"
    exporter.save(model, path)
    own, content = exporter.read(path)
    exporter._write(path, {**own, **tensors}, content)


def first(found):
    """The outputs of a layer that may also give a state."""
    return found[0] if isinstance(found, tuple) else found


def quiet(config, **mapping):
    """A configuration whose forward product has converters but no noise."""
    for name in ("out_noise", "w_noise", "inp_noise"):
        setattr(config.forward, name, 0.0)
    for name, value in mapping.items():
        setattr(config.mapping, name, value)
    return config


def linear(config, bias=True):
    from aihwkit.nn import AnalogLinear, AnalogSequential

    first_layer = AnalogLinear(6, 5, bias=bias, rpu_config=config)
    return AnalogSequential(
        first_layer, nn.Sigmoid(), AnalogLinear(5, 3, rpu_config=config)
    )


def preset(name, **mapping):
    """Two layers on tiles of a preset."""
    from aihwkit.simulator import presets

    return linear(quiet(getattr(presets, name)(), **mapping)), torch.randn(8, 6)


def hardware_aware():
    """A grid of tiles with learned ranges and scales."""
    from aihwkit.simulator.configs import WeightModifierType
    from aihwkit.simulator.presets import StandardHWATrainingPreset

    config = quiet(StandardHWATrainingPreset(), max_input_size=4, max_output_size=2)
    config.modifier.type, config.modifier.std_dev = WeightModifierType.ADD_NORMAL, 0.06
    return linear(config), torch.randn(8, 6)


def torch_tile():
    """Tiles that torch computes, with their own way to take some numbers."""
    from aihwkit.simulator.configs import TorchInferenceRPUConfig, WeightModifierType

    config = quiet(
        TorchInferenceRPUConfig(), weight_scaling_omega=1.0, learn_out_scaling=True
    )
    config.modifier.type, config.modifier.std_dev = (
        WeightModifierType.DISCRETIZE_ADD_NORMAL,
        0.05,
    )
    config.modifier.res = 0.01
    config.modifier.type = WeightModifierType.ADD_NORMAL
    config.pre_post.input_range.enable = True
    config.forward.noise_management = type(config.forward.noise_management).NONE
    config.forward.bound_management = type(config.forward.bound_management).NONE
    return linear(config), torch.randn(8, 6)


def convolution():
    """Two convolutions, batch normalisation and a layer of classes, on different tiles."""
    from aihwkit.nn import AnalogConv2d, AnalogLinear, AnalogSequential
    from aihwkit.simulator.presets import EcRamMOPreset, TikiTakaEcRamPreset

    config = quiet(EcRamMOPreset(), weight_scaling_omega=0.6)
    last = quiet(
        TikiTakaEcRamPreset(), weight_scaling_omega=0.6, weight_scaling_columnwise=True
    )
    return AnalogSequential(
        AnalogConv2d(1, 3, 3, rpu_config=config),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        AnalogConv2d(3, 4, (3, 2), stride=2, bias=False, rpu_config=config),
        nn.Flatten(),
        AnalogLinear(36, 3, rpu_config=last),
    ), torch.randn(4, 1, 9, 8)


class Recurrent(nn.Module):
    """An LSTM of two layers in both directions, and a decoder."""

    def __init__(self, config, cell="AnalogLSTMCell"):
        from aihwkit.nn import AnalogLinear, AnalogRNN
        from aihwkit.nn.modules.rnn import cells

        super().__init__()
        kind = getattr(cells, cell)
        self.lstm = AnalogRNN(kind, 4, 5, num_layers=2, bidir=True, rpu_config=config)
        self.decoder = AnalogLinear(10, 3, rpu_config=config)

    def forward(self, x):
        return self.decoder(self.lstm(x)[0])


def recurrent():
    """Recurrent layers, whose matrices have names of their own."""
    from aihwkit.simulator.presets import GokmenVlasovPreset

    return Recurrent(quiet(GokmenVlasovPreset())), torch.randn(6, 3, 4)


def combined():
    """The same with one matrix for inputs and state, whose weights alone are carried."""
    from aihwkit.simulator.presets import GokmenVlasovPreset

    config = GokmenVlasovPreset()
    config.forward.is_perfect = True
    return Recurrent(config, "AnalogLSTMCellCombinedWeight"), torch.randn(6, 3, 4)


def analog_bias():
    """The bias as a last column of the tile."""
    from aihwkit.simulator.presets import CapacitorPreset

    return linear(quiet(CapacitorPreset(), digital_bias=False)), torch.randn(8, 6)


def deviations():
    """Outputs that differ from each other for good."""
    from aihwkit.simulator.configs import ConstantStepDevice, SingleRPUConfig

    config = SingleRPUConfig(device=ConstantStepDevice())
    forward = config.forward
    forward.v_offset_std, forward.slope_calibration = 0.05, 0.5
    forward.out_nonlinearity, forward.out_nonlinearity_std = 0.2, 0.3
    forward.mv_type = type(forward.mv_type).POS_NEG_SEPARATE
    forward.w_read_asymmetry_dtod = 0.1
    return linear(quiet(config)), torch.randn(8, 6)


def buffered():
    """A buffered transfer over three arrays whose sum is the weight."""
    from aihwkit.simulator.configs import (
        BufferedTransferCompound,
        SoftBoundsReferenceDevice,
        UnitCellRPUConfig,
    )

    cells = [
        SoftBoundsReferenceDevice(dw_min=0.01, reference_std=0.05) for _ in range(3)
    ]
    device = BufferedTransferCompound(
        unit_cell_devices=cells, gamma=0.2, units_in_mbatch=True
    )
    return linear(quiet(UnitCellRPUConfig(device=device))), torch.randn(8, 6)


def sequential():
    """Cells of three devices, of which each sample pulses the next one."""
    from aihwkit.simulator.configs import (
        ConstantStepDevice,
        SoftBoundsDevice,
        UnitCellRPUConfig,
        VectorUnitCell,
        VectorUnitCellUpdatePolicy,
    )

    cells = [SoftBoundsDevice(dw_min=0.01), ConstantStepDevice(), SoftBoundsDevice()]
    device = VectorUnitCell(
        unit_cell_devices=cells,
        update_policy=VectorUnitCellUpdatePolicy.SINGLE_SEQUENTIAL,
        gamma_vec=[0.5, 0.3, 0.2],
    )
    return linear(quiet(UnitCellRPUConfig(device=device))), torch.randn(7, 6)


def drifting():
    """Cells that forget, diffuse, and have drifted twice."""
    from aihwkit.simulator.configs import PowStepReferenceDevice, SingleRPUConfig

    device = PowStepReferenceDevice(lifetime=100.0, diffusion=0.001, reset=0.01)
    device.drift.nu, device.drift.nu_dtod, device.drift.t_0 = 0.1, 0.2, 2.0
    model = linear(quiet(SingleRPUConfig(device=device)))
    for tile in model.analog_tiles():
        tile.tile.drift_weights(4.0)
        tile.tile.drift_weights(6.0)
    return model, torch.randn(8, 6)


def digits(name, **mapping):
    """A network for the digits: 64 inputs, 10 classes."""
    from aihwkit.nn import AnalogLinear, AnalogSequential
    from aihwkit.simulator import presets

    config = quiet(getattr(presets, name)(), **mapping)
    return AnalogSequential(
        AnalogLinear(64, 8, rpu_config=config),
        nn.Sigmoid(),
        AnalogLinear(8, 10, rpu_config=config),
        nn.LogSoftmax(1),
    ), torch.rand(16, 64)


def mixed_pair():
    """Mixed precision on one-sided pairs."""
    return preset("MixedPrecisionPCMPreset", learn_out_scaling=True)


MODELS = {
    "ecram": lambda: preset(
        "EcRamPreset", weight_scaling_omega=0.6, learn_out_scaling=True
    ),
    "tiki_taka": lambda: preset(
        "TikiTakaReRamSBPreset",
        weight_scaling_omega=0.6,
        learn_out_scaling=True,
        out_scaling_columnwise=True,
    ),
    "chopped": lambda: preset("ChoppedTTv2EcRamPreset"),
    "agad": lambda: preset("AGADReRamESPreset"),
    "buffered": buffered,
    "mixed_precision": lambda: preset("MixedPrecisionReRamSBPreset"),
    "mixed_pair": mixed_pair,
    "sequential": sequential,
    "drifting": drifting,
    "vector": lambda: preset("ReRamES2Preset"),
    "one_sided": lambda: preset("PCMPreset"),
    "digits": lambda: digits("EcRamPreset"),
    "digits_hwa": lambda: digits("StandardHWATrainingPreset"),
    "hardware_aware": hardware_aware,
    "torch_tile": torch_tile,
    "convolution": convolution,
    "lstm": recurrent,
    "combined": combined,
    "analog_bias": analog_bias,
    "deviations": deviations,
}

if __name__ == "__main__":
    main()
