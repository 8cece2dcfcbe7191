"""G: decay, diffusion, reset and drift, applied again and again to tiles of fresh devices."""

from __future__ import annotations

import re
from typing import Any

from tests.golden.figures import Measurement, figures
from tests.golden.setups import NotBuilt, device_spec, start_weights

NUMBER = r"([-+.\deE]+)"


def measure(setup: dict[str, Any], seed: int) -> Measurement:
    """Weights over all devices after the numbers of applications that the set-up lists."""
    from engine.tile.cells import CellArray

    spec = device_spec(setup["device"])
    rows, columns, tiles = (setup["tile"][key] for key in ("out", "in", "n_tiles"))
    steps = sorted(setup["steps"])
    groups: dict[int, list[Any]] = {step: [] for step in steps}
    for tile in range(tiles):
        cells = CellArray(rows, columns, spec, seed=seed, tile_id=tile + 1)
        cells.set_weights(start_weights(setup["w0"], rows, columns))
        for step in range(1, steps[-1] + 1):
            apply(cells, setup["operation"])
            if step in groups:
                groups[step].append(cells.weight.detach().cpu().double().numpy().copy())
    records = [
        {"id": f"w/step{step}", "at": {"applications": step}}
        | figures(values, floor=True, quantiles=True)
        for step, values in groups.items()
    ]
    return Measurement(tiles, records)


def apply(cells: Any, operation: str) -> None:
    """Does what the set-up describes in words, such as `drift_weights(delta_t=10.0) per
    application`."""
    if match := re.search(rf"decay_weights\(alpha={NUMBER}\)", operation):
        cells.decay(float(match.group(1)))
    elif "diffuse_weights" in operation:
        cells.diffuse()
    elif match := re.search(rf"drift_weights\(delta_t={NUMBER}\)", operation):
        cells.drift(float(match.group(1)))
    elif match := re.search(
        rf"reset of all columns with probability {NUMBER}", operation
    ):
        cells.reset(prob=float(match.group(1)))
    else:
        raise NotBuilt(f"operation {operation!r}")
