"""A mini-batch of transfers in rounds of reads, each followed by an ordinary pulsed update of the
arrays it writes.

No round reads a slice twice, so the loop over rounds is one over sweeps. Shapes: L lanes, B
samples, O rows, I columns."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.jit.programs import fill, rounds_program
from engine.tile import trains
from engine.tile.cells import CONTROL_WORDS, CellArray
from engine.tile.group import CellGroup, Cells
from engine.tile.settings import Update
from engine.tile.trains import Trains
from engine.tile.transfers.args import EXACT, ROUND, Prepared
from engine.tile.transfers.state import TransferState


class Rounds:
    """One call of `Transfer.learn` for samples x [.., B, I], d [.., B, O], which `prepared`
    holds."""

    def __init__(
        self, state: TransferState, last: Cells, prepared: Prepared, lr: float
    ) -> None:
        self.state = state
        self.prepared = prepared
        self.args = prepared.struct
        self.lr = lr
        # What is read from array k is written on chain[k].
        self.chain = [*state.own[1:], last]
        self.written = [0] * len(self.chain)
        self.program = rounds_program(last.weight.device.type)

    def learn(self) -> None:
        """Pulses, reads and writes in the order of the samples, as far as they depend on each
        other."""
        args = self.args
        args.slow_call = self.chain[-1].next_call()
        self._draw()
        self._run("split_rounds", 1)
        # The table holds 64-bit numbers in a room of 32-bit words; its first row is their count.
        words = 2 * ROUND * (args.max_events + 2)
        table = self.prepared.part("rounds", words).view(torch.int64).view(-1, ROUND)
        number = int(table[0, 0])
        for low, high, *ends in table[1 : number + 2].tolist():
            args.first, args.last = args.last, ends[-1]
            if low < high:
                self._pulse(low, high)
            if args.first < args.last:
                self._transfer(ends)
        # A group ends its update once a call, however many rounds pulsed it.
        arrays = (self.state.fast, *self.chain)
        pulsed = (args.batch, *self.written)
        for array, samples in zip(arrays, pulsed, strict=True):
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
            frozen = part("frozen", args.replicas, CONTROL_WORDS)
            x_shape, d_shape = self._word_shapes(args.batch)
            x_words = part("x_words", *x_shape)
            d_words = part("d_words", *d_shape)
            self.trains = Trains(plans, frozen, x_words, d_words, args.type)
            # All arrays of a group see the trains of its first one.
            lead = fast if isinstance(fast, CellArray) else fast.lead
            vectors, plan = self.prepared.vectors, self.prepared.plan
            trains.fill_trains(lead, vectors, plan, self.trains)
            if isinstance(fast, CellGroup):
                self.dealt = fast.deal(self.trains)
        if self.prepared.values["out_chop_prob"] > 0:
            self._run("transfer_signs", args.replicas * self.prepared.crossing[1])

    def _pulse(self, low: int, high: int) -> None:
        """Pulses of the fast array on the slices that are read, from where they were up to their
        read."""
        args, fast, state = self.args, self.state.fast, self.state
        args.low, args.high = low, high
        self._run("open_round", args.replicas * self.prepared.crossing[0])
        self._run("part_words", args.replicas * (high - low) * args.words, warp=True)
        x_shape, d_shape = self._word_shapes(high - low)
        x = self.prepared.part("x_rest", *x_shape)
        d = self.prepared.part("d_rest", *d_shape)
        if args.type == EXACT:
            # Without pulses a word is the value itself, one a line.
            x = x.view(torch.float32).squeeze(2)
            d = d.view(torch.float32).squeeze(2)
            _pulse_samples(fast, self._lanes(x), self._lanes(d), 1.0, state.update)
            return
        plans = self.trains.plans[:, low:high].contiguous()
        own = Trains(plans, None, x, d, args.type)
        if isinstance(fast, CellGroup):
            fast.take(self.dealt[:, :, low:high].contiguous(), own)
        else:
            trains.apply_trains(fast, own)

    def _transfer(self, ends: list[int]) -> None:
        """All reads of a round, then the writes on each array, then resets."""
        args = self.args
        state = self.state
        slices, lines = self.prepared.crossing
        args.slots = args.last - args.first
        where = state.fast.weight
        one_hot = where.new_empty(args.replicas, args.slots, slices)
        drive = where.new_empty(args.replicas, args.slots, lines)
        resets = self.prepared.values.get("reset_prob", 0.0) > 0
        chosen = where.new_zeros(where.shape if resets else 0)
        fill(args, ("one_hot", "drive", "chosen"), (one_hot, drive, chosen))
        self._run("read_round", args.replicas * args.slots, warp=True)
        # A slice that was a column is written as one: the one-hot vector drives its side.
        x, d = (one_hot, drive)
        if not self.prepared.values["by_columns"]:
            x, d = (drive, one_hot)
        begin = 0
        for k, array in enumerate(self.chain):
            end = ends[k] - args.first
            if begin < end:
                x_k = self._lanes(x[:, begin:end].contiguous())
                d_k = self._lanes(d[:, begin:end].contiguous())
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
        scale = self.lr if values["scale_transfer"] else 1.0
        return float(values["transfer_lr"][k] * scale)

    def _word_shapes(
        self, samples: int
    ) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
        """Shapes of the words of the trains of x and of d."""
        args = self.args
        x = (args.replicas, samples, args.words, args.cols)
        d = (args.replicas, samples, args.words, args.rows)
        return x, d

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
