"""Training configurations of a set-up as tile specifications: device, algorithm, pulsed update;
perfect periphery."""

from __future__ import annotations

from typing import Any

from engine.exchange.aihwkit.lost import Untranslatable
from engine.tile.settings import TileSpec
from tests.golden.setups import NotBuilt, Release, complete

PERFECT = {"class": "IOParameters", "is_perfect": True}


def tile_spec(setup: dict[str, Any]) -> TileSpec:
    """The tile of a training set-up. Raises NotBuilt for an algorithm that is unknown here."""
    release, device = Release(), complete(setup["device"])
    config = {
        "class": setup["config_class"],
        "device": device,
        "update": setup["update"],
    }
    try:
        values = release.config({**config, "forward": PERFECT, "backward": PERFECT})
    except Untranslatable as problem:
        raise NotBuilt(str(problem)) from problem
    release.check()
    algorithm = values["algorithm"]
    if algorithm.get("n_rows_per_transfer", -1) > setup["sizes"]["out"]:
        # The release takes more rows than there are for all of them.
        algorithm["n_rows_per_transfer"] = -1
    return TileSpec.from_config(values)
