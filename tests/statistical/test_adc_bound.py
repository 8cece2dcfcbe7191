"""Bound management near the bound of the ADC: the share of vectors that are read again.

Measured from aihwkit 1.2.0 (CPU, its public Python API) with 200 tiles of 40,000 reads each; the
standard errors are those between tiles, whose normal numbers come from a table drawn once a tile.
The first output lies near the bound. The second one shows whether the vector was read again: the
DAC rounds its input up in the first read, and to 0 once inputs are halved. What decides is
rounding: of the float32 product `step * round(bound / step)` some bounds are exceeded by one unit
in the last place (12 and 6 with 510 steps), others are not (10, 20, and 6 with 254)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
import torch

from engine.tile.settings import IO, DeviceSpec, TileSpec
from engine.tile.tile import Tile

TILES, READS = 8, 50_000
DEVICE = DeviceSpec(
    "constant_step",
    {"w_max": 30.0, "w_min": -30.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0},
)


class Reference(NamedTuple):
    """Product without noise, settings, then what was measured, each with its standard error."""

    product: float
    settings: dict[str, Any]
    share: tuple[float, float]
    std: tuple[float, float]


ABS_MAX, WORST_CASE = (
    {"noise_management": "AbsMax"},
    {"bound_management": "IterativeWorstCase"},
)
MEASURED = {
    "default": Reference(11.85, {}, (0.017528, 7.2e-5), (0.0601014, 2.3e-5)),
    "bound 10": Reference(
        9.87, {"out_bound": 10.0}, (0.006292, 4.3e-5), (0.0602136, 2.4e-5)
    ),
    "bound 20": Reference(
        19.87, {"out_bound": 20.0}, (0.0024169, 2.6e-5), (0.0635854, 2.4e-5)
    ),
    "bound 6": Reference(
        5.88, {"out_bound": 6.0}, (0.0356885, 1.1e-4), (0.0590992, 2.6e-5)
    ),
    "bound 6, 254 steps": Reference(
        5.85,
        {"out_bound": 6.0, "out_res": 254.0},
        (0.001935, 2.3e-5),
        (0.0611116, 2.2e-5),
    ),
    "30 steps": Reference(
        11.6, {"out_res": 1 / 30}, (0.5003256, 2.5e-4), (0.0233838, 3.8e-4)
    ),
    "stochastic": Reference(
        11.85, {"out_sto_round": True}, (0.0198031, 6.8e-5), (0.0615393, 2.2e-5)
    ),
    "worst case": Reference(11.9, WORST_CASE, (0.0102836, 4.4e-5), (0.052529, 2.1e-5)),
    "managed noise": Reference(
        11.85, ABS_MAX, (0.0175499, 7.3e-5), (0.0601115, 2.5e-5)
    ),
    "managed noise, worst case": Reference(
        11.85, ABS_MAX | WORST_CASE, (0.0002992, 6.9e-6), (0.0584026, 2e-5)
    ),
    "negative": Reference(-11.85, {}, (0.0174714, 6.7e-5), (0.060084, 2.1e-5)),
    "negative, untested": Reference(
        -11.9, {"bm_test_negative_bound": False}, (0.0, 0.0), (0.0592706, 2e-5)
    ),
    "without steps": Reference(
        11.85, {"out_res": -1.0}, (0.0062341, 4.4e-5), (0.0592478, 2.1e-5)
    ),
    "unmanaged": Reference(
        11.9, {"bound_management": "None"}, (0.0, 0.0), (0.0592907, 2.1e-5)
    ),
}


@pytest.mark.parametrize("name", MEASURED)
def test_share_of_repeated_reads(name: str) -> None:
    reference = MEASURED[name]
    near, shown = outputs(reference.product, reference.settings)
    again = (shown < 0.5).double()
    share, count = float(again.mean()), TILES * READS
    error = math.hypot(math.sqrt(share * (1 - share) / count), reference.share[1])
    assert abs(share - reference.share[0]) <= 4 * error
    off, std = near - near.mean(), float(near.std())
    # The standard error of a standard deviation follows from the fourth moment, which rare reads
    # beyond a coarse step decide.
    fourth = float(off.square().square().mean())
    spread = math.hypot(
        math.sqrt((fourth - std**4) / count) / (2 * std), reference.std[1]
    )
    assert abs(std - reference.std[0]) <= 4 * spread


def outputs(
    product: float, settings: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output near the bound and the one that shows repeated reads, of all reads."""
    defaults: dict[str, Any] = {"noise_management": "None", "inp_res": 0.125}
    periphery = IO(**(defaults | settings))
    found = []
    for number in range(TILES):
        spec = TileSpec(device=DEVICE, forward=periphery)
        tile = Tile(2, 2, spec, seed=1, tile_id=number)
        tile.array.set_weights(torch.tensor([[product, 0.0], [0.0, 4.0]]))
        tile.eval()
        found.append(
            tile.mvm(torch.tensor([[1.0, 0.14]]).expand(READS, 2).contiguous())
        )
    together = torch.cat(found).double()
    return together[:, 0], together[:, 1]
