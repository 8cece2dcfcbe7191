"""Hardware-aware training agrees with the slow version in tests/naive bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from engine.algorithms.parts.input_range import LearnedRange
from engine.algorithms.parts.modify import TRAINING_STREAM, modify, settle
from engine.config.hwa import (
    CLIPS,
    MODIFIERS,
    REMAPS,
    InputRange,
    WeightClip,
    WeightModifier,
    WeightRemap,
)
from engine.tile.cells import CellArray
from engine.tile.settings import DeviceSpec
from tests.naive import modifier as naive
from tests.naive.draws import Source

OUT, IN = 5, 141  # more than a block of 128, and no multiple of 32
STEPS = {"res": 0.13}
PCM = {"std_dev": 1.0, "g_max": 20.0, "pcm_t_inference": 100.0}
STUCK = {
    "pcm_prob_at_reset": 0.2,
    "pcm_prob_at_gmax": 0.3,
    "pcm_prob_at_random": 0.2,
    "pcm_zero_thres": 2.0,
}
CASES: dict[str, dict[str, Any]] = {
    **{name: {"type": name, "std_dev": 0.1, "pdrop": 0.2, **STEPS} for name in MODIFIERS},
    "MultNormal torch": {"type": "MultNormal", "std_dev": 0.2, "convention": "Torch"},
    "Discretize torch": {"type": "Discretize", "convention": "Torch", **STEPS},
    "Discretize stochastic": {"type": "Discretize", "sto_round": True, "res": 9.0},
    "DoReFa stochastic": {"type": "DoReFa", "sto_round": True, "dorefa_clip": 0.7, **STEPS},
    "assumed": {"type": "AddNormal", "std_dev": 0.1, "rel_to_actual_wmax": False, "assumed_wmax": 1.7},
    "per channel": {"type": "AddNormal", "std_dev": 0.1, "per_channel": True},
    "steps per channel": {"type": "DiscretizeAddNormal", "std_dev": 0.1, "per_channel": True, **STEPS},
    "bias per channel": {"type": "AddNormal", "std_dev": 0.1, "per_channel": True, "copy_last_column": True},
    "bias": {"type": "AddNormal", "std_dev": 0.1, "copy_last_column": True},
    "ProgNoise mirrored": {"type": "ProgNoise", "std_dev": 4.0, "coeffs": [1.0, 1.0]},
    "Poly of 8": {"type": "Poly", "std_dev": 0.1, "coeffs": [0.1 * k for k in range(8)]},
    "PCMNoise": {"type": "PCMNoise", **PCM},
    "PCMNoise stuck": {"type": "PCMNoise", **PCM, **STUCK},
    "PCMNoise at once": {"type": "PCMNoise", "std_dev": 0.5},
}  # fmt: skip


def numbers(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def same(found: torch.Tensor, wanted: np.ndarray | None) -> bool:
    assert wanted is not None
    return np.array_equal(found.detach().cpu().numpy(), wanted.astype(np.float32))


@pytest.mark.parametrize("name", CASES)
def test_modifier(name: str) -> None:
    settings = WeightModifier(**CASES[name])
    array, weight = (
        CellArray(OUT, IN, DeviceSpec("ideal"), seed=3, tile_id=4),
        0.3 * numbers(OUT, IN, seed=1),
    )
    array.set_weights(torch.from_numpy(weight))
    low, high = (int(v) & 0xFFFFFFFF for v in array.control[0, :2])
    out = torch.full((OUT, IN), float("nan"))
    modify(array, settings, out, call=7, stream=TRAINING_STREAM)
    wanted = naive.modify(weight, settings, Source((low, high), 7), TRAINING_STREAM)
    assert same(out, wanted)
    changed = settings.type not in ("None", "Copy") or settings.pdrop > 0
    assert not changed or not same(out, weight), "it does something"
    modify(array, settings, out, call=8, stream=TRAINING_STREAM)
    random = settings.std_dev or settings.pdrop or settings.sto_round
    assert same(out, wanted) != bool(random), "another call draws other numbers"


@pytest.mark.parametrize("fixed", [-1.0, 0.5])
@pytest.mark.parametrize("remap", REMAPS)
@pytest.mark.parametrize("clip", CLIPS)
def test_clip_and_remap(clip: str, remap: str, fixed: float) -> None:
    weight, scale = 0.4 * numbers(OUT, IN, seed=2), 1 + np.arange(OUT, dtype=np.float32)
    weight[3] = 0
    limits, mapping = (
        WeightClip(clip, fixed, sigma=1.5),
        WeightRemap(remap, 1.0, 2.5, 0.1),
    )
    w, s = torch.from_numpy(weight.copy()), torch.from_numpy(scale.copy())
    settle(w, s, limits, remap=mapping)
    wanted, scales = naive.settle(weight, scale, limits, mapping)
    assert same(w, wanted) and same(s, scales)
    idle = remap == "None" and (clip == "None" or (clip == "FixedValue" and fixed < 0))
    assert same(w, weight) == idle


def test_remap_keeps_what_the_layer_computes() -> None:
    weight, scale = torch.from_numpy(numbers(OUT, IN, seed=5)), torch.full((OUT,), 2.0)
    before = weight * scale.view(-1, 1)
    settle(
        weight,
        scale,
        WeightClip(),
        remap=WeightRemap("ChannelwiseSymmetric", remapped_wmax=0.5),
    )
    torch.testing.assert_close(weight * scale.view(-1, 1), before)
    torch.testing.assert_close(weight.abs().amax(1), torch.full((OUT,), 0.5))


RANGES: dict[str, dict[str, Any]] = {
    "default": {}, "wide": {"init_value": 9.0}, "plain": {"gradient_relative": False, "decay": 0.0},
    "scaled": {"gradient_scale": 0.3}, "pulled": {"input_min_percentage": 0.1, "decay": 0.05},
}  # fmt: skip


@pytest.mark.parametrize("name", RANGES)
def test_input_range(name: str) -> None:
    settings = InputRange(enable=True, **{"init_value": 1.1, **RANGES[name]})
    found, x, d = (
        LearnedRange(settings),
        numbers(37, IN, seed=3),
        numbers(37, IN, seed=4),
    )
    r = np.float32(settings.init_value)
    assert same(found.cut(torch.from_numpy(x)), np.clip(x, -r, r) / r)
    got = found.gradient(torch.from_numpy(x), torch.from_numpy(d), None, width=1)
    assert same(got, np.array([naive.range_gradient(x, d, r, settings)]))


def test_the_first_batches_set_the_range() -> None:
    found, wanted = (
        LearnedRange(InputRange(enable=True, init_from_data=3, init_std_alpha=2.0)),
        np.float32(0),
    )
    for k in range(5):
        x = numbers(9, IN, seed=k) * np.float32(k + 1)
        if k < 3:
            spread = naive.Rows.of(x).deviation(IN)
            wanted = (wanted * np.float32(k) + np.float32(2) * spread) / np.float32(
                k + 1
            )
        if k == 1:
            found.observe(torch.zeros(9, IN))  # without any spread: does not count
        found.observe(torch.from_numpy(x))
        assert same(found.value, np.array([wanted]))
