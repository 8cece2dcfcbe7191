"""Kernels of hardware-aware training on an emulated GPU equal those of a CPU bit by bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.algorithms.parts import factors, input_range, modify
from engine.jit import source
from engine.nn import AnalogLinear, analog_tiles
from engine.optim import AnalogSGD
from engine.tile.settings import TileSpec
from tests.exact.emulated_gpu import EmulatedProgram

# More rows than the warps of a block take at once; several blocks of columns, and a part of one;
# more vectors than are loaded together.
OUT, IN, BATCH, STEPS = 270, 140, 37, 2
SETTINGS: dict[str, dict[str, Any]] = {
    "channels": {
        "clip": {"type": "AverageChannelMax"},
        "remap": {"type": "ChannelwiseSymmetric", "max_scale_range": 1.2},
        "modifier": {"type": "AddNormal", "std_dev": 0.1, "pdrop": 0.1},
        "input_range": {
            "enable": True,
            "init_from_data": 1,
            "manage_output_clipping": True,
        },
        "mapping": {"learn_out_scaling": True, "out_scaling_columnwise": True},
        "forward": {
            "out_bound": 2.0,
            "bound_management": "None",
            "noise_management": "None",
        },
    },
    "clipped": {
        "clip": {"type": "LayerGaussian", "sigma": 1.5},
        "mapping": {"learn_out_scaling": True},
    },
    "layer": {
        "remap": {"type": "LayerwiseSymmetric"},
        "modifier": {"type": "PCMNoise"},
        "input_range": {"enable": True, "init_from_data": 0, "stop_at_range": True},
        "mapping": {"learn_out_scaling": True},
    },
}


def train(settings: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The state of a layer after some steps, and what they gave."""
    spec = {
        "device": {"model": "ideal"},
        "algorithm": {"name": "hwa"},
        "tile": settings,
    }
    torch.manual_seed(1)
    layer = AnalogLinear(IN, OUT, tile=TileSpec.from_config(spec), seed=2)
    # The last row decides a maximum over all rows.
    next(analog_tiles(layer)).tile.weight.data[-1].mul_(3)
    optimizer = AnalogSGD(layer.parameters(), lr=1e-4)
    numbers = torch.Generator().manual_seed(3)
    found = {}
    for step in range(STEPS):
        x = (2 * torch.randn(BATCH, IN, generator=numbers)).requires_grad_(True)
        optimizer.zero_grad()
        y = layer(x)
        y.backward(torch.randn(BATCH, OUT, generator=numbers))
        optimizer.step()
        assert x.grad is not None
        found |= {f"y {step}": y.detach(), f"gradient {step}": x.grad}
    return found | {
        f"state {name}": value for name, value in layer.state_dict().items()
    }


@pytest.mark.parametrize("name", SETTINGS)
def test_emulated_training_equals_that_of_a_cpu(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(SETTINGS[name])
    program = EmulatedProgram(source.training_text())
    ran: set[str] = set()
    run = EmulatedProgram.run

    def noted(self: EmulatedProgram, kernel: str, *args: Any, **how: Any) -> None:
        ran.add(kernel)
        run(self, kernel, *args, **how)

    monkeypatch.setattr(EmulatedProgram, "run", noted)
    for part in (factors, input_range, modify):
        monkeypatch.setattr(part, "training_program", lambda backend: program)
    found = train(SETTINGS[name])
    assert {"row_figures", "settle_limits", "settle_rows"} <= ran
    assert {"scale_outputs", "learn_scale"} <= ran
    if "input_range" in SETTINGS[name]:
        assert {"modify_rows", "cut_inputs", "pull_range", "learn_range"} <= ran
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert torch.isfinite(value).all(), key
            assert torch.equal(found[key], value), key
