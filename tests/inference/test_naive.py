"""Every noise model and converter agrees with its slow version beside it bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from engine.inference import Converter, InferenceSpec
from engine.inference.base import find_noise_model, noise_model_names
from engine.inference.conductance import Conductances
from engine.tile.keys import derive, halves
from tests.inference.naive import MODELS, Naive

CONVERTERS: dict[str, dict[str, Any]] = {
    "single_pair": {"g_max": 25.0, "g_min": 0.5},
    "dual_pair": {"significance": [1.0, 3.0]},
    "n_pair": {"significance": [0.5, 1.0, 2.0, 4.0], "g_min": 1.0},
    "custom_pair": {
        "significance": [1.0, 2.0],
        "tables": [
            [0.0, 5.0, 15.0],
            [15.0, 5.0, 0.0],
            [1.0, 3.0, 5.5],
            [5.5, 3.0, 1.0],
        ],
        "invertible": False,
    },
    "single_device": {"g_max": 88.2, "g_min": 9.0},
}
NOISE: dict[str, dict[str, Any]] = {
    "custom_drift": {
        "nu_g": [0.0, 5.0, 40.0],
        "nu_mean": [0.1, 0.05, 0.02],
        "nu_std": [0.02, 0.01, 0.0],
    },
    "reram_wan2022": {"coeff_g_max": 40.0, "noise_scale": 0.7},
    "hermes": {"num_devices": 1},
    "state_independent": {"prog_coeff": [0.2, 0.5, -0.1]},
}
TIMES = (0.0, 1e-7, 0.3, 1.0, 25.0, 5000.0, 86400.0, 1e5, 172800.0, 3.1536e7, 1e10)
MATRICES = (2, 13, 7)  # 91 cells: not a multiple of 32


def weights() -> torch.Tensor:
    w = torch.randn(MATRICES, generator=torch.Generator().manual_seed(1)) * 0.3
    w[:, 3] = 0.0
    return w


def both(spec: InferenceSpec) -> tuple[Conductances, Naive]:
    keys = [derive(5, n) for n in range(MATRICES[0])]
    fast = Conductances(find_noise_model(spec.noise_model), spec, weights(), keys)
    low_high = [tuple(int(v) & 0xFFFFFFFF for v in halves(key)) for key in keys]
    return fast, Naive(spec, low_high)  # type: ignore[arg-type]


def flat(v: torch.Tensor) -> np.ndarray:
    return v.reshape(MATRICES[0], -1).numpy()


def check(spec: InferenceSpec) -> None:
    fast, slow = both(spec)
    np.testing.assert_array_equal(
        flat(fast.program(weights())), slow.program(flat(weights())), strict=True
    )
    for k in range(fast.devices):
        np.testing.assert_array_equal(flat(fast.g[k]), slow.g[k])
        for n, name in enumerate(fast.model.kept):
            np.testing.assert_array_equal(flat(fast.kept[k, n]), slow.kept[k][name])
    for call, time in enumerate(TIMES, 1):
        np.testing.assert_array_equal(
            flat(fast.drift(time)), slow.drift(time, call), err_msg=f"{time} s"
        )


@pytest.mark.parametrize("model", noise_model_names())
@pytest.mark.parametrize("reconvert", [False, True])
def test_noise_models(model: str, reconvert: bool) -> None:
    check(InferenceSpec(model, reconvert=reconvert, noise=NOISE.get(model, {})))


def test_every_noise_model_has_a_slow_version() -> None:
    assert set(MODELS) == set(noise_model_names())


@pytest.mark.parametrize("kind", CONVERTERS)
@pytest.mark.parametrize("model", ["pcm", "reram_cmo"])
def test_converters(kind: str, model: str) -> None:
    check(
        InferenceSpec(
            model,
            converter=Converter(kind, **CONVERTERS[kind]),
            reconvert=kind == "custom_pair",
        )
    )


@pytest.mark.parametrize("band", [0.1, 2.0])
def test_write_verify(band: float) -> None:
    check(
        InferenceSpec(
            "pcm", programming="write_verify", verify_band=band, verify_rounds=7
        )
    )


def test_noise_of_another_range_than_the_converters() -> None:
    check(InferenceSpec("hermes", noise_g_max=12.0))
