"""Conductances to a file and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engine.inference.export import load, save
from engine.nn import AnalogLinear, AnalogSequential
from engine.nn.analog import analog_tiles
from engine.settings import UserError
from engine.tile.settings import DeviceSpec, Mapping, TileSpec

SPEC = TileSpec(device=DeviceSpec("ideal"), mapping=Mapping(max_input_size=5))


def network() -> AnalogSequential:
    torch.manual_seed(1)
    return AnalogSequential(
        AnalogLinear(8, 6, tile=SPEC), AnalogLinear(6, 3, tile=SPEC)
    )


def read(path: Path) -> dict[str, list[str]]:
    return {
        row[0]: row
        for row in (line.split(",") for line in path.read_text().splitlines()[1:])
    }


def test_a_round_trip_gives_the_weights_back(tmp_path: Path) -> None:
    net, file = network(), tmp_path / "g.csv"
    before = [tile.tile.weight.detach().clone() for tile in analog_tiles(net)]
    save(net, file, g_max=20.0)
    rows = read(file)
    assert len(rows) == len(before) == 4
    for row, weight in zip(rows.values(), before, strict=True):
        assert row[1:3] == [str(n) for n in weight.shape]
        g = np.array(row[3:], dtype=float).reshape(weight.shape)
        np.testing.assert_allclose(g.max(1), 20.0, rtol=1e-6)
        np.testing.assert_allclose(
            g, 20 * weight.abs() / weight.abs().amax(1, keepdim=True), rtol=1e-5
        )
    load(net, file)
    for tile, weight in zip(analog_tiles(net), before, strict=True):
        torch.testing.assert_close(
            tile.tile.weight.detach(), weight, rtol=1e-5, atol=1e-6
        )


def test_measured_conductances_are_scaled_by_a_regression(tmp_path: Path) -> None:
    net, file = network(), tmp_path / "g.csv"
    save(net, file)
    lines = file.read_text().splitlines()
    noise = np.random.default_rng(0)
    measured, changed = {}, [lines[0]]
    for line in lines[1:]:
        name, o, i, *g = line.split(",")
        values = 0.8 * np.array(g, dtype=float) + noise.uniform(0, 2, len(g))
        measured[name] = values.reshape(int(o), int(i))
        changed.append(",".join([name, o, i, *(f"{v:.9g}" for v in values)]))
    file.write_text("\n".join(changed))
    targets = {
        n: m.tile.weight.detach().double().numpy().copy()
        for n, m in net.named_modules()
        if hasattr(m, "tile")
    }
    load(net, file)
    for name, target in targets.items():
        signed = np.sign(target) * measured[f"{name}.tile"]
        slope = [np.polyfit(x, y, 1)[0] for x, y in zip(signed, target, strict=True)]
        found = dict(net.named_modules())[name].tile.weight.detach().numpy()
        np.testing.assert_allclose(
            found, np.array(slope)[:, None] * signed, rtol=1e-4, atol=1e-6
        )


def test_one_line_for_what_does_not_fit(tmp_path: Path) -> None:
    net, file = network(), tmp_path / "g.csv"
    save(net, file)
    text = file.read_text()
    with pytest.raises(UserError, match="10 to 40 uS"):
        save(net, file, g_max=50)
    with pytest.raises(UserError, match="no analog tiles"):
        save(nn.Linear(2, 2), file)
    with pytest.raises(UserError, match="cannot read"):
        load(net, tmp_path / "none.csv")
    for wrong, message in (
        (text.rsplit("\n", 2)[0], "is not in it"),
        (text + "x,1,1,2.0\n", "'x' is only in it"),
        (text.replace(",6,4,", ",6,3,"), "has shape 6,3, not 6,4"),
        (text.rstrip().rpartition(",")[0], "must have 9 conductances"),
        (text.rstrip().rpartition(",")[0] + ",-1.0", "conductances >= 0"),
        (text.rstrip().rpartition(",")[0] + ",high", "could not convert"),
    ):
        file.write_text(wrong)
        before = [tile.tile.weight.detach().clone() for tile in analog_tiles(net)]
        with pytest.raises(UserError, match=message) as caught:
            load(net, file)
        assert "\n" not in str(caught.value)
        assert all(
            torch.equal(a, b.tile.weight)
            for a, b in zip(before, analog_tiles(net), strict=True)
        )
