"""Distributions of programmed and drifted conductances against the published formulas."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.inference import Converter, InferenceSpec
from engine.inference.base import find_noise_model
from engine.inference.conductance import Conductances

CELLS = 40000


def made(spec: InferenceSpec, conductance: float) -> Conductances:
    """Cells of one conductance on the first device, with one largest weight that fixes the
    scale."""
    reach = spec.converter.g_max - spec.converter.g_min
    w = torch.full((1, CELLS), (conductance - spec.converter.g_min) / reach)
    w[0, -2:] = torch.tensor([0.0, 1.0])
    found = Conductances(find_noise_model(spec.noise_model), spec, w, [3])
    found.program(w)
    return found


def read(found: Conductances, time: float) -> Tensor:
    """Conductances [cells] of the first device at a time, from the weights that they make alone."""
    found.g[1:], found.kept[1:] = 0.0, 0.0
    reach = found.spec.converter.g_max - found.spec.converter.g_min
    return found.drift(time).flatten()[:-2] * reach + found.spec.converter.g_min


def near(values: Tensor, mean: float, std: float) -> None:
    count = values.numel()
    assert abs(float(values.mean()) - mean) < 4 * std / math.sqrt(count) + 1e-4 * abs(
        mean
    )
    assert float(values.std()) == pytest.approx(
        std, rel=4 / math.sqrt(2 * count) + 1e-3
    )


def test_pcm_at_10_of_25_microsiemens() -> None:
    found = made(InferenceSpec("pcm"), 10.0)
    sigma = 0.26348 + 1.965 * 0.4 - 1.1731 * 0.16
    near(found.g[0].flatten()[:-2], 10.0, sigma)
    near(found.kept[0, 0].flatten()[:-2], 0.049, 0.008)
    assert float((found.g[1] == 0).float().mean()) == pytest.approx(
        0.5, abs=0.01
    )  # noise below 0 is cut
    assert float(found.kept.min()) >= 0


def test_pcm_reads_and_drifts() -> None:
    found = made(
        InferenceSpec("pcm", noise={"prog_noise_scale": 0.0, "drift_scale": 0.0}), 10.0
    )
    relative = 0.0088 / 0.4**0.65
    for time in (0.0, 3600.0):
        root = math.sqrt(math.log((time + 20 + 250e-9) / 500e-9))
        near(read(found, time), 10.0, 10 * relative * root)
    quiet = {
        "prog_noise_scale": 0.0,
        "read_noise_scale": 0.0,
        "nu_std_min": 0.0,
        "nu_std_max": 0.0,
    }
    found = made(InferenceSpec("pcm", noise=quiet), 10.0)
    for time in (0.0, 86400.0, 3.1536e7):
        drifted = read(found, time)
        assert float(drifted.std()) < 1e-5
        assert float(drifted.mean()) == pytest.approx(
            10 * ((time + 20) / 20) ** -0.049, rel=1e-5
        )


def test_cmo_at_50_microsiemens() -> None:
    found = made(InferenceSpec("reram_cmo"), 50.0)
    near(found.g[0].flatten()[:-2], 50.0, 0.00081107 + 0.00106879 * 50)
    time = 3600.0
    change = 0.04201137 * math.log(time) + 0.41183342
    noise = 0.0277316483 * math.log10(50) * math.sqrt(math.log(time / 2e-6))
    near(
        read(found, time),
        50 - 0.08900206 * math.log(time),
        math.hypot(0.0542506, change, noise),
    )


@pytest.mark.parametrize(("time", "row"), [(1.0, 0), (86400.0, 1), (172800.0, 2)])
def test_wan_forgets_what_was_programmed(time: float, row: int) -> None:
    spec = InferenceSpec(
        "reram_wan2022", converter=Converter("single_device", g_max=40.0)
    )
    found = made(spec, 20.0)
    coefficients: list[Any] = spec.noise["coeff"][5 * row : 5 * row + 5]
    near(read(found, time), 20.0, sum(c * 0.5**k for k, c in enumerate(coefficients)))
    between = float(read(found, 1e3).std())
    assert float(read(found, 1.0).std()) < between < float(read(found, 86400.0).std())


def test_write_verify_stays_within_its_band() -> None:
    plain = made(InferenceSpec("pcm"), 10.0).g[0].flatten()[:-2]
    verified = (
        made(InferenceSpec("pcm", programming="write_verify"), 10.0).g[0].flatten()[:-2]
    )
    sigma, band = 0.26348 + 1.965 * 0.4 - 1.1731 * 0.16, 0.25
    inside = math.erf(band / sigma / math.sqrt(2))
    assert float(((plain - 10).abs() <= band).float().mean()) == pytest.approx(
        inside, abs=0.01
    )
    assert (
        float(((verified - 10).abs() <= band).float().mean())
        > 1 - (1 - inside) ** 55 - 1e-4
    )
    # What is accepted is nearly uniform in so narrow a band.
    near(verified, 10.0, band / math.sqrt(3) * 0.991)
    few = (
        made(InferenceSpec("pcm", programming="write_verify", verify_rounds=3), 10.0)
        .g[0]
        .flatten()[:-2]
    )
    assert float(((few - 10).abs() <= band).float().mean()) == pytest.approx(
        1 - (1 - inside) ** 3, abs=0.01
    )
