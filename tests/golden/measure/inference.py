"""D: weights that were programmed on devices and have drifted, per target weight, with and without
compensation."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tests.golden.figures import Array, Measurement, Record, figures
from tests.golden.inference import inference_spec
from tests.golden.setups import NotBuilt, Object


def measure(setup: dict[str, Any], seed: int) -> Measurement:
    """Programs all tiles once, then reads their weights at each time from the programmed state."""
    import torch

    from engine.inference import program
    from engine.tile.settings import IO, DeviceSpec, TileSpec
    from engine.tile.tile import Tile

    levels = levels_of(setup["rows"])
    rows, columns, tiles = (setup["tile"][key] for key in ("out", "in", "n_tiles"))
    if len(levels) != rows:
        raise NotBuilt(f"{len(levels)} target levels on {rows} rows")
    spec = TileSpec(device=DeviceSpec("ideal"), forward=IO(is_perfect=True))
    tile = Tile(rows, columns, spec, seed=seed, lanes=tiles)
    tile.array.set_weights(
        torch.tensor(levels).view(rows, 1).expand(*tile.weight.shape)
    )
    programmed = program([tile], inference_spec(setup["noise_model"]), seed=seed)
    records = list(_weights("programmed", _read(tile, tiles), levels))
    for time in setup["times_s"]:
        programmed.drift_to(time)
        weights, factor = _read(tile, tiles), programmed.factors[0]
        assert factor is not None
        alpha = factor.cpu().double().numpy().reshape(tiles, 1, 1)
        records += _weights(f"t{time:g}", weights, levels, time)
        records += _weights(
            f"t{time:g}", weights * alpha, levels, time, compensated=True
        )
        at = {"t_inference_s": time, "quantity": "drift compensation factor"}
        records.append(
            {"id": f"alpha/t{time:g}", "at": at} | figures(list(alpha), floor=True)
        )
    return Measurement(tiles, records)


def levels_of(text: str) -> list[float]:
    """The targets of the rows, from the list in the sentence that describes the matrix."""
    found = re.search(r"\[([^\]]*)\]", text)
    if found is None:
        raise NotBuilt(f"target levels {text!r}")
    return [float(level) for level in found[1].split(",")]


def _read(tile: Any, tiles: int) -> Array:
    """Weights [tile, row, column]."""
    weights: Array = (
        tile.weight.detach()
        .cpu()
        .double()
        .numpy()
        .reshape(tiles, -1, tile.array.in_size)
    )
    return weights.copy()


def _weights(
    stage: str,
    weights: Array,
    levels: list[float],
    time: float = 0.0,
    *,
    compensated: bool = False,
) -> list[Record]:
    name = "w_gdc" if compensated else "w"
    found = []
    for row, level in enumerate(levels):
        at: Object = {
            "stage": "drift" if stage != "programmed" else stage,
            "t_inference_s": time,
        }
        at = {**at, "target_weight": level, "row": row}
        record = figures(
            list(np.asarray(weights)[:, row]),
            floor=True,
            quantiles=row % 5 == 2 and not compensated,
        )
        found.append({"id": f"{name}/{stage}/target{level:+.3f}", "at": at} | record)
    return found
