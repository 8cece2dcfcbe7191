"""Training steps on a GPU as one CUDA graph: captured once for a batch size and learning rate, then replayed.

A small network takes far longer to launch than to compute. Draws depend on the step counters of the arrays, which live
on the GPU; the number of a call, which the host counts, begins anew in each step. So replayed and launched steps are
equal to the bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.algorithms import find_algorithm
from engine.nn.analog import AnalogTile
from engine.optim.sgd import AnalogSGD
from engine.tile.cells import CellArray

# Steps of a batch size that are launched one by one before it is captured: they load kernels and make plans.
WARM_UP = 3
# Where the calls of each step begin: beyond all that went into making the arrays.
FIRST_CALL = 1 << 30


def obstacle(model: nn.Module, optimizer: torch.optim.Optimizer) -> str:
    """Why steps of this network cannot be replayed, in a few words; empty if they can."""
    if not isinstance(optimizer, AnalogSGD):
        return f"{type(optimizer).__name__} counts its steps on the CPU"
    for name, part in model.named_modules():
        if callable(getattr(part, "begin_streams", None)):
            return f"{name} remembers what came before"
        if isinstance(part, AnalogTile) and (found := _obstacle_of(part)):
            return f"{name}: {found}"
    return ""


def _obstacle_of(part: AnalogTile) -> str:
    if not getattr(find_algorithm(part.algorithm), "REPLAYS", False):
        return f"{part.algorithm} counts on the CPU"
    if not part.tile.weight.requires_grad:
        return "it does not learn, so that nothing counts its steps"
    if not isinstance(part.tile.array, CellArray):
        return f"cells of several devices ({part.tile.spec.device.model}) take turns on the CPU"
    compensates = part.scale is not None and part.tile.spec.mapping.weight_scaling_lr_compensation
    return "weight_scaling_lr_compensation reads the scales" if compensates else ""


@dataclass
class _Captured:
    graph: torch.cuda.CUDAGraph
    index: Tensor
    loss: Tensor


class Replayed:
    """`step` of the indices of a mini-batch, as a graph where `replay` allows it."""

    def __init__(self, model: nn.Module, step: Callable[[Tensor], Tensor], *, replay: bool = True) -> None:
        self.own_step, self.replay = step, replay
        self.arrays = [part for part in model.modules() if isinstance(part, CellArray)]
        self.side = torch.cuda.Stream()
        self.lr: float | None = None
        self.seen: Counter[int] = Counter()
        self.graphs: dict[int, _Captured] = {}

    def step(self, index: Tensor, lr: float) -> Tensor:
        """One training step; its loss is valid until the next one."""
        if lr != self.lr:
            # Learning rates of digital parameters are part of a graph.
            self.lr = lr
            self.seen.clear()
            self.graphs.clear()
        size = len(index)
        found = self.graphs.get(size)
        if found is None and self.replay and self.seen[size] >= WARM_UP:
            found = self.graphs[size] = self._capture(index)
        if found is None:
            self.seen[size] += 1
            return self._launch(index)
        found.index.copy_(index)
        found.graph.replay()
        return found.loss

    def _launch(self, index: Tensor) -> Tensor:
        self._begin()
        here = torch.cuda.current_stream()
        self.side.wait_stream(here)
        with torch.cuda.stream(self.side):
            loss = self.own_step(index)
        here.wait_stream(self.side)
        return loss

    def _capture(self, index: Tensor) -> _Captured:
        self._begin()
        own, graph = index.clone(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.side):
            loss = self.own_step(own)
        return _Captured(graph, own, loss)

    def _begin(self) -> None:
        for array in self.arrays:
            array.calls = FIRST_CALL
