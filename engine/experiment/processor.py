"""The processor of a run, with torch set up for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from engine.settings import UserError


def processor(run: Mapping[str, Any]) -> torch.device:
    """The processor that the group `run` asks for, with its number of threads, and repeatable algorithms on a GPU."""
    wanted = run.get("device", "auto")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "run.device=cuda: torch finds no usable GPU; `aihw doctor` says why, run.device=cpu works without"
        )
    if run.get("exact"):
        # Torch splits large activations and sums over threads, and their last bits depend on where it cuts.
        torch.set_num_threads(1)
    elif run.get("threads"):
        torch.set_num_threads(int(run["threads"]))
    if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()):
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        return torch.device("cuda")
    return torch.device("cpu")
