"""The table of a network: layers, tiles, their use, parameters."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn

from engine.nn import analog_summary, analog_tiles, convert_to_analog
from tests.nn.layers import EXAMPLES, LAYERS, NOISY, PERFECT, make, spec


class Net(nn.Module):
    """A convolution, a normalisation, a layer that is used twice, a layer that is never reached."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = (
            nn.Conv2d(3, 8, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
        )
        self.fc, self.rest = nn.Linear(32, 32), nn.Linear(2, 2)
        self.same = self.fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.act(self.norm(self.conv(x))).flatten(1)
        return self.same(self.fc(h))


def test_layers_tiles_and_totals() -> None:
    tile = spec(NOISY, max_input_size=16, max_output_size=0)
    model = convert_to_analog(Net(), tile, layers={"rest": None})
    found = analog_summary(model, (2, 3, 4, 4))
    rows = {row.layer: row for row in found.rows}
    assert list(rows) == ["conv", "norm", "fc", "rest"]
    conv, norm, fc, rest = rows.values()
    assert (conv.kind, conv.output, conv.tiles, conv.weights) == (
        "AnalogConv2d",
        "8 x 2 x 2",
        2,
        "8 x 27",
    )
    assert (conv.tile_size, conv.cells, conv.reads, conv.digital) == (
        "2 of 8 x 16",
        8 * 27,
        4,
        2,
    )
    assert conv.utilisation == pytest.approx(27 / 32)
    assert (conv.device, conv.algorithm) == ("soft_bounds", "sgd")
    assert (norm.kind, norm.tiles, norm.digital, norm.utilisation) == (
        "BatchNorm2d",
        0,
        16,
        0,
    )
    assert (fc.tiles, fc.reads, fc.cells, fc.digital, fc.utilisation) == (
        2,
        2,
        1024,
        32 + 2,
        1,
    )
    assert (rest.kind, rest.output, rest.digital) == ("Linear", "not reached", 6)
    totals = found.totals
    assert (
        totals["tiles"] == 4
        and totals["cells"] == 216 + 1024
        and totals["digital"] == 2 + 16 + 34 + 6
    )
    assert totals["utilisation"] == pytest.approx(1240 / (256 + 1024))
    assert totals["parameters"] == sum(p.numel() for p in model.parameters())
    lines = str(found).splitlines()
    assert " ".join(lines[0].split()).startswith(
        "layer kind output tiles weights tile cells used reads digital"
    )
    assert lines[1].split()[:3] == ["conv", "AnalogConv2d", "8"] and "84.4%" in lines[1]
    assert (
        lines[-1]
        == "1,298 parameters: 1,240 in cells of 4 tiles, 96.9% used; 58 digital"
    )
    assert json.loads(json.dumps(found.as_data()))["totals"]["tiles"] == 4


@pytest.mark.parametrize(
    "kind",
    [k for k in LAYERS if "Attention" not in k.__name__],
    ids=lambda kind: kind.__name__,
)
def test_every_layer_has_all_its_parameters_in_the_table(kind: type) -> None:
    layer = make(kind, PERFECT)
    found = analog_summary(layer, (2, *EXAMPLES[kind].sample))
    assert found.totals["parameters"] == sum(p.numel() for p in layer.parameters())
    assert found.rows[0].layer == "module" and found.totals["analog_layers"] == 1
    assert found.rows[0].reads >= 1


def test_a_recurrent_layer_is_read_once_a_time_step() -> None:
    layer = convert_to_analog(nn.LSTM(4, 3, 2, batch_first=True), spec(PERFECT))
    row = analog_summary(layer, (5, 7, 4)).rows[0]
    assert (row.reads, row.output, row.weights) == (7, "7 x 3", "12 x 4, 3 of 12 x 3")


def test_the_model_stays_as_it_was() -> None:
    model = convert_to_analog(Net(), spec(NOISY)).train()
    model.norm.eval()
    before, calls = (
        copy.deepcopy(model.state_dict()),
        [t.tile.array.calls for t in analog_tiles(model)],
    )
    analog_summary(model, torch.randn(2, 3, 4, 4))
    assert model.training and not model.norm.training and model.fc.training
    assert [t.tile.array.calls for t in analog_tiles(model)] == calls
    after = model.state_dict()
    assert all(
        torch.equal(before[k], after[k]) for k in before if "extra_state" not in k
    )
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_digital_network_has_no_tiles() -> None:
    assert (
        analog_summary(nn.Linear(3, 2), (1, 3)).last_line()
        == "8 parameters: 0 in cells of no tiles; 8 digital"
    )
