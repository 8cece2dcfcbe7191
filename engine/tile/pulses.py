"""The pulsed update of an array: plans, trains and pulses in one call of the kernels."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.devices.base import find_device
from engine.jit.programs import fill
from engine.jit.struct import read_constant, read_enum, read_struct, words
from engine.tile.settings import DeviceSpec, Update
from engine.tile.strategies import update as update_kernels

if TYPE_CHECKING:
    from engine.tile.cells import CellArray
    from engine.tile.group import Cells

SLOTS = read_constant("trains/trains.cuh", "SLOTS")
PLAN_WORDS = words("trains/trains.cuh", "Amplitude")
MAX_WORDS = 128
_TYPE = read_enum("trains/trains.cuh", "PulseType")
TYPES = {
    "StochasticCompressed": int(_TYPE["STOCHASTIC"]),
    "Stochastic": int(_TYPE["STOCHASTIC"]),
    "MeanCount": int(_TYPE["MEAN_COUNT"]),
    "DeterministicImplicit": int(_TYPE["DETERMINISTIC"]),
    "NoneWithDevice": int(_TYPE["EXACT"]),
}
# Trains are kept from call to call while they are small; larger ones would add up over the tiles.
KEPT_WORDS = 1 << 16
KEPT_UPDATES = 8


def update(
    array: CellArray,
    x: Tensor,
    d: Tensor,
    lr: float,
    settings: Update,
    *,
    lr_scale: float = 1.0,
) -> None:
    """One update with x [.., B, I] and d [.., B, O]; `lr_scale` multiplies the learning rate inside
    the kernels."""
    if lr == 0.0 or x.numel() == 0:
        return
    if array.model.ideal or settings.pulse_type == "None":
        exact_update(array, x, d, lr * lr_scale)
        return
    x, d = _plain(x, array), _plain(d, array)
    array.set_lr(lr)
    key = (x.shape, x.device, lr, lr_scale, *vars(settings).values())
    prepared = array.prepared.get(key)
    if prepared is None:
        prepared = array.prepared.keep(
            key, PreparedUpdate(array, x.shape[-2], settings, lr * lr_scale)
        )
        prepared.args.lr_scale = lr_scale
    prepared.run(array, x, d)


class PreparedUpdate:
    """What updates of one shape with the same settings have in common."""

    def __init__(
        self, array: CellArray, batch: int, settings: Update, lr: float
    ) -> None:
        self.plan = _plan(settings, array.granularity, lr, array.weight.device)
        self.kind = TYPES[settings.pulse_type]
        self.words = (
            max(1, math.ceil(self.plan.max_bl / SLOTS)) if self.kind == 0 else 1
        )
        self.args = _args(array, batch, self.words)
        self.args.type, self.args.plan = self.kind, self.plan.tensor.data_ptr()
        self.program = array.program()
        small = (
            array.lanes * batch * self.words * (array.in_size + array.out_size)
            <= KEPT_WORDS
        )
        self.space = (
            _space(array, batch, self.words)
            if small and self.program.backend == "cpu"
            else None
        )
        self.pointed: Any = None

    def run(self, array: CellArray, x: Tensor, d: Tensor) -> None:
        """Plans, trains and pulses for the samples x and d."""
        args = self.args
        space = self.space or _space(array, args.batch, self.words)
        # Past nn.Module's own search for attributes, which takes longer than filling in the
        # addresses.
        own = array._buffers
        args.w = array._parameters["weight"].data_ptr()  # type: ignore[union-attr]
        args.cells = own["cells"].data_ptr()  # type: ignore[union-attr]
        args.params, args.control = own["params"].data_ptr(), own["control"].data_ptr()  # type: ignore[union-attr]
        args.x, args.d, args.call = x.data_ptr(), d.data_ptr(), array.next_call()
        if space is not self.pointed:
            fill(args, _SPACE, space)
            self.pointed = self.space
        update_kernels.run(self.program, args, array.weight.device)


class PreparedUpdates:
    """The prepared updates of an array; they hold addresses, so a copy of the array starts without
    any."""

    def __init__(self) -> None:
        self._kept: dict[Any, PreparedUpdate] = {}

    def get(self, key: Any) -> PreparedUpdate | None:
        return self._kept.get(key)

    def keep(self, key: Any, prepared: PreparedUpdate) -> PreparedUpdate:
        """Keeps a few: shapes and learning rates change rarely."""
        if len(self._kept) >= KEPT_UPDATES:
            self._kept.clear()
        self._kept[key] = prepared
        return prepared

    def __deepcopy__(self, memo: dict[int, Any]) -> PreparedUpdates:
        return PreparedUpdates()

    def __reduce__(self) -> Any:
        return PreparedUpdates, ()


def exact_update(array: CellArray, x: Tensor, d: Tensor, lr: float) -> None:
    """The exact outer product: weight -= lr d^T x."""
    with torch.no_grad():
        x, d = _plain(x, array), _plain(d, array)
        if array.lanes > 1:
            array.weight.baddbmm_(d.transpose(1, 2), x, alpha=-lr)
        else:
            array.weight.addmm_(d.t(), x, alpha=-lr)


_SPACE = ("plans", "frozen", "x_words", "d_words")


def _space(array: CellArray, batch: int, words: int) -> tuple[Tensor, ...]:
    where, lanes = array.weight.device, array.lanes
    return (
        torch.empty(lanes, batch, PLAN_WORDS, dtype=torch.int32, device=where),
        torch.empty_like(array.control),
        torch.empty(
            lanes, batch, words, array.in_size, dtype=torch.int32, device=where
        ),
        torch.empty(
            lanes, batch, words, array.out_size, dtype=torch.int32, device=where
        ),
    )


def _args(array: CellArray, batch: int, words: int) -> Any:
    args = read_struct("update/args.cuh", "UpdateArgs")()
    args.replicas, args.rows, args.cols = array.lanes, array.out_size, array.in_size
    args.batch, args.words = batch, words
    args.noise_on = int(_noisy(array.model, array.spec.params))
    fill(
        args,
        ("w", "cells", "params", "control"),
        (array.weight, array.cells, array.params, array.control),
    )
    return args


def _noisy(model: Any, params: dict[str, Any]) -> bool:
    return not model.noise_scales or any(
        params[name] != 0 for name in model.noise_scales
    )


def _plain(v: Tensor, array: Cells) -> Tensor:
    """Float32, contiguous, where the array lives."""
    where = array._parameters["weight"].device  # type: ignore[union-attr]
    if (
        v.dtype is torch.float32
        and v.device == where
        and v.is_contiguous()
        and not v.requires_grad
    ):
        return v
    return v.detach().to(device=where, dtype=torch.float32).contiguous()


class _Plan:
    """The settings of an update in the form that kernels read, kept on the device."""

    def __init__(self, struct: Any, where: torch.device) -> None:
        self.max_bl = int(struct.max_bl)
        self.tensor = torch.frombuffer(bytearray(struct), dtype=torch.uint8).to(where)


def _plan(u: Update, granularity: float, lr: float, where: torch.device) -> _Plan:
    longest = u.desired_bl
    if (
        not u.fixed_bl
        and not u.update_bl_management
        and granularity * u.desired_bl < abs(lr)
    ):
        longest = math.ceil(abs(lr) / granularity)
    return _cached_plan(
        tuple(vars(u).items()), granularity, min(longest, MAX_WORDS * SLOTS), where
    )


@functools.lru_cache(maxsize=256)
def _cached_plan(
    items: tuple[tuple[str, Any], ...],
    granularity: float,
    longest: int,
    where: torch.device,
) -> _Plan:
    u = dict(items)
    struct = read_struct("trains/trains.cuh", "PulsePlan")()
    struct.granularity, struct.desired_bl, struct.grad_scale = (
        granularity,
        u["desired_bl"],
        u["um_grad_scale"],
    )
    struct.res, struct.x_res, struct.d_res = (
        u["res"],
        u["x_res_implicit"],
        u["d_res_implicit"],
    )
    struct.type, struct.fixed_bl, struct.max_bl = (
        TYPES[u["pulse_type"]],
        u["fixed_bl"],
        longest,
    )
    struct.manage_bl, struct.manage_update = (
        u["update_bl_management"],
        u["update_management"],
    )
    struct.sto_round = u["sto_round"]
    return _Plan(struct, where)


def probe(array: CellArray, weight: Tensor, *, up: bool) -> Tensor:
    """Weights [.., O, I] after one noiseless pulse on each `weight`, where neither bounds nor write
    noise act."""
    kept = array.weight.data.clone()
    array.weight.data.copy_(weight)
    array._array_call("probe_cells", amount=1.0 if up else -1.0)
    moved = array.weight.data.clone()
    array.weight.data.copy_(kept)
    return moved


@functools.lru_cache(maxsize=256)
def granularity(model: str, items: tuple[tuple[str, Any], ...]) -> float:
    """The expected step of a device: one pulse on a mean cell, noise off, at the weight and
    direction it names."""
    from engine.tile.cells import CellArray

    device = find_device(model)
    if device.ideal:
        return 1.0
    asked: dict[str, Any] = {
        k: list(v) if isinstance(v, tuple) else v for k, v in items
    }
    asked |= device.probe_values
    still = [
        k
        for k in asked
        if k.endswith(("_dtod", "_std")) or k in ("lifetime", "diffusion", "drift_nu")
    ]
    quiet = {
        k: [0.0] * len(asked[k]) if isinstance(asked[k], list) else 0.0 for k in still
    }
    asked |= quiet | {"corrupt_devices_prob": 0.0}
    if device.derive:
        asked = {k: v for k, v in asked.items() if k not in device.derive(asked)}
    array = CellArray(1, 1, DeviceSpec(model, asked), trains=False)
    start = _probe_weight(device, array.spec.params)
    sizes = {}
    for name, up in (("up", True), ("down", False)):
        sizes[name] = abs(
            float(probe(array, torch.full((1, 1), start, dtype=torch.float32), up=up))
            - start
        )
    size = (
        max(sizes.values())
        if device.probe_direction == "stronger"
        else sizes[device.probe_direction]
    )
    return size or float(asked.get("dw_min", 1.0))


def _probe_weight(device: Any, params: dict[str, Any]) -> float:
    if callable(device.probe):
        return float(device.probe(params))
    return (
        0.5 * (params["w_min"] + params["w_max"]) if device.probe == "middle" else 0.0
    )
