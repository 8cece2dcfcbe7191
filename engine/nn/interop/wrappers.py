"""What torch does to modules from outside, and what a tile makes of it: the compiler, parallel
training, parameters put in the place of others."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

if TYPE_CHECKING:
    from engine.nn.analog import AnalogTile

REPLACED = (
    "the weights of a tile were replaced (as by torch.func.functional_call, torch.export, pruning, "
    "parametrizations, DataParallel or FSDP): it computes with its own cells only; write them with set_weights() or "
    "load_state_dict()"
)
PARALLEL = (
    "pulsed tiles cannot be trained under DistributedDataParallel: each rank would pulse its own part "
    "of the batch; train in one process, or with algorithm hwa, whose weights have gradients"
)


@functools.cache
def outside_compiler(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as torch.compile must run it: uncompiled, between two compiled parts.

    Its kernels read memory by address, which a compiler's stand-ins for tensors do not have."""
    found: Callable[..., Any] = torch.compiler.disable(function)
    return found


def refuse_parallel(tile: AnalogTile) -> None:
    """Raises RuntimeError where ranks would drift apart: pulses know nothing of those of others."""
    active = DistributedDataParallel._active_ddp_module
    learns = tile.training and tile.held.requires_grad and torch.is_grad_enabled()
    if active is not None and learns and not tile.trained and active.process_group.size() > 1:
        raise RuntimeError(PARALLEL)


class Kept:
    """The tensors below a module, to be filled again after others were put in their places."""

    def __init__(self, module: nn.Module) -> None:
        homes = [home for part in module.modules() for home in (part._parameters, part._buffers)]
        self.tensors: list[tuple[dict[str, Any], str, Tensor]] = [
            (home, name, tensor)
            for home in homes
            for name, tensor in home.items()
            if tensor is not None
        ]

    @torch.no_grad()
    def put_back(self) -> None:
        """Copies the numbers of what took a tensor's place, and puts the tensor there again."""
        for home, name, tensor in self.tensors:
            if home[name] is not tensor:
                tensor.copy_(home[name])
                home[name] = tensor


def keep_tensors(tile: AnalogTile, _: Any) -> None:
    """After load_state_dict(assign=True): a tile keeps its tensors, to which kernels hold addresses
    and which know their owner, and takes the numbers."""
    kept: Kept | None = tile.__dict__.pop("kept", None)
    if kept is not None:
        kept.put_back()
