"""A fast array that is read into slower ones, slice by slice: state, and one update of a
mini-batch.

Shapes: L lanes (left out for L = 1), B samples, O rows, I columns. A slice is a column or a row;
lines cross it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from engine.jit.pair import pair_program
from engine.jit.programs import Program, rounds_program
from engine.tile.cells import CellArray
from engine.tile.group import Cells, make_array
from engine.tile.keys import TileId
from engine.tile.pulses import _plain
from engine.tile.settings import DeviceSpec
from engine.tile.transfers.args import MAX_ARRAYS, Prepared, walk
from engine.tile.transfers.rounds import Rounds
from engine.tile.transfers.wiring import Wiring

if TYPE_CHECKING:
    from engine.tile.tile import Tile

KEPT = 16


class Transfer(nn.Module):
    """The arrays before the one that the tile shows, digital buffers, choppers and counters: all a
    checkpoint needs.

    Arrays of single devices are walked slice by slice (`walks`); cells of several are read and
    written in rounds. With `wiring.hidden` the tile shows a sum, and `last` keeps the weights of
    the last array."""

    def __init__(self, tile: Tile, wiring: Wiring, fast: DeviceSpec) -> None:
        super().__init__()
        array = tile.array
        self.wiring, self.update = wiring, tile.spec.update
        specs = [fast] + [tile.spec.device] * (len(wiring.gamma) - 2)
        shape = (array.out_size, array.in_size)
        self.arrays = nn.ModuleList(
            make_array(
                *shape,
                spec,
                seed=array.seed,
                tile_id=TileId.inside(array.tile_id, k + 1),
                lanes=array.lanes,
                trains=False,
            )
            for k, spec in enumerate(specs)
        )
        lines = (array.in_size, array.out_size)
        slices, crossing = lines if wiring.values["by_columns"] else lines[::-1]
        lead = (array.lanes,) if array.lanes > 1 else ()
        cells = (*lead, *shape)
        self.register_buffer(
            "counters", torch.zeros(array.lanes, 2 + MAX_ARRAYS, dtype=torch.int64)
        )
        self.register_buffer("in_chop", torch.zeros(*lead, slices, dtype=torch.int32))
        self.register_buffer(
            "out_chop", torch.zeros(*lead, crossing, dtype=torch.int32)
        )
        self.register_buffer("maxima", torch.zeros(array.lanes, 2, dtype=torch.float32))
        buffers = len(specs) if wiring.rule != "plain" else 0
        self.register_buffer(
            "buffer", torch.zeros(buffers, *cells, dtype=torch.float32)
        )
        dynamic = wiring.rule == "dynamic"
        self.register_buffer(
            "mean", torch.zeros(cells, dtype=torch.float32) if dynamic else None
        )
        self.register_buffer(
            "past", torch.zeros(cells, dtype=torch.float32) if dynamic else None
        )
        self.register_buffer(
            "last", torch.zeros(cells, dtype=torch.float32) if wiring.hidden else None
        )
        self._prepared: dict[Any, Prepared] = {}
        self.walks = all(isinstance(a, CellArray) for a in (*self.arrays, array))

    counters: Tensor
    in_chop: Tensor
    out_chop: Tensor
    maxima: Tensor
    buffer: Tensor
    mean: Tensor | None
    past: Tensor | None
    last: Tensor | None

    @property
    def own(self) -> list[Cells]:
        """All arrays but the last, the fast one first."""
        return [cast(Cells, array) for array in self.arrays]

    @property
    def _singles(self) -> list[CellArray]:
        return [array for array in self.own if isinstance(array, CellArray)]

    @property
    def fast(self) -> Cells:
        return self.own[0]

    def set_weights(self, tile: Tile, weight: Tensor) -> None:
        """The last array takes the weights [.., O, I] over its factor, the others 0; counters begin
        again."""
        for array in self.own:
            array.set_weights(torch.zeros_like(array.weight.data))
        self.counters.zero_()
        tile.array.set_weights(weight / self.wiring.gamma[-1])
        if self.last is not None:
            self.last.copy_(tile.array.weight.data)
            self._show(tile)

    def end_of_batch(self, tile: Tile) -> None:
        """What time does to all arrays in one optimizer step."""
        for array in self.own:
            array.end_of_batch()
        if self.last is None:
            tile.array.end_of_batch()
            return
        tile.array.weight.data.copy_(self.last)
        tile.array.end_of_batch()
        self.last.copy_(tile.array.weight.data)
        self._show(tile)

    def learn(self, tile: Tile, x: Tensor, d: Tensor, lr: float) -> None:
        """One mini-batch x [.., B, I], d [.., B, O]: pulses, reads and writes in the order of the
        samples."""
        if lr == 0.0 or x.numel() == 0:
            return
        last, fast = tile.array, self.fast
        last.set_lr(lr)
        prepared = self._prepare(last, x.shape[-2], lr).fresh(
            _plain(x, fast), _plain(d, fast)
        )
        if isinstance(last, CellArray) and self.walks:
            self._walk(last, prepared)
            return
        if self.last is not None:
            last.weight.data.copy_(self.last)
        Rounds(self, last, prepared, lr).learn()
        if self.last is not None:
            self.last.copy_(last.weight.data)
            self._show(tile)

    def _walk(self, last: CellArray, prepared: Prepared) -> None:
        args, later = prepared.struct, [*self._singles[1:], last]
        args.call, args.slow_call = (
            self.fast.next_call(),
            max(array.next_call() for array in later),
        )
        for array in later:
            array.calls = args.slow_call
        walk(self._program(last), prepared)

    def _prepare(self, slow: Cells, batch: int, lr: float) -> Prepared:
        """Arguments for a batch of this size, kept with the tensors that they point to."""
        free = not (self.update.fixed_bl and self.wiring.write.fixed_bl)
        key = (
            batch,
            lr if free else 0.0,
            *(t.data_ptr() for t in (slow.weight, self.fast.weight, self.counters)),
        )
        if key not in self._prepared:
            if len(self._prepared) >= KEPT:
                self._prepared.clear()
            self._prepared[key] = Prepared(self, slow, batch)
        return self._prepared[key]

    def _program(self, last: Cells) -> Program:
        backend = last.weight.device.type
        if not isinstance(last, CellArray) or not self.walks:
            return rounds_program(backend)
        return pair_program(
            *((a.spec.model, a.layout) for a in (self._singles[0], last)), backend
        )

    def _show(self, tile: Tile) -> None:
        last = tile.array
        args = self._prepare(last, 1, last.lr).struct
        args.items = last.weight.numel()
        self._program(last).run("transfer_sum", args)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prepared": {}}
