"""Cells of several devices agree with their slow version, element by element, over 20 updates with
noise on."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from engine.tile.group import CellGroup, make_array
from engine.tile.settings import DeviceSpec, Update
from tests.naive.array import NaiveArray
from tests.naive.group import NaiveGroup

SHAPE = (5, 37)
SOFT = DeviceSpec("soft_bounds", {"dw_min": 0.01, "write_noise_std": 1.0})
STEP = DeviceSpec("constant_step", {"dw_min": 0.004, "dw_min_std": 0.5})
CASES: dict[str, tuple[str, dict[str, Any], list[DeviceSpec]]] = {
    "all": ("vector", {"gamma_vec": [0.7, 0.2, -0.4]}, [SOFT, STEP, SOFT]),
    "fixed": (
        "vector",
        {"policy": "fixed", "first": 1, "gamma_vec": [1, 3]},
        [STEP, SOFT],
    ),
    "sequential": ("vector", {"policy": "sequential", "first": 1, "copies": 3}, [STEP]),
    "random": ("vector", {"policy": "random", "copies": 2}, [SOFT, STEP]),
    "reference_pair": ("reference_pair", {}, [SOFT, STEP]),
    "one_sided": ("one_sided", {}, [SOFT]),
}


def group(name: str) -> CellGroup:
    model, params, devices = CASES[name]
    made = make_array(
        *SHAPE,
        DeviceSpec(model, params, dict(zip("abc", devices, strict=False))),
        seed=3,
        tile_id=4,
    )
    assert isinstance(made, CellGroup)
    return made


def slow_of(fast: CellGroup) -> NaiveGroup:
    """The slow version, with the keys of the arrays of the fast one."""
    devices = []
    for array in fast.arrays:
        key = tuple(int(v) & 0xFFFFFFFF for v in array.control[0, :2])
        devices.append(
            NaiveArray(
                array.spec.model, array.spec.params, SHAPE, key, array.granularity
            )
        )
    policy = "one_sided" if fast.spec.model == "one_sided" else fast.policy
    return NaiveGroup(devices, fast.factors, policy, fast.first)


def samples(seed: int, batch: int = 4) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [
        draw.normal(size=(batch, n)).astype(np.float32) for n in (SHAPE[1], SHAPE[0])
    ]


def assert_same(fast: CellGroup, slow: NaiveGroup) -> None:
    for array, device in zip(fast.arrays, slow.devices, strict=True):
        np.testing.assert_array_equal(array.weight.detach().numpy(), device.weight)
        np.testing.assert_array_equal(
            array.persistent.detach().numpy().ravel(), device.w
        )
    np.testing.assert_array_equal(fast.weight.detach().numpy(), slow.weight)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("lr", [0.01, -0.01])
def test_twenty_updates(name: str, lr: float) -> None:
    fast = group(name)
    slow = slow_of(fast)
    start = samples(0, SHAPE[0])[0] * np.float32(0.1)
    fast.set_weights(torch.from_numpy(start))
    slow.set_weights(start, [a.calls for a in fast.arrays])
    assert_same(fast, slow)
    for turn in range(20):
        x, d = samples(turn + 1)
        fast.update(torch.from_numpy(x), torch.from_numpy(d), lr, Update(desired_bl=7))
        slow.update(
            x,
            d,
            lr,
            Update(desired_bl=7),
            [fast.lead.calls - 1, *(a.calls for a in fast.arrays)],
        )
        assert_same(fast, slow)
    assert max(np.abs(d.w).max() for d in slow.devices) > 0.01


def test_refresh_of_one_sided_pairs() -> None:
    params = {"refresh_every": 3, "refresh_upper_thres": 0.3, "refresh_lower_thres": 0.1,
              "refresh_forward": {"is_perfect": True}, "refresh_update": {"desired_bl": 10}}  # fmt: skip
    device = DeviceSpec(
        "soft_bounds",
        {"dw_min": 0.02, "reset": 0.05, "reset_dtod": 0.02, "write_noise_std": 0.3},
    )
    fast = make_array(*SHAPE, DeviceSpec("one_sided", params, {"a": device}), seed=1)
    assert isinstance(fast, CellGroup)
    slow, update, refreshed = slow_of(fast), Update(), 0
    for turn in range(1, 21):
        x, d = samples(turn)
        before = [a.calls for a in fast.arrays]
        fast.update(torch.from_numpy(x), torch.from_numpy(d), 0.02, update)
        slow.update(x, d, 0.02, update, [before[0] + 1, before[0] + 2, before[1] + 1])
        if turn % 3 == 0:
            # The call between pulses and reset is that of the read.
            calls = [before[0] + 4, before[0] + 5, before[1] + 3, before[1] + 4]
            refreshed += fast.lead.calls > before[0] + 3
            if fast.lead.calls > before[0] + 3:
                slow.refresh((0.3, 0.1), Update(desired_bl=10), calls)
        assert_same(fast, slow)
    assert refreshed > 3


@pytest.mark.parametrize("name", CASES)
def test_state_copies_and_lanes(name: str) -> None:
    one, two = group(name), group(name)
    x, d = (torch.from_numpy(v) for v in samples(5))
    for turn in range(3):
        one.update(x, d, 0.01, Update())
        if turn == 1:
            two.load_state_dict(one.state_dict())
    two.update(x, d, 0.01, Update())
    assert torch.equal(one.weight, two.weight)
    other = copy.deepcopy(one)
    one.update(x, d, 0.01, Update())
    two.update(x, d, 0.01, Update())
    other.update(x, d, 0.01, Update())
    assert torch.equal(one.weight, two.weight)
    assert not torch.equal(one.weight, other.weight)


@pytest.mark.parametrize("name", CASES)
def test_lanes_are_single_runs(name: str) -> None:
    model, params, devices = CASES[name]
    spec = DeviceSpec(model, params, dict(zip("abc", devices, strict=False)))
    wide, single = make_array(*SHAPE, spec, seed=3, tile_id=4, lanes=2), group(name)
    for turn in range(3):
        x, d = (torch.from_numpy(v) for v in samples(turn))
        single.update(x, d, 0.01, Update())
        wide.update(torch.stack([x, -x]), torch.stack([d, d]), 0.01, Update())
    assert torch.equal(wide.weight[0], single.weight)
    assert not torch.equal(wide.weight[0], wide.weight[1])


@pytest.mark.parametrize("name", CASES)
def test_pulses_go_where_the_policy_says(name: str) -> None:
    quiet = {
        "dw_min": 0.01,
        "dw_min_dtod": 0.0,
        "dw_min_std": 0.0,
        "up_down_dtod": 0.0,
        "w_max_dtod": 0.0,
    }
    model, params, devices = CASES[name]
    cells = {
        letter: DeviceSpec("constant_step", quiet)
        for letter, _ in zip("abc", devices, strict=False)
    }
    cell = make_array(*SHAPE, DeviceSpec(model, params, cells), seed=2)
    assert isinstance(cell, CellGroup)
    cell.pulse(9)
    cell.pulse(-3)
    counted = [round(float(a.weight.data.mean()) / 0.01, 3) for a in cell.arrays]
    expected = {
        "all": [6, 6, 6],
        "fixed": [0, 6],
        "sequential": [2, 2, 2],
        "reference_pair": [6, 0],
        "one_sided": [9, 3],
    }
    assert counted == expected.get(name, counted)
    assert name != "random" or round(sum(counted)) == 6
