"""A: the weight over all devices after pulses up, then down, and the constants that the devices
were drawn with.

Slopes are a step over a bound whose density does not vanish at 0: their standard deviation has no
finite expectation, and what one sample shows is luck. So the constants are drawn `SETS` times over,
and each record is that of the set whose standard deviation is the middle one: the figures of a real
sample of the asked size, but never of an extreme one."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from tests.golden.figures import Array, Measurement, Record, figures, sample_at
from tests.golden.setups import device_spec, start_weights

BASE_CONSTANTS = ("max_bound", "min_bound", "dwmin_up", "dwmin_down")
CONSTANTS = {
    "linear_step": ("slope_up", "slope_down"),
    "soft_bounds": ("slope_up", "slope_down"),
    "soft_bounds_pmax": ("slope_up", "slope_down"),
    "soft_bounds_reference": ("reference",),
    "pow_step": ("gamma_up", "gamma_down"),
    "pow_step_reference": ("gamma_up", "gamma_down", "reference"),
}


SETS = 9


class Samples:
    """Values of every quantity, a group for each tile."""

    def __init__(self) -> None:
        self.at: dict[str, Record] = {}
        self.groups: dict[str, list[Array]] = defaultdict(list)

    def add(self, name: str, at: Record, values: Any) -> None:
        self.at[name] = at
        self.groups[name].append(values.detach().cpu().double().numpy().copy())

    def records(self) -> list[Record]:
        return [
            {"id": name, "at": self.at[name]}
            | figures(self.groups[name], floor=True, quantiles="persistent" not in name)
            for name in self.at
        ]


def measure(setup: dict[str, Any], seed: int) -> Measurement:
    """Draws the tiles one after the other and pulses all devices of a tile alike."""
    from engine.tile.cells import CellArray

    spec = device_spec(setup["device"])
    rows, columns, tiles = (setup["tile"][key] for key in ("out", "in", "n_tiles"))
    samples, constants = Samples(), [Samples() for _ in range(SETS)]
    for tile in range(tiles):
        for number, drawn in enumerate(constants):
            cells = CellArray(
                rows, columns, spec, seed=seed, tile_id=tile + 1 + number * tiles
            )
            for name in (*BASE_CONSTANTS, *CONSTANTS.get(spec.model, ())):
                drawn.add(
                    f"device_parameter/{name}",
                    {"quantity": name},
                    cells.parameter(name),
                )
        cells.set_weights(start_weights(setup["w0"], rows, columns))
        noisy = spec.params.get("write_noise_std", 0) > 0
        _weights(samples, cells, "start", 0, noisy)
        for phase in setup["protocol"]:
            _phase(samples, cells, phase, noisy)
    return Measurement(
        tiles,
        sample_at(0.5, [drawn.records() for drawn in constants]) + samples.records(),
    )


def _phase(samples: Samples, cells: Any, phase: dict[str, Any], noisy: bool) -> None:
    sign = 1 if phase["phase"].startswith("up") else -1
    done = 0
    for checkpoint in phase["checkpoints"]:
        cells.pulse(sign * (checkpoint - done))
        done = checkpoint
        _weights(samples, cells, phase["phase"], checkpoint, noisy)
    if phase["pulses"] > done:
        cells.pulse(sign * (phase["pulses"] - done))


def _weights(
    samples: Samples, cells: Any, phase: str, pulses: int, noisy: bool
) -> None:
    kinds = {"w": cells.weight}
    if noisy:
        kinds |= {
            "w_persistent": cells.persistent,
            "w_minus_persistent": cells.weight - cells.persistent,
        }
    for kind, values in kinds.items():
        at = {"phase": phase, "pulses_in_phase": pulses, "quantity": kind}
        samples.add(f"{kind}/{phase}/{pulses}", at, values)
