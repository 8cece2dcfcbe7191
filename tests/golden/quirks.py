"""What a set-up meant to the reference release beside its settings: whether anything learns."""

from __future__ import annotations

from typing import Any

from engine.exchange.aihwkit import words
from engine.exchange.aihwkit.released import without_pulses

Values = dict[str, Any]


def learns(device: Values, update: Values) -> bool:
    """Whether the release changes any weight at all."""
    lost = device["class"] in words.GROUPS and update["pulse_type"] == "NoneWithDevice"
    return not (lost or without_pulses(update))
