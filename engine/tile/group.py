"""Cells of several devices: what CellArray is for one device, for a weight that is the sum of some.

Shapes: L lanes (left out for L = 1), O rows, I columns, B samples, K devices.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from engine.jit.struct import choice
from engine.tile import trains
from engine.tile.cells import TURN, CellArray
from engine.tile.inputs import check_shape
from engine.tile.keys import TileId
from engine.tile.mvm import Product
from engine.tile.settings import (
    DENSE,
    GROUPS,
    DeviceSpec,
    OneSided,
    Update,
    Vector,
    read_settings,
)
from engine.tile.strategies import group as group_kernels
from engine.tile.trains import Trains
from engine.tile.weight import AnalogWeight


class CellGroup(nn.Module):
    """O x I cells of K devices each: W = sum of factor_k W_k.

    `devices` are the arrays of the single devices; the first one's key and calls number the trains,
    which all share. Every device has the pulse noise of its own array."""

    def __init__(
        self, out: int, inputs: int, device: DeviceSpec, *,
        seed: int = 0, tile_id: int = 0, lanes: int = 1, trains: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.out_size, self.in_size, self.lanes, self.spec = out, inputs, lanes, device
        self.seed, self.tile_id = seed, tile_id
        self.settings: Any = read_settings(
            GROUPS[device.model], device.params, device.model
        )
        self.devices = nn.ModuleList(
            CellArray(
                out,
                inputs,
                spec,
                seed=seed,
                tile_id=TileId.inside(tile_id, k + 1),
                lanes=lanes,
                trains=False,
            )
            for k, spec in enumerate(device.devices)
        )
        lead = (lanes,) if lanes > 1 else ()
        self.weight = AnalogWeight(
            torch.zeros(*lead, out, inputs, dtype=torch.float32), requires_grad=trains
        )
        self.factors = _factors(self.settings, len(self.devices))
        self.policy, self.first = _policy(self.settings)
        self.updates = self.samples = 0
        sided = isinstance(self.settings, OneSided)
        reads = (
            [Product(self.settings.refresh_forward, "forward", a) for a in self.arrays]
            if sided
            else []
        )
        self.reads = nn.ModuleList(reads)
        self._combine()

    @property
    def lead(self) -> CellArray:
        """The array whose key and calls number what all devices share."""
        found = self.devices[0]
        assert isinstance(found, CellArray)
        return found

    @property
    def arrays(self) -> list[CellArray]:
        """The arrays of the devices."""
        return [d for d in self.devices if isinstance(d, CellArray)]

    @property
    def control(self) -> Tensor:
        return self.lead.control

    @property
    def granularity(self) -> float:
        """The mean over the devices of the expected step of one pulse."""
        return sum(d.granularity for d in self.arrays) / len(self.devices)

    @property
    def persistent(self) -> Tensor:
        """The weight below the write noise."""
        total = torch.zeros_like(self.weight.data)
        for factor, device in zip(self.factors, self.arrays, strict=True):
            total += factor * device.persistent
        return total

    def parameter(self, name: str) -> Tensor:
        """View [.., O, I] of `0.max_bound`: the constant or hidden state of one device. Raises
        LookupError."""
        number, _, own = name.partition(".")
        if not own or not number.isdigit() or int(number) >= len(self.devices):
            raise LookupError(
                f"no per-cell value {name!r}; write 0.max_bound to {len(self.devices) - 1}.max_bound"
            )
        return self.arrays[int(number)].parameter(own)

    @property
    def lr(self) -> float:
        """The learning rate that was set last."""
        return self.lead.lr

    def next_call(self) -> int:
        return self.lead.next_call()

    def set_lr(self, lr: float) -> None:
        self.lead.set_lr(lr)

    @torch.no_grad()
    def set_weights(self, weight: Tensor) -> None:
        """W on every device, or on the one that a fixed policy picks; one-sided: its positive and
        its negative part. Raises ValueError for another shape."""
        check_shape(weight, self.weight)
        self.updates = self.samples = 0
        self.control[:, TURN] = 0
        weight = weight.to(self.weight)
        if isinstance(self.settings, OneSided):
            # Not clamp: processors differ in the sign that it gives to -0.
            zero = torch.zeros_like(weight)
            self.arrays[0].set_weights(torch.where(weight > 0, weight, zero))
            self.arrays[1].set_weights(torch.where(weight < 0, -weight, zero))
        else:
            for device in self._learning():
                device.set_weights(weight)
        self._combine()

    def decay(self, alpha: float = 1.0) -> None:
        self._each("decay", alpha)

    def diffuse(self) -> None:
        self._each("diffuse")

    def clip(self, limit: float = -1.0) -> None:
        self._each("clip", limit)

    def reset(self, start: int = 0, count: int = -1, prob: float = 1.0) -> None:
        self._each("reset", start, count, prob)

    def reset_where(self, chosen: Tensor) -> None:
        """Resets all devices of the cells that `chosen` [.., O, I] (float32) marks with anything
        but 0."""
        self._each("reset_where", chosen)

    def drift(self, time: float) -> None:
        self._each("drift", time)

    def end_of_batch(self) -> None:
        if any(
            {"diffusion_rate", "decay_scale"} & set(d.layout.cells) for d in self.arrays
        ):
            self._each("end_of_batch")

    def pulse(self, n: int) -> None:
        """Exactly |n| pulses on every cell, up for n > 0: on the devices that the policy picks,
        pulse by pulse."""
        if isinstance(self.settings, OneSided):
            self.arrays[int(n < 0)].pulse(abs(n))
        elif self.policy == "all":
            self._each("pulse", n)
        elif self.policy == "fixed":
            self.arrays[self.first].pulse(n)
        elif n:
            sure = torch.ones(
                self.lanes, abs(n), 1, 1, dtype=torch.int32, device=self.weight.device
            )
            x, d = (
                sure.expand(-1, -1, -1, size).contiguous()
                for size in (self.in_size, self.out_size)
            )
            made = Trains(
                trains.sure_plans(self.lead, abs(n), 1, n > 0),
                self.control.clone(),
                x,
                d,
            )
            self.take(self.deal(made), made)
        self._combine()

    def update(self, x: Tensor, d: Tensor, lr: float, update: Update) -> None:
        """Changes the weights by about -lr d^T x, as the policy shares it among the devices. Raises
        ValueError."""
        if lr == 0.0 or x.numel() == 0:
            return
        self.pulse_samples(x, d, lr, update)
        self.settle(x.shape[-2])

    def pulse_samples(self, x: Tensor, d: Tensor, lr: float, update: Update) -> None:
        """The pulses of an update, or of a part of one: `settle` follows once. Raises
        ValueError."""
        if update.pulse_type in DENSE:
            self._exact(x, d, lr, update)
            return
        self.set_lr(lr)
        made = trains.draw_trains(self.lead, x, d, update, granularity=self.granularity)
        self.take(self.deal(made), made)

    def settle(self, samples: int) -> None:
        """The end of an update of so many samples: the refresh of one-sided pairs, where due."""
        if not isinstance(self.settings, OneSided):
            return
        self.updates, self.samples = self.updates + 1, self.samples + samples
        every = self.settings.refresh_every
        passed = every and self.samples // every > (self.samples - samples) // every
        if every and (
            self.updates % every == 0 if self.settings.units_in_mbatch else passed
        ):
            self.refresh()
            self._combine()

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.updates, self.samples], dtype=torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        self.updates, self.samples = (int(v) for v in state)

    def _learning(self) -> list[CellArray]:
        """The devices that change: all of them, or the one that a fixed policy picks."""
        return (
            self.arrays[self.first : self.first + 1]
            if self.policy == "fixed"
            else self.arrays
        )

    def _each(self, name: str, *values: Any) -> None:
        for device in self.arrays:
            getattr(device, name)(*values)
        self._combine()

    def _exact(self, x: Tensor, d: Tensor, lr: float, update: Update) -> None:
        if isinstance(self.settings, OneSided) or self.policy not in ("all", "fixed"):
            kind = (
                self.spec.model
                if isinstance(self.settings, OneSided)
                else f"policy {self.policy}"
            )
            raise ValueError(
                f"pulse_type {update.pulse_type} makes no pulses; {kind} needs StochasticCompressed"
            )
        for device in self._learning():
            device.update(x, d, lr, update)
        self._combine()

    def deal(self, t: Trains) -> Tensor:
        """Plans [K, lanes, samples, 4] of each device: those of all samples, or of its own, as the
        policy says."""
        if isinstance(self.settings, OneSided):
            return t.plans.expand(2, *t.plans.shape)
        policy = choice("group/group.cuh", "Policy", self.policy), self.first
        return group_kernels.deal_plans(
            t, len(self.devices), self.control, self.lead.calls, policy
        )

    def take(self, plans: Tensor, t: Trains) -> None:
        """The pulses of plans [K, lanes, samples, 4] that were dealt; one-sided: of the lines that
        take each up."""
        if isinstance(self.settings, OneSided):
            shares = group_kernels.split_words(t)
        else:
            shares = [
                replace(t, plans=own, frozen=None if k else t.frozen)
                for k, own in enumerate(plans)
            ]
        for device, own in zip(self.arrays, shares, strict=True):
            trains.apply_trains(device, own)
        self._combine()

    @torch.no_grad()
    def refresh(self) -> None:
        """Resets one-sided pairs of which both devices have come far up, and writes their
        difference to one of them."""
        up, down = (
            read.read(
                self._one_hot(), device, call=device.next_call(), training=True
            ).contiguous()
            for read, device in zip(self._products(), self.arrays, strict=True)
        )
        limits = []
        for device in self.arrays:
            top = abs(device.spec.params["w_max"])
            high = self.settings.refresh_upper_thres * top
            low = self.settings.refresh_lower_thres * top
            limits.append(group_kernels.Thresholds(high, low))
        chosen, writes = group_kernels.choose_refresh(up, down, *limits)
        if not bool(chosen.any()):
            return
        one_hot = self._one_hot()
        for device, write in zip(self.arrays, writes, strict=True):
            device.reset_where(chosen)
            device.update(one_hot, write, 1.0, self.settings.refresh_update)

    def _products(self) -> list[Product]:
        return [read for read in self.reads if isinstance(read, Product)]

    def _one_hot(self) -> Tensor:
        """Inputs [.., I, I] that read or write one column each."""
        made = torch.eye(self.in_size, dtype=torch.float32, device=self.weight.device)
        return made.expand(self.lanes, -1, -1) if self.lanes > 1 else made

    def _combine(self) -> None:
        parts = [device.weight for device in self.arrays]
        group_kernels.combine_cells(self.weight, parts, self.factors)


Cells = CellArray | CellGroup


def make_array(
    out: int, inputs: int, device: DeviceSpec, *,
    seed: int = 0, tile_id: int = 0, lanes: int = 1, trains: bool = True,
) -> Cells:  # fmt: skip
    """The array of a device: of single devices, or of cells of several if `device` names a group of
    them."""
    kind = CellGroup if device.model in GROUPS else CellArray
    return kind(
        out, inputs, device, seed=seed, tile_id=tile_id, lanes=lanes, trains=trains
    )


def _factors(settings: Any, number: int) -> list[float]:
    if isinstance(settings, Vector):
        return [float(g) for g in settings.gamma_vec] or [1.0 / number] * number
    return [1.0, -1.0]


def _policy(settings: Any) -> tuple[str, int]:
    if isinstance(settings, Vector):
        return settings.policy, settings.first
    return ("all" if isinstance(settings, OneSided) else "fixed"), 0
