"""The transfer family: settings that its members share, their checks, and the way from settings to
coupled arrays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from engine.config.fields import DECLARED, Param
from engine.config.sections import Settings, declarations
from engine.tile.periphery import step_size
from engine.tile.settings import DENSE, Update, read_settings, setting

if TYPE_CHECKING:
    from torch import Tensor

    from engine.tile.settings import AlgorithmSpec, DeviceSpec, TileSpec
    from engine.tile.tile import Tile
    from engine.tile.transfers.transfer import Transfer
    from engine.tile.transfers.wiring import Wiring

ARRAYS = {
    "fast": "takes the gradient and is read into the visible array; without a device of its own, as the visible one"
}
KERNELS = ("transfer",)
MOST_ARRAYS = 8


@dataclass
class Read(Settings):
    """Periphery of the reads of a transfer: one line is driven at full scale, outputs are not
    scaled to their range."""

    is_perfect: bool = setting(False, "exact reads; only out_scale still applies")
    inp_bound: float = setting(1.0, "DAC range; <= 0 = no bound", "normalised input")
    inp_res: float = setting(
        1 / 126,
        "DAC step as a share of its range; > 1 = number of steps; <= 0 = continuous",
    )
    out_bound: float = setting(12.0, "ADC range; <= 0 = no bound", "normalised output")
    out_res: float = setting(
        1 / 510,
        "ADC step as a share of its range; > 1 = number of steps; <= 0 = continuous",
    )
    out_sto_round: bool = setting(False, "the ADC rounds stochastically")
    out_noise: float = setting(
        0.06, "noise before the ADC", "normalised output", minimum=0
    )
    out_scale: float = setting(1.0, "digital factor after the ADC")
    out_asymmetry: float = setting(0.0, "negative outputs are weaker by this share")


@dataclass
class OnePulse(Update):
    """The pulsed update of a transfer that writes whole pulses: each line fires surely, once."""

    desired_bl: int = setting(1, "most pulses of one write", "pulses", minimum=1)
    update_bl_management: bool = setting(
        False, "trains are as short as each write allows"
    )
    update_management: bool = setting(
        False, "probabilities of rows and columns are balanced for each write"
    )


@dataclass
class Shared:
    """What all members of the family have."""

    transfer_every: float = setting(
        1.0, "period of the reads of the fast array", "samples", above=0
    )
    units_in_mbatch: bool = setting(
        False, "the period counts mini-batches, not samples"
    )
    transfer_columns: bool = setting(True, "reads and writes columns; otherwise rows")
    fast_lr: float = setting(
        1.0, "learning rate of the fast array; 0 = that of the optimizer", minimum=0
    )
    scale_fast_lr: bool = setting(
        True, "fast_lr is a factor of the optimizer's learning rate, not absolute"
    )
    transfer_lr: float = setting(
        1.0, "learning rate of the transfers; 0 = no transfers", minimum=0
    )
    scale_transfer_lr: bool = setting(
        True, "transfer_lr is a factor of the optimizer's learning rate, not absolute"
    )
    gamma: float = setting(
        0.0, "share of the fast array in the weight; 0 = the visible array is all of it"
    )
    fast_granularity: str = setting(
        "mean",
        "step that the fast array's updates reckon with: mean of all arrays, or its own",
        choices=("mean", "own"),
    )
    transfer_forward: Read = field(default_factory=Read)


def like(kind: type, name: str, default: Any) -> Any:
    """A setting of `kind` with another default."""
    declared = declarations(kind)[name]
    assert isinstance(declared, Param)
    declared = replace(declared, default=default)
    return field(default=default, metadata={DECLARED: declared})


def settings_of(spec: AlgorithmSpec, kind: type) -> Any:
    """The settings of an algorithm. Raises ValueError in one line."""
    return read_settings(kind, spec.params, f"algorithm.{spec.name}")


def checked_settings(spec: TileSpec, kind: type) -> Any:
    """The settings of an algorithm whose arrays can have the devices they are given. Raises
    ValueError in one line."""
    name, devices = spec.algorithm.name, spec.algorithm.devices
    for array in devices:
        if array not in ARRAYS:
            raise ValueError(
                f"{name} has no array {array!r}; it has {', '.join(ARRAYS)}"
            )
    s = settings_of(spec.algorithm, kind)
    fast = devices.get("fast", spec.device)
    for key, device, pulses in (
        ("fast", fast, spec.update),
        ("visible", spec.device, s.transfer_update),
    ):
        if pulses.pulse_type in DENSE and _shares(device):
            raise ValueError(
                f"pulse_type {pulses.pulse_type} makes no pulses, which the {key} array's {_shares(device)} needs; "
                "take StochasticCompressed"
            )
    if _shares(spec.device) == "policy sequential":
        raise ValueError(
            f"{name} writes slice after slice, so that with policy sequential a slice would meet one and the same "
            "device of its cells; the visible array needs the policy all, fixed or random"
        )
    if fast.cells and s.transfer_every < 0:
        raise ValueError(
            f"algorithm.transfer_every must be > 0 with a fast array of {fast.model} cells, "
            "whose devices have states of their own"
        )
    return s


def _shares(device: DeviceSpec) -> str:
    """What shares pulses among the devices of a cell one by one, or nothing."""
    if device.model == "one_sided":
        return device.model
    policy = device.params.get("policy", "all") if device.cells else "all"
    return f"policy {policy}" if policy in ("sequential", "random") else ""


def read_values(read: Read) -> dict[str, Any]:
    """A read in the form of the kernels."""
    if read.is_perfect:
        return {"read_in": 1.0, "out_scale": read.out_scale}
    step = step_size(read.inp_res, read.inp_bound)
    drive = step * float(round(1.0 / step)) if step > 0 else 1.0
    return {
        "read_in": min(drive, read.inp_bound) if read.inp_bound > 0 else drive,
        "out_noise": read.out_noise,
        "out_step": step_size(read.out_res, read.out_bound),
        "out_bound": read.out_bound,
        "out_scale": read.out_scale,
        "out_asymmetry": read.out_asymmetry,
        "out_sto_round": int(read.out_sto_round),
    }


def shared_values(s: Any) -> dict[str, Any]:
    """What the kernels need of the shared settings."""
    return read_values(s.transfer_forward) | {
        "by_columns": int(s.transfer_columns),
        "fast_lr": s.fast_lr,
        "scale_fast": int(s.scale_fast_lr),
        "scale_transfer": int(s.scale_transfer_lr),
        "transfer_lr": [s.transfer_lr],
    }


def build(tile: Tile, spec: TileSpec, wiring: Wiring) -> Transfer:
    """The state of a member of the family."""
    from engine.tile.transfers.transfer import Transfer

    return Transfer(tile, wiring, spec.algorithm.devices.get("fast", spec.device))


def update(tile: Tile, state: Transfer, x: Tensor, d: Tensor, lr: float) -> None:
    state.learn(tile, x, d, lr)


def replays(state: Transfer) -> bool:
    """Walks are scheduled where the arrays are, rounds of reads are not."""
    return state.walks


def end_of_batch(tile: Tile, state: Transfer) -> None:
    state.end_of_batch(tile)


def set_weights(tile: Tile, state: Transfer, weight: Tensor) -> None:
    state.set_weights(tile, weight)
