"""The processor of a run, with torch set up for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from engine.experiment.data import IMAGES, Info
from engine.jit import cuda, team
from engine.nn.analog import AnalogTile
from engine.settings import UserError

# Torch's products and activations of a layer gain from a second thread beyond so many
# multiplications or numbers of a mini-batch; below, its threads wait for each other at every
# operation, and for long where another program has a core.
LARGE_PRODUCT, LARGE_OUTPUT = 1 << 22, 1 << 16
# Up to so many vectors the kernels make the product themselves (engine/tile/strategies/mvm.py).
OWN_PRODUCT = 64


def without_gpu(run: Mapping[str, Any]) -> str:
    """Why `run.device=auto` passes over the GPU that torch has; empty if there is none, or another
    choice was made."""
    if run.get("device", "auto") != "auto" or not torch.cuda.is_available():
        return ""
    usable, why = cuda.available()
    return "" if usable else f"the GPU is not used: {why}"


def processor(run: Mapping[str, Any]) -> torch.device:
    """The processor that the group `run` asks for, with its number of threads, and repeatable
    algorithms on a GPU."""
    wanted = run.get("device", "auto")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"run.device=cuda: torch finds no usable GPU ({cuda.available()[1]}); run.device=cpu works without"
        )
    # A run before this one in the process may have left torch one.
    team.restore()
    threads = int(run.get("threads") or 0) or torch.get_num_threads()
    team.use_threads(threads)
    # Torch splits large activations and sums over threads, and their last bits depend on where it
    # cuts; those of the kernels do not.
    if run.get("exact"):
        team.leave_torch_one()
    elif run.get("threads"):
        torch.set_num_threads(threads)
    if wanted == "cuda" or (wanted == "auto" and cuda.available()[0]):
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        return torch.device("cuda")
    return torch.device("cpu")


def give_torch_threads(model: nn.Module, info: Info, batch: int) -> None:
    """Leaves torch one thread where no layer is large; the kernels keep theirs, which they take
    only as far as that pays.

    A step of a small network makes a dozen of torch's operations on tensors of a few hundred
    numbers, each of which would wait for all threads."""
    if torch.get_num_threads() > 1 and not _has_large_layer(model, info, batch):
        team.leave_torch_one()


def _has_large_layer(model: nn.Module, info: Info, batch: int) -> bool:
    """Whether a layer has many multiplications that torch makes, or many outputs. Convolutions
    count as if they had an output for each pixel of the image."""
    pixels = math.prod(info.shape[1:]) if info.kind == IMAGES else 1

    def large(part: nn.Module, vectors: int) -> bool:
        if hasattr(part, "kernel_size"):
            vectors = batch * pixels
        analog = isinstance(part, AnalogTile)
        weights = (
            [part.tile.weight]
            if isinstance(part, AnalogTile)
            else part.parameters(False)
        )
        for weight in weights:
            torch_multiplies = not analog or vectors > OWN_PRODUCT
            product = vectors * weight.numel() if torch_multiplies else 0
            many = weight.dim() > 1 and vectors * weight.shape[0] > LARGE_OUTPUT
            if many or (weight.dim() > 1 and product > LARGE_PRODUCT):
                return True
        return not analog and any(large(child, vectors) for child in part.children())

    return large(model, batch)
