"""Recorded runs: found in folders, and the trained network of one of them."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from engine.records.index import find_runs as _find
from engine.records.network import load
from engine.records.run import Run
from engine.trust.code import code_permission


def find_runs(*folders: str | Path) -> list[Run]:
    """All runs in and below some folders (`runs` if none is named), oldest first.

    `run.value("test_accuracy")`, `run.value("device.dw_min")` and the like are their results and
    settings; `run.folder` leads to `load_run`. Runs that cannot be read are left out, as
    `aihw runs ls` says them. Raises UserError for a folder that is not there."""
    return _find([Path(folder) for folder in folders or ("runs",)]).runs


def load_run(
    folder: str | Path, *, device: str = "cpu", allow_code: bool = False
) -> nn.Module:
    """The network of a run folder as its newest checkpoint has it, in evaluation mode.

    Cells, scales, ranges and the state of algorithms are those of the run. `allow_code` permits the
    Python files of its own (a device, a network) that the run names. Raises UserError for a folder
    without a trained network, and for code that was not permitted."""
    with code_permission(allow_code):
        return load(folder, device=device)
