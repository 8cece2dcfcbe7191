"""The number format in which the digital part of a network computes. Tiles compute in float32
whatever is chosen here."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

FLOAT32, BFLOAT16 = "float32", "bfloat16"


def number_format(
    run: Mapping[str, Any], device: torch.device
) -> AbstractContextManager[Any]:
    """The format in which digital layers compute inside this context. Their weights, and the
    optimizer's memory of them, stay float32: a learning rate of 0.001 is below what bfloat16 can
    add to a weight."""
    if run.get("dtype", FLOAT32) == FLOAT32:
        return nullcontext()
    # A cache of converted weights would be captured with a graph and be stale in its replays.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def remark(run: Mapping[str, Any]) -> str:
    """What the reader must know of the choice; empty if nothing was chosen."""
    if run.get("dtype", FLOAT32) == FLOAT32:
        return ""
    return f"digital layers compute in {run['dtype']}; tiles stay in float32"
