"""Devices whose parameters are known are found again from their readings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.fit.device import fit_device, preset_text
from engine.fit.read import Measured, Trace
from engine.settings import UserError
from tests.fit.synthetic import trace_of

BASE = {"dw_min": 0.02, "dw_min_std": 0.5, "w_min": -0.7, "w_max": 0.8}
# Three standard errors: with some twenty parameters one beyond two is to be expected.
SIGMAS = 3.0
KNOWN: dict[str, dict[str, Any]] = {
    "soft_bounds": BASE,
    "linear_step": BASE | {"gamma_up": 0.4, "gamma_down": 0.6},
    "pow_step": BASE | {"dw_min": 0.05, "pow_gamma": 2.0, "pow_up_down": 0.0},
}


def fitted_of(model: str, *models: str, seeds: tuple[int, ...] = (1,)) -> Any:
    traces = tuple(trace_of(model, KNOWN[model], seed=seed) for seed in seeds)
    measured = Measured(traces, "uS", "long table")
    return fit_device(measured, models=models, ends=(-1.0, 1.0)), measured


@pytest.mark.slow
@pytest.mark.parametrize("model", KNOWN)
def test_known_parameters_lie_within_the_errors(model: str) -> None:
    fitted, _ = fitted_of(model, model)
    for name, truth in {**KNOWN[model], "read_noise": 0.01}.items():
        error = fitted.errors[name]
        assert error > 0.0
        if name not in ("w_min", "w_max"):
            assert np.isfinite(error)
            assert abs(fitted.mean[name] - truth) < SIGMAS * error, name


@pytest.mark.slow
def test_the_right_model_is_ranked_first_or_tied() -> None:
    fitted, _ = fitted_of("soft_bounds", "constant_step", "soft_bounds", "pow_step")
    assert "soft_bounds" in (fitted.model, *fitted.ties)
    assert fitted.ranking[-1].model == "constant_step"
    assert "constant_step" not in fitted.ties
    held_out = {one.model: one.held_out for one in fitted.ranking}
    assert held_out["soft_bounds"] < held_out["constant_step"]


def test_noise_alone_is_refused() -> None:
    random = np.random.default_rng(3)
    pulses = np.where(np.arange(200) // 50 % 2 == 0, 1.0, -1.0)
    trace = Trace("dead", random.standard_normal(201), pulses)
    with pytest.raises(UserError, match="dead: noise about one value"):
        fit_device(Measured((trace,), "S", "long table"), models=("constant_step",))


@pytest.mark.slow
def test_spreads_come_from_several_devices_and_repeat() -> None:
    fitted, measured = fitted_of("soft_bounds", "soft_bounds", seeds=(1, 2))
    text = preset_text(fitted, measured, source="pulses.csv", date="2026-01-02")
    again, _ = fitted_of("soft_bounds", "soft_bounds", seeds=(1, 2))
    assert text == preset_text(again, measured, source="pulses.csv", date="2026-01-02")
    assert "dw_min_dtod" in fitted.spreads
    # Both cells are the same device, so what differs is within the errors.
    assert fitted.spreads["dw_min_dtod"] < 0.1
