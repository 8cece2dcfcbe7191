"""Which numbers the devices of a layer are drawn from: the seed of the layer, or one of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.nn import AnalogLinear
from engine.presets import preset
from engine.tile.cells import CellArray


def cells_of(seed: int, **tile: Any) -> list[torch.Tensor]:
    """The constants of all cells of a layer on four tiles."""
    spec = preset("ecram", **tile)
    spec.mapping.max_input_size = spec.mapping.max_output_size = 4
    layer = AnalogLinear(8, 8, tile=spec, seed=seed)
    return [m.cells.clone() for m in layer.modules() if isinstance(m, CellArray)]


@pytest.mark.parametrize("algorithm", ["sgd", "tiki_taka"])
def test_a_construction_seed_fixes_the_devices_whatever_the_seed_of_the_layer(
    algorithm: str,
) -> None:
    fixed = {"algorithm": algorithm, "construction_seed": 5}
    one, two = cells_of(1, **fixed), cells_of(2, **fixed)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    free = {"algorithm": algorithm}
    assert not any(
        torch.equal(a, b)
        for a, b in zip(cells_of(1, **free), cells_of(2, **free), strict=True)
    )
    other = cells_of(1, algorithm=algorithm, construction_seed=6)
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    distinct = {cells.numpy().tobytes() for cells in one}
    assert len(distinct) == len(one), (
        "tiles and arrays of a layer differ from each other"
    )
