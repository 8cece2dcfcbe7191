"""A model of aihwkit as a recipe: the nearest presets, and what differs from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from engine.exchange.aihwkit.file import Source
from engine.exchange.aihwkit.lost import Losses, Untranslatable
from engine.exchange.aihwkit.settings import Translation
from engine.exchange.nearest import add_inference, key_of, layer_rule, sections, spec_of
from engine.inference import InferenceSpec
from engine.settings import UserError

Values = dict[str, Any]
Sections = Mapping[str, Any]
ABOUT = "cells of a model imported from aihwkit"


def settings_by_grid(
    source: Source, losses: Losses, *, as_released: bool = False
) -> dict[str, Values]:
    """Device, algorithm, tile and inference of every grid of a model. Raises UserError that names
    the grid whose settings have nothing like them here."""
    found: dict[str, Values] = {}
    for grid, tiles in source.tiles.items():
        translation = Translation(as_released)
        # Building the tile's settings checks all values: they come from a stranger.
        try:
            found[grid] = translation.config(tiles[0].config)
            spec_of(found[grid])
            InferenceSpec.from_config(found[grid].get("inference", {}))
        except (Untranslatable, ValueError) as problem:
            raise UserError(f"{source.path}: {grid}: {problem}") from problem
        except (KeyError, TypeError, AttributeError, IndexError) as problem:
            # Settings of a version, or of a stranger, that lack what all versions have.
            kind = f"{type(problem).__name__} {problem}"
            raise UserError(
                f"{source.path}: {grid}: its settings are damaged ({kind})"
            ) from problem
        for lost in translation.losses.found:
            losses.add(
                f"{grid}: {lost.where}", lost.why, lost.value, matters=lost.matters
            )
    return found


def recipe(settings: Mapping[str, Sections]) -> Values:
    """The recipe of layers with these settings: those of most layers for all, those of the others
    under `layers`."""
    # Most networks have one set of settings, with a first or last layer that differs.
    counted = Counter(key_of(values) for values in settings.values())
    usual = counted.most_common(1)[0][0]
    common = next(values for values in settings.values() if key_of(values) == usual)
    layers = {
        name: layer_rule(values, common)
        for name, values in settings.items()
        if key_of(values) != usual
    }
    found = sections(common, ABOUT)
    if layers:
        found["layers"] = layers
    programmed = next(
        (v["inference"] for v in settings.values() if "inference" in v), None
    )
    if programmed is not None:
        add_inference(found, programmed)
    return found
