"""Table step: measured steps, tabulated over the weight; a CSV file of measurements is a device of
this kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.devices._common import WRITE_NOISE, base_params, check_bounds
from engine.devices.base import Device, Param
from engine.devices.parts.measured import read_steps
from engine.devices.parts.nodes import place_on
from engine.settings import user_path

TABLES = ("table_up", "table_down", "table_up_std", "table_down_std")


def _check(values: dict[str, Any]) -> str | None:
    lengths = [len(values[name]) for name in TABLES]
    if len(set(lengths)) > 1:
        return f"{', '.join(TABLES)} need the same number of nodes, not {', '.join(map(str, lengths))}"
    return check_bounds(values)


# One measured cell says nothing about others, so spreads are 0 unless they are asked for.
TableStep = Device(
    name="table_step",
    aihwkit="",
    about="Mean and spread of the step are polygons through measured points; `device.model=steps.csv` reads them.",
    formula="up: w += D_up (f_up(w) + s_up(w) xi);  down: w -= D_down (f_down(w) + s_down(w) xi);  "
    "s + dw_min_std f in place of s; f, s linear between the nodes of their tables from b_min to b_max",
    source="none: the measurement that the table holds; form of Rasch et al., AICAS 2021, "
    "doi:10.1109/AICAS51828.2021.9458494",
    params=base_params(
        dw_min_dtod=0.0,
        dw_min_std=0.0,
        up_down_dtod=0.0,
        w_max_dtod=0.0,
        w_min_dtod=0.0,
    )
    | {
        "table_up": Param(
            [1.0],
            "of dw_min",
            "mean up step at nodes from the lower to the upper bound",
        ),
        "table_down": Param(
            [1.0], "of dw_min", "mean down step at these nodes (positive)"
        ),
        "table_up_std": Param(
            [0.0], "of dw_min", "cycle-to-cycle spread of the up step at these nodes"
        ),
        "table_down_std": Param(
            [0.0], "of dw_min", "cycle-to-cycle spread of the down step at these nodes"
        ),
    }
    | WRITE_NOISE,
    step=place_on("table_up")
    + """
float mean_before = up ? p.table_up[left] : p.table_down[left];
float mean_after = up ? p.table_up[right] : p.table_down[right];
float mean = (1.0f - share) * mean_before + share * mean_after;
float std_before = up ? p.table_up_std[left] : p.table_down_std[left];
float std_after = up ? p.table_up_std[right] : p.table_down_std[right];
float spread = (1.0f - share) * std_before + share * std_after + p.dw_min_std * mean;
w += (up ? c.dwmin_up : -c.dwmin_down) * (mean + spread * noise());
""",
    noise_scales=("dw_min_std", "table_up_std", "table_down_std"),
    check=_check,
)


def from_csv(path: Path) -> Device:
    """The device whose defaults are the steps measured in a CSV file. Raises ValueError with file
    and line."""
    path = user_path(path).resolve()
    params = dict(TableStep.params)
    for name, value in read_steps(path).items():
        params[name] = replace(params[name], default=value)
    return replace(
        TableStep,
        params=params,
        about=f"Steps measured in {path.name}.",
        path=str(path),
    )
