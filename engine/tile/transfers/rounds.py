"""A mini-batch of transfers in rounds of reads, each followed by an ordinary pulsed update of the
arrays it writes.

No round reads a slice twice, so the loop over rounds is one over sweeps. Shapes: L lanes, B
samples, O rows, I columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.jit.programs import fill, rounds_program
from engine.tile import trains
from engine.tile.cells import CONTROL_WORDS, CellArray
from engine.tile.group import CellGroup, Cells
from engine.tile.settings import Update
from engine.tile.trains import Trains
from engine.tile.transfers.args import EXACT, ROUND, Prepared

if TYPE_CHECKING:
    from engine.tile.transfers.transfer import Transfer


class Rounds:
    """One call of `Transfer.learn` for samples x [.., B, I], d [.., B, O], which `prepared`
    holds."""

    def __init__(
        self, state: Transfer, last: Cells, prepared: Prepared, lr: float
    ) -> None:
        self.state, self.prepared, self.args, self.lr = (
            state,
            prepared,
            prepared.struct,
            lr,
        )
        self.chain, self.written = [*state.own[1:], last], [0] * len(state.own)
        self.program = rounds_program(last.weight.device.type)

    def learn(self) -> None:
        """Pulses, reads and writes in the order of the samples, as far as they depend on each
        other."""
        args = self.args
        args.slow_call = self.chain[-1].next_call()
        self._draw()
        self._run("split_rounds", 1)
        table = (
            self.prepared.part("rounds", 2 * ROUND * (args.max_events + 2))
            .view(torch.int64)
            .view(-1, ROUND)
        )
        number = int(table[0, 0])
        for low, high, *ends in table[1 : number + 2].tolist():
            args.first, args.last = args.last, ends[-1]
            if low < high:
                self._pulse(low, high)
            if args.first < args.last:
                self._transfer(ends)
        for array, samples in zip(
            (self.state.fast, *self.chain), (args.batch, *self.written), strict=True
        ):
            if samples and isinstance(array, CellGroup):
                array.settle(samples)

    def _draw(self) -> None:
        """The schedule of the call, and the trains of all its samples."""
        args, fast, part = self.args, self.state.fast, self.prepared.part
        args.first = args.last = 0
        samples = args.replicas * args.batch
        self._run("transfer_maxima", samples, warp=True)
        self._run("transfer_schedule", args.replicas, warp=True)
        if args.listed:
            self._run("list_events", args.replicas * len(self.chain) * args.listed)
        self._run("transfer_plans", samples)
        if args.type != EXACT:
            plans = part("plans", args.replicas, args.batch, 4)
            x_words, d_words = (
                part(f"{v}_words", *shape) for v, shape in self._words(args.batch)
            )
            self.trains = Trains(
                plans,
                part("frozen", args.replicas, CONTROL_WORDS),
                x_words,
                d_words,
                args.type,
            )
            lead = fast if isinstance(fast, CellArray) else fast.lead
            trains.fill_trains(
                lead, self.prepared.vectors, self.prepared.plan, self.trains
            )
            self.dealt = (
                fast.deal(self.trains) if isinstance(fast, CellGroup) else plans[None]
            )
        if self.prepared.values["out_chop_prob"] > 0:
            self._run("transfer_signs", args.replicas * self.prepared.crossing[1])

    def _pulse(self, low: int, high: int) -> None:
        """Pulses of the fast array on the slices that are read, from where they were up to their
        read."""
        args, fast, state = self.args, self.state.fast, self.state
        args.low, args.high = low, high
        self._run("open_round", args.replicas * self.prepared.crossing[0])
        self._run("part_words", args.replicas * (high - low) * args.words, warp=True)
        x, d = (
            self.prepared.part(f"{v}_rest", *shape)
            for v, shape in self._words(high - low)
        )
        if args.type == EXACT:
            x, d = (v.view(torch.float32).squeeze(2) for v in (x, d))
            _pulse_samples(fast, self._lanes(x), self._lanes(d), 1.0, state.update)
            return
        own = Trains(self.trains.plans[:, low:high].contiguous(), None, x, d, args.type)
        if isinstance(fast, CellGroup):
            fast.take(self.dealt[:, :, low:high].contiguous(), own)
        else:
            trains.apply_trains(fast, own)

    def _transfer(self, ends: list[int]) -> None:
        """All reads of a round, then the writes on each array, then resets."""
        args, state, (slices, lines) = self.args, self.state, self.prepared.crossing
        args.slots = args.last - args.first
        where = state.fast.weight
        one_hot, drive = (
            where.new_empty(args.replicas, args.slots, n) for n in (slices, lines)
        )
        resets = self.prepared.values.get("reset_prob", 0.0) > 0
        chosen = where.new_zeros(where.shape if resets else 0)
        fill(args, ("one_hot", "drive", "chosen"), (one_hot, drive, chosen))
        self._run("read_round", args.replicas * args.slots, warp=True)
        x, d = (
            (one_hot, drive) if self.prepared.values["by_columns"] else (drive, one_hot)
        )
        begin = 0
        for k, array in enumerate(self.chain):
            end = ends[k] - args.first
            if begin < end:
                x_k, d_k = (self._lanes(v[:, begin:end].contiguous()) for v in (x, d))
                _pulse_samples(array, x_k, d_k, self._rate(k), state.wiring.write)
                self.written[k] += end - begin
            begin = end
        if resets:
            state.fast.reset_where(chosen)

    def _rate(self, k: int) -> float:
        """The learning rate of the writes of what is read from array k."""
        values = self.prepared.values
        if self.state.wiring.rule != "plain":
            return float(values["step"] * self.chain[k].granularity)
        return float(
            values["transfer_lr"][k] * (self.lr if values["scale_transfer"] else 1.0)
        )

    def _words(self, samples: int) -> list[tuple[str, tuple[int, ...]]]:
        lead = (self.args.replicas, samples, self.args.words)
        return [("x", (*lead, self.args.cols)), ("d", (*lead, self.args.rows))]

    def _lanes(self, v: Tensor) -> Tensor:
        """Without the first dimension where there is one lane."""
        return v if self.args.replicas > 1 else v[0]

    def _run(self, name: str, items: int, *, warp: bool = False) -> None:
        self.args.items = items
        self.program.run(name, self.args, warp=warp)


def _pulse_samples(
    array: Cells, x: Tensor, d: Tensor, lr: float, update: Update
) -> None:
    """An update, whose end a group waits for."""
    if isinstance(array, CellGroup):
        array.pulse_samples(x, d, lr, update)
    else:
        array.update(x, d, lr, update)
