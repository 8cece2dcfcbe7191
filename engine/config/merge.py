"""One way to lay settings over others, whatever they are settings of.

A section says by one of its keys what it is about: `device.model`, `model.name` and so on. Values
of one model mean nothing to another one, and what was said about it was said about that one alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What a section says about itself; it decides no result.
TEXTS = ("about", "source")
# The key by which a section says what it is about.
KIND_KEY = {
    "device": "model",
    "algorithm": "name",
    "inference": "noise_model",
    "model": "name",
    "dataset": "name",
    "optimizer": "name",
}
KIND_KEYS = tuple(dict.fromkeys(KIND_KEY.values()))


def names_kind(group: str, section: Any) -> bool:
    """Whether a section says by itself what it is about, so that it needs nothing below it."""
    return (
        isinstance(section, Mapping)
        and section.get(KIND_KEY.get(group, "")) is not None
    )


def overlay(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `top` over it; mappings are merged, everything else is replaced.

    Where `top` names another kind, the other values stay: a device of another model may keep its
    bounds. What is said about the old one goes."""
    merged = without_texts(base) if _is_other_kind(base, top) else dict(base)
    for key, value in top.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = overlay(old, value)
        else:
            merged[key] = value
    return merged


def without_texts(section: Mapping[str, Any]) -> dict[str, Any]:
    """A section without what it says about itself."""
    return {key: value for key, value in section.items() if key not in TEXTS}


def _is_other_kind(base: Mapping[str, Any], top: Mapping[str, Any]) -> bool:
    """Whether `top` gives a kind other than that of `base`, which must have one."""
    return any(
        isinstance(base.get(key), str) and key in top and top[key] != base[key]
        for key in KIND_KEYS
    )
