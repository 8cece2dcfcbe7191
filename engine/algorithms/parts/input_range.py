"""The input range of a tile, and its gradient. Shapes: B samples, I inputs, O outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from engine.algorithms.parts.modify import FIGURES, row_figures
from engine.config.hwa import InputRange
from engine.jit.programs import fill, training_program
from engine.jit.struct import read_struct
from engine.tile.launch import warps_of

HEADER = "hwa/range.cuh"


class LearnedRange(nn.Module):
    """`value` [1]: inputs beyond plus or minus it are cut off. The first batches of training set it
    from their spread.

    `seen` [1] counts those that did; `batches` those that had the chance.
    """

    seen: Tensor

    def __init__(self, settings: InputRange) -> None:
        super().__init__()
        self.settings, self.batches = settings, 0
        # Bytes, which copies and checkpoints can take along; the struct holds pointers.
        self._plain = bytes(_range_args(settings))
        start = torch.tensor([settings.init_value], dtype=torch.float32)
        if settings.learn_input_range:
            self.value = nn.Parameter(start)
        else:
            self.register_buffer("value", start)
        self.register_buffer("seen", torch.zeros(1, dtype=torch.float32))

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Lets x [B, I] set the range while it is young.

        A product that gradient checkpointing computes again, on the way back, has been counted."""
        if self.batches >= self.settings.init_from_data or _is_repeated():
            return
        parallel = DistributedDataParallel._active_ddp_module
        if x.numel() < 2 and parallel is None:
            return
        if x.numel() >= 2:
            args = self._args(x)
            row_figures(x, args.kept)
            args.items = 1
            _run("start_range", args, x)
        if parallel is not None:
            self._agree(parallel.process_group)
        self.batches += 1
        if self.batches >= self.settings.init_from_data:
            # Batches without any spread did not count; asked only here, where it matters, as a GPU
            # must wait for it.
            self.batches = int(self.seen)

    def _agree(self, group: Any) -> None:
        """The mean over all ranks: each has seen its own part of the batch, and one range is to be
        learned."""
        both = torch.cat([self.value.detach(), self.seen])
        distributed.all_reduce(both, group=group)
        value, seen = both.div_(group.size()).split(1)
        self.value.data.copy_(value)
        self.seen.copy_(seen)

    def cut(self, x: Tensor) -> Tensor:
        """What enters the tile: x [B, I], cut off at the range and divided by it."""
        v = torch.empty_like(x)
        args: Any = read_struct(HEADER, "RangeArgs")()
        args.items, args.cols = x.shape
        fill(args, ("x", "v", "range"), (x, v, self.value))
        program = training_program(x.device.type)
        program.run("cut_inputs", args, warps=warps_of(args.items, args.cols))
        return v

    def gradient(
        self, x: Tensor, d: Tensor, clipped: Tensor | None, *, width: int
    ) -> Tensor:
        """The gradient [1] of the range for inputs x [B, I] whose cut ones have the gradient d [B,
        I].

        `clipped` [B] counts the outputs of `width` that hit the bound of the ADC. With
        `stop_at_range` the gradient of inputs that were cut off becomes 0 in d."""
        args, found = self._args(x), torch.empty_like(self.value)
        fill(args, ("d", "gradient"), (d, found))
        args.outputs, args.width = x.shape[0], width
        args.clipped, args.manage_output = (
            None,
            int(clipped is not None and self.settings.manage_output_clipping),
        )
        if clipped is not None:
            args.clipped = clipped.data_ptr()
        _run("pull_range", args, x)
        args.items = 1
        _run("learn_range", args, x)
        return found

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.batches], dtype=torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        self.batches = int(state[0])

    def _args(self, x: Tensor) -> Any:
        args: Any = read_struct(HEADER, "RangeArgs").from_buffer_copy(self._plain)
        args.items = args.rows = x.shape[0]
        args.cols = x.shape[1]
        args.kept = x.new_empty(
            x.shape[0], FIGURES
        )  # lives as long as the struct that points to it
        fill(
            args,
            ("x", "figures", "range", "seen"),
            (x, args.kept, self.value, self.seen),
        )
        return args


def _range_args(s: InputRange) -> Any:
    """What the settings say, in the form of the kernels."""
    args = read_struct(HEADER, "RangeArgs")()
    args.first_batches, args.std_alpha, args.decay = (
        s.init_from_data,
        s.init_std_alpha,
        s.decay,
    )
    args.input_share, args.output_share = (
        s.input_min_percentage,
        s.output_min_percentage,
    )
    args.gradient_scale, args.relative = s.gradient_scale, int(s.gradient_relative)
    args.per_input, args.stop = int(s.clipped_per_input), int(s.stop_at_range)
    return args


def _is_repeated() -> bool:
    """Whether a backward pass is what asks for this product."""
    return torch._C._current_graph_task_id() >= 0


def _run(name: str, args: Any, like: Tensor) -> None:
    training_program(like.device.type).run(name, args, warp=True)
