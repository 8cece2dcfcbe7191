"""Training steps on a GPU as one CUDA graph: captured once for a batch size and learning rate, then
replayed.

A small network takes far longer to launch than to compute. Draws depend on the step counters of the
arrays, which live on the GPU and here go on in every step; the number of a call, which the host
counts, begins anew in each. So replayed and launched steps are equal to the bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from engine.algorithms import find_algorithm
from engine.nn.analog import AnalogTile
from engine.tile.cells import STEP, CellArray
from engine.tile.group import CellGroup

# Steps of a batch size that are launched one by one before it is captured: they load kernels and
# make plans.
WARM_UP = 3
# Where the calls of each step begin: beyond all that went into making the arrays.
FIRST_CALL = 1 << 30


def obstacle(model: nn.Module) -> str:
    """Why steps of this network can never be replayed, in a few words; empty if they can."""
    for name, part in model.named_modules():
        if isinstance(part, AnalogTile) and (found := _obstacle_of(part)):
            return f"{name}: {found}"
    return ""


def _obstacle_of(part: AnalogTile) -> str:
    if not hasattr(find_algorithm(part.algorithm), "replays"):
        return f"{part.algorithm} decides on the CPU what a step does"
    if group := next((m for m in part.modules() if isinstance(m, CellGroup)), None):
        return f"cells of several devices ({group.spec.model}) take turns on the CPU"
    compensates = (
        part.scale is not None and part.tile.spec.mapping.weight_scaling_lr_compensation
    )
    return "weight_scaling_lr_compensation reads the scales" if compensates else ""


@dataclass
class _Captured:
    graph: torch.cuda.CUDAGraph
    index: Tensor
    loss: Tensor


class Replayed:
    """`step` of the indices of a mini-batch, as a graph where `replay` allows it."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        step: Callable[[Tensor], Tensor],
        *,
        replay: bool = True,
    ) -> None:
        self.own_step, self.replay = step, replay
        self.tiles = [part for part in model.modules() if isinstance(part, AnalogTile)]
        self.arrays = [part for part in model.modules() if isinstance(part, CellArray)]
        hooks = (
            (tile, getattr(find_algorithm(tile.algorithm), "replayed", None))
            for tile in self.tiles
        )
        self.counted = [(tile, hook) for tile, hook in hooks if hook is not None]
        self.side = torch.cuda.Stream()
        self.lr: float | None = None
        self.seen: Counter[int] = Counter()
        self.graphs: dict[int, _Captured] = {}
        for group in optimizer.param_groups:
            if "capturable" in group:  # Adam counts its steps on the GPU as well
                group["capturable"] = True

    def step(self, index: Tensor, lr: float) -> Tensor:
        """One training step; its loss is valid until the next one."""
        if lr != self.lr:
            # Learning rates of digital parameters are part of a graph.
            self.lr = lr
            self.seen.clear()
            self.graphs.clear()
        size = len(index)
        found = self.graphs.get(size)
        if (
            found is None
            and self.replay
            and self.seen[size] >= WARM_UP
            and self._settled()
        ):
            # What the host counts in a step is counted while it is captured.
            found = self.graphs[size] = self._capture(index)
        elif found is None:
            self.seen[size] += 1
            return self._launch(index)
        else:
            for tile, replayed in self.counted:
                replayed(tile.state)
        found.index.copy_(index)
        found.graph.replay()
        return found.loss

    def _settled(self) -> bool:
        return all(
            find_algorithm(tile.algorithm).replays(tile.state) for tile in self.tiles
        )

    def _launch(self, index: Tensor) -> Tensor:
        here = torch.cuda.current_stream()
        self.side.wait_stream(here)
        with torch.cuda.stream(self.side):
            loss = self._counted_step(index)
        here.wait_stream(self.side)
        return loss

    def _capture(self, index: Tensor) -> _Captured:
        own, graph = index.clone(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.side):
            loss = self._counted_step(own)
        return _Captured(graph, own, loss)

    def _counted_step(self, index: Tensor) -> Tensor:
        """A step with counters of its own, also where an array gets no pulses."""
        for array in self.arrays:
            array.calls = FIRST_CALL
        if self.arrays:
            torch._foreach_add_([array.control[:, STEP] for array in self.arrays], 1)
        return self.own_step(index)
