"""The digital factors of a tile's outputs, and their kernels. Shapes: B samples, O outputs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.jit.programs import fill, training_program
from engine.jit.struct import read_struct
from engine.tile.launch import warps_of


class Factors(NamedTuple):
    """What the outputs are multiplied with: the input range [1], the scale of the weights and the
    learned scale, each [1] or [O]."""

    range: Tensor | None
    weights: Tensor | None
    learned: Tensor | None

    def scale(self, y: Tensor, *, out: Tensor) -> Tensor:
        """Writes y [B, O] times all factors to `out`, which may be y itself."""
        args = self._args(y)
        args.y, args.own = y.data_ptr(), out.data_ptr()
        program = training_program(y.device.type)
        program.run("scale_outputs", args, warps=warps_of(args.items, args.cols))
        return out

    @property
    def present(self) -> bool:
        """Whether there is any."""
        ranges, weights, learned = self
        return ranges is not None or weights is not None or learned is not None

    def spread(
        self, d: Tensor, seen: Tensor | None, limit: float
    ) -> tuple[Tensor, Tensor, Tensor | None, Any]:
        """d [B, O] as the way back to the inputs takes it, and as the weights' gradient does; how
        many outputs of each sample were clipped [B], and what `gradient` takes.

        `seen` are the outputs before they were scaled, where they count; the ADC clips them at
        `limit`."""
        if seen is None and self.weights is None:
            return d, d, None, None
        args = self._args(d)
        args.limit = limit
        back, own = torch.empty_like(d), torch.empty_like(d)
        clipped = d.new_empty(d.shape[0])
        fill(args, ("d", "back", "own", "clipped"), (d, back, own, clipped))
        args.y = None if seen is None else seen.data_ptr()
        args.kept = d  # the struct points to it
        program = training_program(d.device.type)
        program.run("spread_gradient", args, warps=warps_of(args.items, args.cols))
        return back, own, clipped, args

    def gradient(self, args: Any) -> Tensor:
        """The gradient of the learned scale, [O] or [1], after `spread`."""
        learned = self.learned
        assert learned is not None
        program = training_program(learned.device.type)
        found = learned.new_empty(args.cols)
        args.by_column, args.items = found.data_ptr(), (args.cols + 31) // 32
        program.run("learn_scale", args, warp=True)
        if learned.numel() > 1:
            return found
        joined = learned.new_empty(1)
        args.joined, args.items = joined.data_ptr(), 1
        program.run("join_scale", args, threads=1, warp=True)
        return joined

    def _args(self, like: Tensor) -> Any:
        """The arguments with the factors and the sizes of `like` [B, O]."""
        args = read_struct("hwa/range.cuh", "OutputArgs")()
        args.items = args.rows = like.shape[0]
        args.cols = like.shape[1]
        ranges, weights, learned = self
        if ranges is not None:
            args.range = ranges.data_ptr()
        # A step of 0 takes the same factor for all outputs.
        if weights is not None:
            args.scale, args.scale_step = weights.data_ptr(), int(weights.numel() > 1)
        if learned is not None:
            args.learned = learned.data_ptr()
            args.learned_step = int(learned.numel() > 1)
        return args
