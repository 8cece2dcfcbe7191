"""Noise models and converters of a set-up as the settings of this engine."""

from __future__ import annotations

from engine.exchange.aihwkit import noise
from engine.exchange.aihwkit.lost import Losses, Untranslatable
from engine.inference.settings import InferenceSpec
from tests.golden.setups import NotBuilt, Object


def inference_spec(setup: Object) -> InferenceSpec:
    """The noise model of a set-up with its converter, drifting as the release does. Raises NotBuilt
    for what this engine does not have."""
    losses = Losses()
    try:
        values = noise.noise_model(setup, losses)
    except Untranslatable as problem:
        raise NotBuilt(str(problem)) from problem
    if losses.that_matter:
        raise NotBuilt("; ".join(map(str, losses.that_matter)))
    return InferenceSpec.from_config({**values, "reconvert": True})
