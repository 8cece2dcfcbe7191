"""The kernels of an array agree with the slow version in tests/naive, element by element and bit by
bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from engine.devices import device_names, find_device
from engine.presets import load_member, members
from engine.tile.cells import CellArray
from engine.tile.settings import DeviceSpec, Update, device_spec
from tests.naive.array import NaiveArray
from tests.naive.steps import STEPS

SHAPE = (4, 37)  # more than one block of 32 lines, and no multiple of 16

# Options that the presets leave at their defaults; together they reach every branch of the
# snippets.
OPTIONS: dict[str, dict[str, Any]] = {
    "constant_step-corrupt": {
        "corrupt_devices_prob": 0.3,
        "perfect_bias": True,
        "dw_min_std": 1.5,
    },
    "constant_step-log_normal": {
        "dw_min_dtod_log_normal": True,
        "up_down": -0.2,
        "up_down_dtod": 0.1,
    },
    "constant_step-inconsistent": {
        "enforce_consistency": False,
        "dw_min_dtod": 1.0,
        "w_min_dtod": 2.0,
    },
    "linear_step-individual": {
        "mean_bound_reference": False,
        "mult_noise": False,
        "gamma_up": 0.4,
    },
    "linear_step-increasing": {
        "allow_increasing": True,
        "gamma_up": -0.3,
        "write_noise_std": 3.0,
    },
    "soft_bounds-reverse": {
        "reverse_up": True,
        "reverse_down": True,
        "write_noise_std": 2.0,
    },
    "soft_bounds_pmax-fast": {
        "p_max": 400.0,
        "alpha": 0.005,
        "range_min": -0.8,
        "range_max": 0.9,
    },
    "soft_bounds_reference-one_bound": {"w_min": 0.0, "subtract_symmetry_point": True},
    "soft_bounds_reference-slopes": {
        "slope_up_dtod": 0.2,
        "slope_down_dtod": 0.1,
        "mult_noise": True,
    },
    "exp_step-complex_noise": {
        "dw_min_std_add": 0.01,
        "dw_min_std_slope": 0.02,
        "write_noise_std": 3.0,
    },
    "exp_response-steep": {"gamma": 4.0, "write_noise_std": 2.0, "dw_min_std": 1.0},
    "exp_response-stuck": {"corrupt_devices_prob": 0.5, "gamma": 0.5},
    "exp_step-stuck": {"corrupt_devices_prob": 0.5},
    "pow_step-exponents": {
        "pow_gamma": 1.5,
        "pow_up_down": 0.1,
        "pow_up_down_dtod": 0.05,
        "write_noise_std": 5.0,
    },
    "pow_step-stuck": {
        "corrupt_devices_prob": 0.5,
        "pow_gamma": 0.8,
        "pow_up_down": -0.3,
    },
    "pow_step_reference-symmetric": {
        "subtract_symmetry_point": True,
        "reference_std": 0.03,
        "dw_min": 0.02,
    },
    "pow_step_reference-pairs": {
        "subtract_symmetry_point": True,
        "n_estimation_steps": 40,
    },
    "pow_step_reference-outside": {
        "reference_mean": 0.3,
        "w_max_dtod": 1.0,
        "outside_falls": True,
    },
    "pow_step_reference-stuck": {
        "corrupt_devices_prob": 0.5,
        "reference_std": 0.1,
        "outside_falls": True,
    },
    "piecewise_step-nodes": {
        "piecewise_up": [1.6, 1.2, 1.0, 0.1],
        "piecewise_down": [0.1, 1.0, 1.3, 1.5],
    },
    "table_step-measured": {
        **{"table_up": [2.0, 1.0, 0.0], "table_down": [0.2, 1.0, 2.0]},
        **{"table_up_std": [0.3, 0.3, 0.0], "table_down_std": [0.1, 0.0, 1.0]},
    },
}


def unsigned(value: torch.Tensor) -> int:
    return int(value) & 0xFFFFFFFF


def both(spec: DeviceSpec, weight: float = 0.3) -> tuple[CellArray, NaiveArray]:
    """The array and its slow twin, with the same weights."""
    fast = CellArray(*SHAPE, spec, seed=11, tile_id=5)
    key = (unsigned(fast.control[0, 0]), unsigned(fast.control[0, 1]))
    slow = NaiveArray(spec.model, spec.params, SHAPE, key, fast.granularity)
    start = np.random.default_rng(1).uniform(-weight, weight, SHAPE).astype(np.float32)
    fast.set_weights(torch.from_numpy(start))
    slow.set_weights(start, fast.calls)
    return fast, slow


def update_both(
    fast: CellArray, slow: NaiveArray, settings: Update, *, times: int, pulses: float
) -> None:
    """Updates whose largest element makes about `pulses` pulses, with positive and negative
    products."""
    draw = np.random.default_rng(2)
    for _ in range(times):
        x, d = (
            draw.normal(size=(2, n)).astype(np.float32) for n in (SHAPE[1], SHAPE[0])
        )
        lr = pulses * fast.granularity / (np.abs(x).max() * np.abs(d).max())
        fast.update(torch.from_numpy(x), torch.from_numpy(d), float(lr), settings)
        slow.update(x, d, float(lr), settings, fast.calls)
        assert_same(fast, slow)


def assert_same(fast: CellArray, slow: NaiveArray) -> None:
    np.testing.assert_array_equal(fast.weight.detach().numpy(), slow.weight)
    np.testing.assert_array_equal(fast.persistent.detach().numpy().ravel(), slow.w)


def specs() -> dict[str, DeviceSpec]:
    """Every model at its defaults, every preset, and the options above."""
    found = {name: DeviceSpec(name) for name in device_names() if name in STEPS}
    for name in members("device"):
        spec = device_spec(load_member("device", name))
        if spec.model in STEPS:
            found[f"preset-{name}"] = spec
    return found | {
        name: DeviceSpec(name.partition("-")[0], params)
        for name, params in OPTIONS.items()
    }


def test_every_pulsed_model_that_ships_has_a_slow_version() -> None:
    assert {name for name in device_names() if not find_device(name).ideal} <= set(
        STEPS
    )


@pytest.mark.parametrize("name", specs())
def test_constants_and_updates(name: str) -> None:
    fast, slow = both(specs()[name])
    for constant in fast.layout.cells:
        np.testing.assert_array_equal(
            fast.parameter(constant).numpy().ravel(),
            slow.cells[constant],
            err_msg=constant,
        )
    update_both(fast, slow, Update(), times=20, pulses=4)
    assert np.abs(slow.w).max() > 0


UPDATES = {
    "no_management": {
        "update_bl_management": False,
        "update_management": False,
        "desired_bl": 10,
    },
    "update_management": {"update_bl_management": False, "desired_bl": 5},
    "long_trains": {
        "update_bl_management": False,
        "update_management": False,
        "fixed_bl": False,
        "desired_bl": 4,
    },
    "two_words": {"update_bl_management": False, "desired_bl": 70},
    "grad_scale": {"um_grad_scale": 0.5},
    "steps": {"res": 0.1},
    "stochastic_steps": {"res": 0.1, "sto_round": True},
    "separate_signs": {"pulse_type": "Stochastic"},
    "mean_count": {"pulse_type": "MeanCount"},
    "implicit": {
        "pulse_type": "DeterministicImplicit",
        "x_res_implicit": 0.05,
        "d_res_implicit": 0.02,
    },
    "implicit_stochastic": {
        "pulse_type": "DeterministicImplicit",
        "x_res_implicit": 0.05,
        "sto_round": True,
    },
}


@pytest.mark.parametrize("name", UPDATES)
def test_pulse_types(name: str) -> None:
    fast, slow = both(DeviceSpec("soft_bounds", {"dw_min": 0.005}))
    update_both(fast, slow, Update(**UPDATES[name]), times=4, pulses=9)


@pytest.mark.parametrize("write_noise", [0.0, 2.0])
def test_operations_on_weights(write_noise: float) -> None:
    params = {
        "write_noise_std": write_noise,
        "lifetime": 20.0,
        "lifetime_dtod": 0.2,
        "diffusion": 0.01,
        "reset_dtod": 0.1,
    }
    fast, slow = both(
        DeviceSpec("linear_step", params | {"diffusion_dtod": 0.3, "reset": 0.05})
    )
    fast.diffuse()
    slow.diffuse(fast.calls)
    fast.decay(0.7)
    slow.decay(fast.calls, 0.7)
    fast.reset(30, 12, 0.5)
    slow.reset(fast.calls, 30, 12, 0.5)
    assert_same(fast, slow)
    update_both(fast, slow, Update(), times=2, pulses=4)


@pytest.mark.parametrize("write_noise", [0.0, 2.0])
@pytest.mark.parametrize(
    "model", ["constant_step", "linear_step", "soft_bounds_reference"]
)
def test_exact_update_within_the_bounds_of_the_device(
    model: str, write_noise: float
) -> None:
    params = (
        {"write_noise_std": write_noise}
        if "write_noise_std" in find_device(model).params
        else {}
    )
    fast, slow = both(DeviceSpec(model, params))
    update_both(fast, slow, Update(pulse_type="NoneWithDevice"), times=20, pulses=60)
    at_bounds = (slow.w == slow.cells["min_bound"]) | (
        slow.w == slow.cells["max_bound"]
    )
    assert 0 < at_bounds.sum() < at_bounds.size
    update_both(fast, slow, Update(), times=2, pulses=4)


@pytest.mark.parametrize("model", ["constant_step", "ideal", "floating_point"])
def test_exact_update_without_a_device(model: str) -> None:
    """Torch sums over the samples in an order of its own: equal up to the rounding of the sum."""
    fast = CellArray(*SHAPE, DeviceSpec(model), seed=11, tile_id=5)
    slow = NaiveArray(
        "constant_step", find_device("constant_step").validate({}), SHAPE, (1, 2)
    )
    slow.w = np.random.default_rng(1).uniform(-0.3, 0.3, slow.w.size).astype(np.float32)
    fast.set_weights(torch.from_numpy(slow.w.reshape(SHAPE)))
    slow.w = fast.weight.detach().numpy().ravel().copy()
    draw = np.random.default_rng(2)
    for _ in range(20):
        x, d = (
            draw.normal(size=(2, n)).astype(np.float32) for n in (SHAPE[1], SHAPE[0])
        )
        fast.update(
            torch.from_numpy(x), torch.from_numpy(d), 0.1, Update(pulse_type="None")
        )
        slow.update(x, d, 0.1, Update(pulse_type="None"), fast.calls)
        np.testing.assert_allclose(
            fast.weight.detach().numpy(), slow.weight, rtol=1e-5, atol=1e-6
        )
    assert np.abs(slow.w).max() > 1, "no bounds act"


DRIFTS = {
    "plain": {},
    "spread": {"drift_nu_dtod": 0.3, "drift_nu_std": 0.2, "drift_w_noise_std": 0.01},
    "conductance": {
        "drift_nu_k": 0.02,
        "drift_log_g0": -1.0,
        "drift_g_offset": 2.0,
        "drift_wg_ratio": 0.7,
    },
    "both signs": {"drift_nu_k": 0.02, "drift_log_g0": -1.0},
    "offset": {
        "drift_g_offset": 0.2,
        "drift_w_offset": 0.05,
        "drift_t_0": 3.0,
        "write_noise_std": 1.0,
    },
}


@pytest.mark.parametrize("name", DRIFTS)
def test_drift(name: str) -> None:
    params = {"drift_nu": 0.1, **DRIFTS[name]}
    model = "soft_bounds" if "write_noise_std" in params else "constant_step"
    fast, slow = both(DeviceSpec(model, params))
    before = slow.w.copy()
    for round_, time in enumerate((2.0, 5.0, 100.0, 0.5, 1000.0)):
        fast.drift(time)
        slow.drift(fast.calls, time)
        assert_same(fast, slow)
        if (
            round_ == 2
        ):  # cells that get a pulse begin anew, at this time; the others drift on
            update_both(fast, slow, Update(), times=1, pulses=1)
            assert 0 < (slow.w != slow.left).sum() < slow.w.size
    assert (slow.w != before).mean() > 0.9


def test_drift_of_floating_point_weights() -> None:
    fast = CellArray(*SHAPE, DeviceSpec("floating_point", {"drift_nu": 0.1}))
    start = torch.linspace(-3, 3, SHAPE[0] * SHAPE[1]).reshape(SHAPE)
    fast.set_weights(start)
    for _ in range(4):
        fast.drift(25.0)
    torch.testing.assert_close(fast.weight.detach(), start * 100**-0.1)
