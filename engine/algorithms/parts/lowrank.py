"""The thin arrays of low-rank Tiki-Taka. Shapes: L lanes (none for L = 1), O rows, I columns, R
ranks, B samples."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from engine.jit.programs import digital_program, fill
from engine.jit.struct import read_struct
from engine.tile.keys import TileId
from engine.tile.settings import IO, DeviceSpec, TileSpec, read_settings
from engine.tile.tile import Tile

FACTORS = (1, 2)


class LowRank(nn.Module):
    """A = `in_factor` [.., R, I], B = `out_factor` [.., O, R], each a tile of its own; counters of
    the transfers."""

    def __init__(self, tile: Tile, settings: Any, devices: list[DeviceSpec]) -> None:
        super().__init__()
        self.settings, self.calls, self.transfers = settings, 0, 0
        self.gain, self.transfer_lr = (
            settings.forward_gain,
            settings.transfer_lr or 0.01 / settings.rank,
        )
        io = (
            None
            if settings.io_aux is None
            else read_settings(IO, settings.io_aux, "algorithm.io_aux")
        )
        spec = TileSpec(
            forward=io or tile.spec.forward, backward=io or tile.spec.backward
        )
        array = tile.array
        shapes = ((settings.rank, array.in_size), (array.out_size, settings.rank))
        self.in_factor, self.out_factor = (
            _factor(tile, shape, replace(spec, device=device), number)
            for shape, device, number in zip(shapes, devices, FACTORS, strict=True)
        )
        for factor in (self.in_factor, self.out_factor):
            factor.weight.requires_grad_(False)
        self.start()

    def start(self) -> None:
        """A drawn, B = 0, nothing counted."""
        self.calls = self.transfers = 0
        self._redraw()
        self._empty()

    @torch.no_grad()
    def learn(self, tile: Tile, x: Tensor, d: Tensor, lr: float) -> None:
        """Both factors take x [.., B, I], d [.., B, O], from reads before either moves; then the
        transfer, if due."""
        s = self.settings
        if lr == 0.0 or x.numel() == 0:
            return
        x_rank = self.in_factor.mvm(x) if s.lr_out > 0 else None
        d_rank = self.out_factor.mvm_t(d) if s.lr_in > 0 else None
        if d_rank is not None:
            self.in_factor.array.update(x, d_rank, lr * s.lr_in, s.update_aux)
        if x_rank is not None:
            self.out_factor.array.update(x_rank, d, lr * s.lr_out, s.update_aux)
        self.calls += 1
        if self.calls % s.transfer_every == 0 and s.transfer != "none":
            self._transfer(tile)

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.calls, self.transfers], dtype=torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        self.calls, self.transfers = (int(v) for v in state)

    def _transfer(self, tile: Tile) -> None:
        s, write = self.settings, self.settings.update_core
        if s.transfer == "exact":
            write = replace(write, pulse_type="NoneWithDevice")
        chunk = s.rank_chunk or s.rank
        for first in range(0, s.rank, chunk):
            a, b = self._ranks(first, min(chunk, s.rank - first))
            tile.array.update(a, -b, self.transfer_lr, write)
        self.transfers += 1
        if s.after_transfer != "keep":
            self._empty()
        if s.after_transfer == "redraw":
            self._redraw()

    def _ranks(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Rows of A [.., count, I] and columns of B [.., count, O], as they are read."""
        a, b = self.in_factor, self.out_factor
        if self.settings.transfer == "exact" or self.settings.transfer_read == "exact":
            last = first + count
            return a.weight.data[..., first:last, :], b.weight.data[..., first:last].mT
        one_hot = torch.zeros(
            *a.weight.shape[:-2],
            count,
            self.settings.rank,
            dtype=torch.float32,
            device=a.weight.device,
        )
        one_hot.diagonal(first, -2, -1).fill_(1.0)
        return a.mvm_t(one_hot), b.mvm(one_hot)

    def _empty(self) -> None:
        self.out_factor.array.set_weights(torch.zeros_like(self.out_factor.weight.data))

    def _redraw(self) -> None:
        """A from the random numbers of its own array, clipped to the bounds of its cells."""
        array, inputs, kind = (
            self.in_factor.array,
            self.in_factor.array.in_size,
            self.settings.init_in,
        )
        out = torch.empty_like(array.weight.data)
        args = read_struct("digital/digital.cuh", "NumberArgs")()
        args.items, args.replicas, args.call = (
            out.numel(),
            array.lanes,
            array.next_call(),
        )
        args.uniform = int(kind == "uniform")
        scales = {
            "uniform": 1 / math.sqrt(inputs),
            "normal": math.sqrt(2 / inputs),
            "orthogonal": 1.0,
        }
        args.scale = scales[kind] * self.settings.init_gain
        fill(args, ("out", "control"), (out, array.control))
        digital_program(out.device.type).run("draw_numbers", args, threads=1)
        if kind == "orthogonal":
            rows = (
                torch.linalg.qr(out.double().cpu().mT)[0].mT * self.settings.init_gain
            )
            out = rows.to(out).contiguous()
        array.set_weights(out)


def effective_rank(change: Tensor) -> Tensor:
    """exp of the entropy of the singular values of [.., O, I] over their sum; 0 for zeros (Roy &
    Vetterli 2007)."""
    values = torch.linalg.svdvals(change.double())
    shares = values / values.sum(-1, keepdim=True).clamp_min(
        torch.finfo(values.dtype).tiny
    )
    return torch.special.entr(shares).sum(-1).exp() * (values[..., 0] > 0)


def _factor(tile: Tile, shape: tuple[int, int], spec: TileSpec, number: int) -> Tile:
    """A thin array with random numbers of its own, where the tile is."""
    array = tile.array
    made = Tile(
        *shape,
        spec,
        seed=array.seed,
        tile_id=TileId.inside(array.tile_id, number),
        lanes=array.lanes,
    )
    return made.to(tile.weight.device)
