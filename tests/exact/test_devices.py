"""Conformance of every device model and device preset found: declaration, documentation, bounds,
threads, response."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from engine.devices import device_names, find_device
from engine.devices.base import Device
from engine.presets import find_member, load_member, members
from engine.settings import packaged_data
from engine.tile.cells import CellArray
from engine.tile.group import CellGroup, make_array
from engine.tile.pulses import probe
from engine.tile.settings import DeviceSpec, Update, device_keys, device_spec
from tests.naive.formulas import FORMULAS

MODELS = device_names()
PULSED = [name for name in MODELS if not find_device(name).ideal]
VOCABULARY = {
    "noise",
    "uniform",
    "exp_",
    "log_",
    "pow_",
    "sqrt_",
    "abs_",
    "min_",
    "max_",
    "floor_",
    "round_",
    "clamp_",
}
C_WORDS = {"if", "for", "int"}
NO_SPREAD = {
    "dw_min_dtod": 0.0,
    "up_down_dtod": 0.0,
    "w_min_dtod": 0.0,
    "w_max_dtod": 0.0,
}
# The models at their defaults, each preset, and tables that are no straight line.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in PULSED},
    "curve": ("soft_bounds_pmax", {"exact_curve": True}),
    "slopes": ("linear_step", {"gamma_up": 0.4, "gamma_down": 0.7}),
    "exponents": ("pow_step", {"pow_gamma": 1.7, "pow_up_down": 0.2, "up_down": 0.1}),
    "symmetric": ("pow_step_reference", {"subtract_symmetry_point": True, "reference_std": 0.05, "up_down": 0.2}),
    "reference": ("soft_bounds_reference", {"subtract_symmetry_point": True, "reference_mean": 0.02, "up_down": 0.2}),
    "nodes": ("piecewise_step", {"piecewise_up": [1.6, 1.2, 1.0, 0.6], "piecewise_down": [0.1, 0.5, 1.3, 1.5]}),
    "table": ("table_step", {"table_up": [2.0, 1.0, 0.0], "table_down": [0.0, 1.0, 3.0], "table_up_std": [0.0] * 3,
                             "table_down_std": [0.0] * 3}),
}  # fmt: skip


def preset_spec(name: str) -> DeviceSpec:
    return device_spec(load_member("device", name))


def specs() -> dict[str, DeviceSpec]:
    """A specification for each model and each preset."""
    return {name: DeviceSpec(name) for name in MODELS} | {
        f"preset-{name}": preset_spec(name) for name in members("device")
    }


def declared(model: str) -> Device:
    return find_device(model)


@pytest.mark.parametrize("model", MODELS)
def test_declaration_is_complete(model: str) -> None:
    device = declared(model)
    assert device.name == model
    assert device.about.endswith(".") and device.formula and device.source
    assert "doi:" in device.source or "arXiv" in device.source
    for name, param in device.params.items():
        assert param.meaning, f"{name} has no meaning"
        assert isinstance(param.default, int | float | list | bool), name
    for name, meaning in {**device.cells, **device.states}.items():
        assert meaning, f"{name} has no meaning"
    full = device.validate({})
    assert device.validate(full) == full
    assert set(full) == set(device.params)
    assert set(device.noise_scales) <= set(full) and set(device.probe_values) <= set(
        full
    )


@pytest.mark.parametrize("model", MODELS)
def test_physical_parameters_have_a_unit(model: str) -> None:
    """A number that scales with the weight or with time says so; shares, exponents and switches may
    do without."""
    device = declared(model)
    physical = (
        "dw_min",
        "w_min",
        "w_max",
        "reset",
        "diffusion",
        "lifetime",
        "drift_t_0",
        "reference",
        "write_noise",
        "range",
    )
    for name, param in device.params.items():
        if name.startswith(physical) and not isinstance(param.default, bool):
            assert param.unit, f"{name} has no unit"


@pytest.mark.parametrize("model", MODELS)
def test_snippets_keep_to_the_vocabulary(model: str) -> None:
    device = declared(model)
    for snippet in (device.construct, device.step, device.bounds):
        assert set(re.findall(r"(\w+)\s*\(", snippet)) - C_WORDS <= VOCABULARY
        assert set(re.findall(r"\bp\.(\w+)", snippet)) <= {
            *device.params,
            *(f"{name}_n" for name in device.params),
        }
        assert not re.findall(r"(?<![\w.])\d+\.\d*(?![\df])", snippet), (
            "a constant without f is a double"
        )


@pytest.mark.parametrize("model", MODELS)
def test_wrong_values_are_refused_in_one_line(model: str) -> None:
    device = declared(model)
    for name, param in device.params.items():
        for limit, beyond in (
            (param.minimum, -1.0),
            (param.maximum, 1.0),
            (param.above, 0.0),
        ):
            if limit is not None:
                with pytest.raises(ValueError, match=rf"^{name} must be [^\n]*$"):
                    device.validate({name: param.kind(limit + beyond)})
        with pytest.raises(ValueError, match=rf"^{name} must be [^\n]*$"):
            device.validate({name: "much"})
    with pytest.raises(ValueError, match=r"no parameter 'lifetme'; nearest: lifetime"):
        device.validate({"lifetme": 1.0})


@pytest.mark.parametrize("name", members("device"))
def test_preset_gives_every_number_with_its_meaning(name: str) -> None:
    values = load_member("device", name)
    assert values["about"] and values["source"]
    spec = preset_spec(name)
    assert set(values) <= {"model", "about", "source", *device_keys(spec.model)}
    path = find_member("device", name)
    if packaged_data() in path.parents:
        assert len(path.read_text().splitlines()) <= 40


@pytest.mark.parametrize("name", specs())
def test_bounds_hold_and_threads_do_not_matter(name: str) -> None:
    spec, before = specs()[name], torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(_busy_array(spec))
    finally:
        torch.set_num_threads(before)
    if (
        spec.model in MODELS and find_device(spec.model).ideal
    ):  # torch's own product, whose sums depend on its threads
        torch.testing.assert_close(results[0], results[1])
    else:
        assert torch.equal(results[0], results[1]) and torch.equal(
            results[0], results[2]
        )


def _busy_array(spec: DeviceSpec) -> torch.Tensor:
    """All weights and constants after pulses, updates and the end of a mini-batch, bounds checked
    after each."""
    array = make_array(33, 40, spec, seed=5)
    draw = torch.Generator().manual_seed(1)
    array.set_weights(torch.randn(33, 40, generator=draw) * 0.2)
    for n in (40, -90, 5):
        array.pulse(n)
        check_bounds(array)
    for size in (3, 200):
        x, d = torch.randn(8, 40, generator=draw), torch.randn(8, 33, generator=draw)
        array.update(x, d, size * array.granularity, Update())
        check_bounds(array)
    array.end_of_batch()
    array.reset(3, 10, 0.5)
    array.drift(10.0)
    return torch.cat(
        [
            array.weight.detach().flatten(),
            *(part.cells.flatten() for part in single_arrays(array)),
        ]
    )


def single_arrays(array: CellArray | CellGroup) -> list[CellArray]:
    return [array] if isinstance(array, CellArray) else list(array.arrays)


def check_bounds(array: CellArray | CellGroup) -> None:
    """Hidden weights lie between the bounds of their cells (of the raw weight, where there is a
    reference)."""
    assert bool(torch.isfinite(array.weight).all())
    for single in single_arrays(array):
        if single.model.ideal:
            continue
        shift = (
            single.parameter("reference")
            if "reference" in single.layout.cells
            else torch.zeros(())
        )
        low, high = (
            single.parameter(bound) - shift for bound in ("min_bound", "max_bound")
        )
        assert bool(((single.persistent >= low) & (single.persistent <= high)).all())


@pytest.mark.parametrize("model", PULSED)
def test_pulses_leave_a_stuck_cell_where_it_is(model: str) -> None:
    """But against a reference soft bounds hold for the raw weight, which the first pulse pulls to
    its stuck value."""
    reference = {
        "reference_mean": 0.1,
        "reference_std": 0.05,
        "w_max": 1.0,
        "w_min": -1.0,
    }
    known = {
        name: value
        for name, value in reference.items()
        if "reference_mean" in declared(model).params
    }
    array = CellArray(
        6, 40, DeviceSpec(model, {"corrupt_devices_prob": 0.5, **known}), seed=3
    )
    stuck = array.parameter("min_bound") == array.parameter("max_bound")
    assert 0 < stuck.sum() < stuck.numel()
    array.set_weights(torch.full((6, 40), 0.3))
    held = array.parameter("max_bound")[stuck]
    torch.testing.assert_close(array.weight.detach()[stuck], held, rtol=0, atol=0)
    if model == "soft_bounds_reference":
        held = held - array.parameter("reference")[stuck]
    x_BI, d_BO = (
        torch.randn(8, 40, generator=torch.Generator().manual_seed(1)),
        torch.ones(8, 6),
    )
    for change in (
        lambda: array.pulse(3),
        lambda: array.pulse(-5),
        lambda: array.update(x_BI, d_BO, 0.1, Update()),
    ):
        before = array.weight.detach().clone()
        change()
        torch.testing.assert_close(array.weight.detach()[stuck], held, rtol=0, atol=0)
        assert not torch.equal(array.weight.detach(), before), "other cells move"


def test_every_pulsed_model_has_a_formula() -> None:
    assert set(PULSED) == set(FORMULAS), (
        "tests/naive/formulas.py holds the step of each model in double precision"
    )


@pytest.mark.parametrize("case", CASES)
def test_noise_free_response_equals_the_formula(case: str) -> None:
    model, values = CASES[case]
    # Slopes of the linear step are drawn; other spreads stay and enter through the constants of the
    # cells.
    quiet = {
        name: 0.0
        for name in ("dw_min_std", "gamma_up_dtod", "gamma_down_dtod")
        if name in declared(model).params
    }
    if model == "soft_bounds_pmax":
        quiet |= NO_SPREAD
    array = CellArray(5, 30, DeviceSpec(model, values | quiet), seed=7)
    share = np.random.default_rng(3).uniform(0.02, 0.98, (5, 30))
    cells = {
        name: array.parameter(name).numpy().astype(float) for name in array.layout.cells
    }
    start = (
        cells["min_bound"]
        + share * (cells["max_bound"] - cells["min_bound"])
        - cells.get("reference", 0.0)
    )
    for up in (True, False):
        moved = probe(array, torch.from_numpy(start.astype(np.float32)), up=up).numpy()
        expected = FORMULAS[model](start, up, array.spec.params, cells)
        # Float32 weights near 1 resolve 6e-8; a hundredth of a per cent is left to the elementary
        # functions.
        np.testing.assert_allclose(moved - start, expected, atol=2e-7, rtol=1e-4)


@pytest.mark.parametrize("model", PULSED)
def test_granularity_is_the_step_that_the_literature_counts(model: str) -> None:
    expected = {
        "pow_step": 0.001 * 0.5,
        "pow_step_reference": 0.001 * 0.5,
        "exp_step": 0.001 * (1 - 0.36833 * np.exp(-12.78785 * 0.2425)),
        "soft_bounds_pmax": 2 / (1 - np.exp(-0.5)) * 0.0005,
    }
    assert CellArray(1, 1, DeviceSpec(model)).granularity == pytest.approx(
        expected.get(model, 0.001), rel=1e-5
    )


def test_granularity_of_presets_and_options() -> None:
    assert CellArray(1, 1, preset_spec("reram_es")).granularity == pytest.approx(
        0.00199144, rel=1e-5
    )
    assert CellArray(1, 1, preset_spec("pcm")).granularity == pytest.approx(
        0.03235, rel=1e-5
    )
    uneven = DeviceSpec(
        "piecewise_step",
        {
            "piecewise_up": [1.0, 2.0, 3.0, 4.0],
            "piecewise_down": [1.0] * 4,
            "up_down": -0.5,
        },
    )
    assert CellArray(1, 1, uneven).granularity == pytest.approx(0.003, rel=1e-4)
    slanted = DeviceSpec(
        "pow_step", {"pow_gamma": 1.5, "pow_up_down": -0.3, "up_down": 0.4}
    )
    assert CellArray(1, 1, slanted).granularity == pytest.approx(
        0.001 * 0.5**1.5, rel=1e-5
    )


def test_pmax_gives_the_parameters_of_soft_bounds() -> None:
    values = declared("soft_bounds_pmax").validate({})
    assert values["w_max"] == pytest.approx(4.08299, rel=1e-5)
    assert values["dw_min"] == pytest.approx(0.00254149, rel=1e-5)
    assert values["up_down"] == pytest.approx(0.606531, rel=1e-5)
    exact = CellArray(
        1,
        1,
        DeviceSpec(
            "soft_bounds_pmax", {"exact_curve": True, "dw_min_std": 0.0, **NO_SPREAD}
        ),
    )
    exact.set_weights(torch.full((1, 1), -1.0))
    exact.pulse(1000)
    assert float(exact.weight.detach()) == pytest.approx(1.0, abs=2e-3)
    with pytest.raises(
        ValueError, match=r"dw_min follows from others and is 0\.00254149, not 0\.1"
    ):
        declared("soft_bounds_pmax").validate({"dw_min": 0.1})


def test_symmetry_point_is_where_up_and_down_steps_are_equal() -> None:
    for model in ("soft_bounds_reference", "pow_step_reference"):
        params = {
            "subtract_symmetry_point": True,
            "up_down": 0.2,
            "dw_min_std": 0.0,
            "w_min_dtod": 0.1,
            "w_max_dtod": 0.1,
        }
        array = CellArray(4, 25, DeviceSpec(model, params), seed=2)
        zero = torch.zeros(4, 25)
        up, down = probe(array, zero, up=True), probe(array, zero, up=False)
        assert torch.allclose(up, -down, atol=2e-9, rtol=1e-4)
        assert bool((array.parameter("reference").abs() > 1e-3).any())
