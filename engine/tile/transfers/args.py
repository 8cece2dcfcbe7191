"""What the kernels of a transfer get: settings as structs, addresses, room to work in."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from engine.jit.programs import Program, fill
from engine.jit.struct import choice, read_constant, read_struct
from engine.tile.cells import CellArray
from engine.tile.group import Cells
from engine.tile.pulses import SLOTS, TYPES, _noisy, _plan
from engine.tile.settings import Update
from engine.tile.strategies import update as update_kernels
from engine.tile.transfers.state import TransferState

MAX_ARRAYS = read_constant("transfer/args.cuh", "MAX_ARRAYS")
EXACT = update_kernels.EXACT
FEW_READS = 64
ALIGN = 16  # words: every part of the room starts at 64 bytes
# Numbers of a round: first and last sample, then where the reads of each array end.
ROUND = read_constant("transfer/rounds.cu", "ROUND")


class Prepared:
    """Arguments for one size of batch. `struct` points into tensors that are kept here."""

    def __init__(self, state: TransferState, slow: Cells, batch: int) -> None:
        fast, wiring, where = state.fast, state.wiring, slow.weight.device
        args = self.struct = read_struct("transfer/args.cuh", "TransferArgs")()
        args.replicas, args.rows, args.cols, args.batch = (
            fast.lanes,
            fast.out_size,
            fast.in_size,
            batch,
        )
        args.type, args.write_type = (
            _kind(fast, state.update),
            _kind(slow, wiring.write),
        )
        self.values = plan_values(state, slow, batch)
        self.plan = plan = _plan(
            state.update, _fast_granularity(state, slow), self._longest(slow.lr), where
        )
        write = _plan(
            wiring.write, slow.granularity, self._longest_write(slow.lr), where
        )
        args.words = max(1, math.ceil(plan.max_bl / SLOTS)) if args.type == 0 else 1
        args.write_groups = (write.max_bl + 3) // 4
        numbers, chain = _tensor(self.values, where), _links(state, slow)
        found = {
            name: getattr(state, name)
            for name in (
                "counters",
                "in_chop",
                "out_chop",
                "maxima",
                "buffer",
                "mean",
                "past",
            )
        }
        found |= {
            "w": fast.weight,
            "control": fast.control,
            "plan": plan.tensor,
            "transfer": numbers,
        }
        if isinstance(fast, CellArray) and isinstance(slow, CellArray):
            args.noise_on, args.slow_noise_on = (
                int(_noisy(a.model, a.spec.params)) for a in (fast, slow)
            )
            found |= {"cells": fast.cells, "params": fast.params}
            found |= {"slow_params": slow.params, "write_plan": write.tensor}
        found |= {
            "chain": chain,
            "visible": None if state.last is None else slow.weight,
        }
        self.kept = {
            name: tensor for name, tensor in found.items() if tensor is not None
        }
        fill(args, list(self.kept), list(self.kept.values()))
        self._measure(batch, walks=state.walks)

    def fresh(self, x: Tensor, d: Tensor) -> Prepared:
        """The arguments for x and d, with room of their own."""
        self.room = torch.empty(self.words, dtype=torch.int32, device=x.device)
        self.vectors = (x, d)
        args, base = self.struct, self.room.data_ptr()
        for name, offset in self.offsets:
            setattr(args, name, base + offset)
        args.x, args.d = x.data_ptr(), d.data_ptr()
        if args.type == EXACT:
            args.x_words, args.d_words = args.x, args.d
        return self

    def part(self, name: str, *shape: int) -> Tensor:
        """What lies in the room under a name, from its beginning on, as int32 of this shape."""
        begin = dict(self.offsets)[name] // 4
        return self.room[begin : begin + math.prod(shape)].view(shape)

    @property
    def crossing(self) -> tuple[int, int]:
        """Number of slices, and of the lines that cross them."""
        lines = self.struct.cols, self.struct.rows
        return lines if self.values["by_columns"] else lines[::-1]

    @property
    def parts(self) -> int:
        """Items of a slice in the walk."""
        return 1 if self.values["whole"] else (self.crossing[1] + 31) // 32

    @property
    def reads_all(self) -> bool:
        """Whether every slice is surely read in this batch."""
        values, period = self.values, self.values["period"][0]
        if (
            period == 0
            or values["transfer_lr"][0] == 0
            or values.get("random_slice", 0)
        ):
            return False
        return bool(self.struct.batch // period * values["reads"] >= self.crossing[0])

    @property
    def by_hits(self) -> bool:
        """Whether a GPU finds the pulses of the fast array by sample masks."""
        args = self.struct
        cells = args.replicas * args.rows * args.cols
        case = update_kernels.UpdateCase(False, args.type == EXACT, args.batch, cells)
        chosen = update_kernels.choose(case) is update_kernels.UpdateKernel.COINCIDENCES
        return chosen and not self.reads_all and self.values["out_chop_prob"] == 0

    def _measure(self, batch: int, *, walks: bool) -> None:
        """Sizes of everything that lives for one call only."""
        args, values, (slices, lines) = self.struct, self.values, self.crossing
        events = sum(
            (batch // p + 1) * values["reads"] for p in values["period"] if p > 0
        )
        args.max_events, args.slots = max(events, 1), max(min(events, slices), 1)
        # Reads of one array at most; a few are listed by the schedule itself, as are those that are
        # drawn.
        reads = max(batch // p + 1 if p > 0 else 0 for p in values["period"])
        args.listed = (
            0 if values.get("random_slice", 0) or reads <= FEW_READS else reads
        )
        samples, pulses = args.replicas * batch, args.words
        sizes = {
            "plans": 4 * samples, "rates": samples, "frozen": 16 * values["arrays"] * args.replicas,
            "x_words": samples * pulses * args.cols, "x_rest": samples * pulses * args.cols,
            "d_words": samples * pulses * args.rows, "d_rest": samples * pulses * args.rows,
            "out_signs": samples * lines if values["out_chop_prob"] > 0 else 0,
            "marks": args.replicas * slices, "slot_slices": args.replicas * args.slots,
            "slot_chops": args.replicas * args.slots, "slot_until": args.replicas * args.slots,
            "reads": 4 * MAX_ARRAYS * args.replicas,
            "found": 3 * args.replicas, "events": 4 * args.replicas * args.max_events,
            "done": args.replicas * args.slots * lines, "drive": args.replicas * args.slots * lines,
        }  # fmt: skip
        if not walks:
            sizes |= {
                "since": args.replicas * slices,
                "until": args.replicas * slices,
                "order": args.max_events,
            }
            sizes["rounds"] = 2 * ROUND * (args.max_events + 2)
        self.offsets, at = [], 0
        for name, size in sizes.items():
            self.offsets.append((name, 4 * at))
            at += -(-size // ALIGN) * ALIGN
        self.words = at

    def _longest(self, lr: float) -> float:
        """The rate of the fast array that needs its longest trains; one that adapts keeps to their
        usual length."""
        v = self.values
        rate = (
            v["fast_lr"] * (lr if v["scale_fast"] else 1.0) if v["fast_lr"] > 0 else lr
        )
        return 0.0 if v["auto_scale"] else rate

    def _longest_write(self, lr: float) -> float:
        v = self.values
        if v["rule"] != 0:
            return float(v["step"] * v["slow_granularity"])
        return float(max(v["transfer_lr"]) * (lr if v["scale_transfer"] else 1.0))


def plan_values(state: TransferState, slow: Cells, batch: int) -> dict[str, Any]:
    """The fields of the struct TransferPlan."""
    wiring, fast = state.wiring, state.fast
    gamma, links = wiring.gamma, len(wiring.gamma) - 1
    given = {
        "reads": 1,
        "out_chop_prob": 0.0,
        "sweeps": 1,
        "auto_scale": 0,
        "step": 1.0,
        "thres_scale": 1.0,
    } | wiring.values
    slices = fast.in_size if given["by_columns"] else fast.out_size
    grain = given.get("buffer_granularity", 1.0)
    unit = (grain if grain > 0 else 1.0) * fast.granularity
    if given.get("auto_granularity", 0.0) > 0:
        unit *= given["auto_granularity"] / (slices * abs(wiring.every[0]))
    both = [gamma[k] > 0 and gamma[k + 1] > 0 for k in range(links)]
    return given | {
        "rule": choice("transfer/args.cuh", "Rule", wiring.rule),
        "arrays": links + 1,
        "gamma": list(gamma),
        "ratio": [gamma[k] / gamma[k + 1] if both[k] else 1.0 for k in range(links)],
        "period": [
            wiring.period(k, batch, _states(fast, slices)) for k in range(links)
        ],
        "fast_granularity": fast.granularity,
        "slow_granularity": slow.granularity,
        "buffer_granularity": unit,
        "threshold": given["thres_scale"] * slow.granularity,
        "auto_gain": given["fast_lr"] * state.update.desired_bl * fast.granularity,
        "decay": (1.0 - wiring.auto_momentum) / batch,
        "most": float(wiring.write.desired_bl),
        "whole": int(
            wiring.write.update_management or wiring.write.update_bl_management
        ),
    }


def walk(program: Program, prepared: Prepared) -> None:
    """One mini-batch: in one call on a CPU, kernel by kernel on a GPU."""
    if program.backend == "cpu":
        program.run("transfer_update", prepared.struct)
    else:
        launch(program, prepared)


def launch(program: Program, prepared: Prepared) -> None:
    """The kernels one after another, on a backend where nothing runs them in one call."""
    args = prepared.struct
    samples = args.replicas * args.batch

    def run(name: str, items: int, *, warp: bool = False) -> None:
        args.items = items
        program.run(name, args, threads=1, warp=warp)

    run("transfer_maxima", samples, warp=True)
    run("transfer_schedule", args.replicas, warp=True)
    if args.listed:
        run(
            "list_events",
            args.replicas * (len(prepared.values["gamma"]) - 1) * args.listed,
        )
    run("transfer_plans", samples)
    plain = read_struct("update/args.cuh", "UpdateArgs")()
    for name in SHARED:
        setattr(plain, name, getattr(args, name))
    plain.lr_scale, plain.all_words = 1.0, 1
    masks: list[Tensor] = []
    if prepared.by_hits:
        masks = update_kernels.make_masks(program, plain, prepared.room.device)
        fill(args, update_kernels.MASKS, masks)
        cells = args.replicas * args.rows * args.cols
        args.spread = update_kernels.spread(cells)
        run("first_stretch", cells * args.spread)
    else:
        _pulse_words(program, prepared, plain)
    run("transfer_walk", args.replicas * args.slots * prepared.parts, warp=True)
    if args.visible:
        run("transfer_sum", args.replicas * args.rows * args.cols)
    # The kernels have been started: what they read may be given back.
    del masks


def _pulse_words(program: Program, prepared: Prepared, plain: Any) -> None:
    """Trains, and the pulses of the slices that are not read."""
    args, (_, lines) = prepared.struct, prepared.crossing
    samples, exact = args.replicas * args.batch, args.type == EXACT
    args.x_masks = 0
    if not exact:
        update_kernels.make_trains(program, plain)
    if prepared.values["out_chop_prob"] > 0:
        args.items = args.replicas * lines
        program.run("transfer_signs", args, threads=1)
    if not prepared.reads_all:
        args.items = samples * args.words
        program.run("transfer_rest", args, threads=1, warp=True)
        plain.x_words, plain.d_words = args.x_rest, args.d_rest
        plain.x, plain.d = args.x_rest, args.d_rest
        update_kernels.run_made(program, plain)


SHARED = (
    "replicas", "rows", "cols", "batch", "w", "cells", "params", "control", "frozen", "plan", "plans", "x", "d",
    "x_words", "d_words", "words", "type", "noise_on", "call",
)  # fmt: skip


def _kind(array: Cells, update: Update) -> int:
    ideal = isinstance(array, CellArray) and array.model.ideal
    return EXACT if ideal or update.pulse_type == "None" else TYPES[update.pulse_type]


def _fast_granularity(state: TransferState, slow: Cells) -> float:
    """The step that updates of the fast array reckon with."""
    if not state.wiring.mean_granularity:
        return state.fast.granularity
    number = len(state.wiring.gamma)
    return (state.fast.granularity + (number - 1) * slow.granularity) / number


def _states(array: Cells, slices: int) -> float:
    """States of a mean cell for each slice."""
    params = array.spec.params
    return (
        (params["w_max"] - params["w_min"]) / array.granularity / slices
        if "w_max" in params
        else 1.0
    )


def _tensor(values: dict[str, Any], where: torch.device) -> Tensor:
    struct = read_struct("transfer/args.cuh", "TransferPlan")()
    for name, *_ in struct._fields_:
        value = values.get(name, 0)
        if isinstance(value, list):
            for k, entry in enumerate(value):
                getattr(struct, name)[k] = entry
        else:
            setattr(struct, name, value)
    return torch.frombuffer(bytearray(struct), dtype=torch.uint8).to(where)


def _links(state: TransferState, slow: Cells) -> Tensor:
    """Addresses of weights, cells (of single devices) and control of the arrays after the fast
    one."""
    last = slow.weight if state.last is None else state.last
    rows = [(a.weight, a) for a in state.own[1:]] + [(last, slow)]
    found = [
        (
            w.data_ptr(),
            a.cells.data_ptr() if isinstance(a, CellArray) else 0,
            a.control.data_ptr(),
        )
        for w, a in rows
    ]
    return torch.tensor(found, dtype=torch.int64, device=slow.weight.device)
