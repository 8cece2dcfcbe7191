"""The digital matrix of mixed precision. Shapes: L lanes (left out for L = 1), O rows, I columns, B
samples."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engine.jit.programs import Program, digital_program, fill
from engine.jit.struct import read_constant, read_struct
from engine.tile.launch import KEPT_NUMBERS

if TYPE_CHECKING:
    from engine.tile.tile import Tile

SUMMED = read_constant("digital/digital.cuh", "SUMMED")
SUMMED_ROWS = read_constant("digital/digital.cu", "SUMMED_ROWS")


class Chi(nn.Module):
    """chi [.., O, I] with the counters of its transfers: `updates`, and `row`, the first row of the
    next one."""

    chi: Tensor
    one_hot: Tensor

    def __init__(self, tile: Tile, settings: Any) -> None:
        super().__init__()
        self.settings, self.updates, self.row = settings, 0, 0
        self._kept: Tensor | None = None
        rows, lanes = tile.array.out_size, tile.array.lanes
        self.register_buffer("chi", torch.zeros_like(tile.array.weight.data))
        one_hot = torch.eye(rows, dtype=torch.float32, device=self.chi.device)
        self.register_buffer(
            "one_hot",
            one_hot.repeat(lanes, 1, 1) if lanes > 1 else one_hot,
            persistent=False,
        )
        # Management is what turns whole numbers into pulses: the largest of a row fires in every
        # slot.
        self.write = replace(
            tile.spec.update, update_bl_management=True, update_management=True
        )

    def clear(self) -> None:
        """Forgets all gradients."""
        self.chi.zero_()
        self.updates = self.row = 0

    @torch.no_grad()
    def learn(self, tile: Tile, x: Tensor, d: Tensor, lr: float) -> None:
        """chi takes the mini-batch x [.., B, I], d [.., B, O]; a transfer writes its whole steps on
        the array."""
        s, array = self.settings, tile.array
        if lr == 0.0 or x.numel() == 0:
            return
        x = self._quantised(tile, x, s.n_x_bins, s.stoc_round_x)
        d = self._quantised(tile, d, s.n_d_bins, s.stoc_round_d)
        unit = s.granularity or array.granularity
        self.updates += 1
        done = self.updates - 1 if s.transfer_first else self.updates
        due = done > 0 and done % s.transfer_every == 0
        args = read_struct("digital/digital.cuh", "ChiArgs")()
        args.replicas, args.rows, args.cols, args.batch = (
            array.lanes,
            array.out_size,
            array.in_size,
            x.shape[-2],
        )
        args.split = 1 if s.transfer_first else args.batch
        args.start, args.count = (
            self.row,
            s.n_rows_per_transfer if s.n_rows_per_transfer > 0 else array.out_size,
        )
        args.random_row = int(s.random_row and args.count < args.rows)
        args.rate, args.unit, args.transfer, args.call = (
            lr,
            unit,
            int(due),
            array.next_call(),
        )
        whole = self._room()
        fill(
            args,
            ("x", "d", "chi", "whole", "control"),
            (x, d, self.chi, whole, array.control),
        )
        self._step(args, parallel=x.is_cuda)
        if due:
            array.update(whole, self.one_hot, unit * s.transfer_lr, self.write)
            self.row = (self.row + args.count) % args.rows

    def _step(self, args: Any, *, parallel: bool) -> None:
        """The kernels. A GPU makes the sums of later blocks of samples in parallel; a CPU makes
        each when it adds it."""
        program = digital_program(self.chi.device.type)
        partial = self._sum_later(args, program) if parallel else None
        args.items = args.replicas * args.rows * ((args.cols + 127) // 128)
        program.run("step_chi", args, warp=True)
        del partial

    def _sum_later(self, args: Any, program: Program) -> Tensor | None:
        """The sums of later blocks of samples, to which `args` points from now on."""
        parts = (args.split, args.batch - args.split)
        later = sum((samples - 1) // SUMMED for samples in parts if samples > SUMMED)
        if later == 0:
            return None
        partial = self.chi.new_empty(later, *self.chi.shape)
        args.partial = partial.data_ptr()
        args.items = (
            later * args.replicas * -(-args.rows // SUMMED_ROWS) * -(-args.cols // 32)
        )
        program.run("sum_products", args, warp=True)
        return partial

    @property
    def steady(self) -> bool:
        """Whether each further update does the same: it ends with a transfer of all rows."""
        s, rows = self.settings, self.chi.shape[-2]
        begun = self.updates > 0 or not s.transfer_first
        return bool(
            begun and s.transfer_every == 1 and s.n_rows_per_transfer in (-1, rows)
        )

    def _room(self) -> Tensor:
        """Where whole steps go; kept from call to call while it is small."""
        if self.chi.numel() > KEPT_NUMBERS:
            return torch.empty_like(self.chi)
        if self._kept is None or self._kept.device != self.chi.device:
            self.__dict__["_kept"] = torch.empty_like(self.chi)
        return self.__dict__["_kept"]  # type: ignore[no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.updates, self.row], dtype=torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        self.updates, self.row = (int(v) for v in state)

    def _quantised(self, tile: Tile, v: Tensor, bins: int, stochastic: bool) -> Tensor:
        v = v.detach().to(device=self.chi.device, dtype=torch.float32).contiguous()
        if bins == 0:
            return v
        array, out = tile.array, torch.empty_like(v)
        args = read_struct("digital/digital.cuh", "QuantiseArgs")()
        args.batch, args.n, args.items = (
            v.shape[-2],
            v.shape[-1],
            v.numel() // v.shape[-1],
        )
        args.half, args.stochastic, args.call = (
            bins // 2,
            int(stochastic),
            array.next_call(),
        )
        fill(args, ("v", "q", "control"), (v, out, array.control))
        digital_program(v.device.type).run("quantise_lines", args, warp=True)
        return out
