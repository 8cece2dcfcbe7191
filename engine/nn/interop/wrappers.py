"""What torch does to modules from outside, and how a tile reacts: the compiler, parallel training,
parameters that are replaced by others.

`engine.nn.analog` and `engine.nn.patches` call these functions. They know no class of tiles, so
that nothing here imports the modules which use them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

REPLACED = (
    "the weights of a tile were replaced (as by torch.func.functional_call, torch.export, pruning, "
    "parametrizations, DataParallel or FSDP): it computes with its own cells only; write them with set_weights() or "
    "load_state_dict()"
)
PARALLEL = (
    "pulsed tiles cannot be trained under DistributedDataParallel: each rank would pulse its own part "
    "of the batch; train in one process, or with algorithm hwa, whose weights have gradients"
)
# Entry of a tile's __dict__ that holds its tensors between the two hooks of load_state_dict.
KEPT = "kept"


@functools.cache
def outside_compiler(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as torch.compile must run it: uncompiled, between two compiled parts.

    Its kernels read memory by address, which a compiler's stand-ins for tensors do not have."""
    uncompiled: Callable[..., Any] = torch.compiler.disable(function)
    return uncompiled


def refuse_parallel() -> None:
    """Raises RuntimeError where several ranks train pulsed tiles under DistributedDataParallel.

    Torch averages gradients over the ranks, but pulses follow samples, of which each rank has
    others: the cells of the ranks would drift apart."""
    active = DistributedDataParallel._active_ddp_module
    if (
        active is not None
        and torch.is_grad_enabled()
        and active.process_group.size() > 1
    ):
        raise RuntimeError(PARALLEL)


class KeptTensors:
    """The tensors below a module, to be filled again after others were put in their places."""

    def __init__(self, module: nn.Module) -> None:
        homes: list[dict[str, Any]] = []
        for part in module.modules():
            homes += [part._parameters, part._buffers]
        self.tensors: list[tuple[dict[str, Any], str, Tensor]] = [
            (home, name, tensor)
            for home in homes
            for name, tensor in home.items()
            if tensor is not None
        ]

    @torch.no_grad()
    def put_back(self) -> None:
        """Copies the numbers of what replaced a tensor, and puts the tensor there again."""
        for home, name, tensor in self.tensors:
            if home[name] is not tensor:
                tensor.copy_(home[name])
                home[name] = tensor


def keep_tensors(module: nn.Module) -> None:
    """Remembers the tensors of a module before `load_state_dict(assign=True)` replaces them."""
    # Past nn.Module's own way of setting, which would register what it finds in the object.
    module.__dict__[KEPT] = KeptTensors(module)


def restore_tensors(module: nn.Module, _: Any) -> None:
    """After `load_state_dict(assign=True)`: the module has its own tensors again, with the loaded
    numbers in them.

    Kernels hold the addresses of these tensors, and an analog weight knows its owner. Does nothing
    where `keep_tensors` was not called."""
    kept: KeptTensors | None = module.__dict__.pop(KEPT, None)
    if kept is not None:
        kept.put_back()
