"""The processor of a run, with torch set up for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from engine.jit import cuda
from engine.settings import UserError


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
    if run.get("exact"):
        # Torch splits large activations and sums over threads, and their last bits depend on where
        # it cuts.
        torch.set_num_threads(1)
    elif run.get("threads"):
        torch.set_num_threads(int(run["threads"]))
    if wanted == "cuda" or (wanted == "auto" and cuda.available()[0]):
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        return torch.device("cuda")
    return torch.device("cpu")
