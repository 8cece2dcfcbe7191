"""Datasets and models are files of a folder; this finds them by name."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from engine.config.members import Members

FOLDER = Path(__file__).parent
# Where the two kinds lie, and how the line about a wrong name begins.
KINDS = {
    "datasets": Members("engine.experiment.datasets", "dataset.name: there is no dataset"),
    "models": Members("engine.experiment.models", "model.name: there is no model"),
}


def member_names(kind: str) -> list[str]:
    """Names of the members of `kind` ("datasets" or "models"), from its folder."""
    return KINDS[kind].names()


def find_member(kind: str, name: str) -> ModuleType:
    """The module of one member. Raises UserError with the nearest name."""
    return KINDS[kind].find(name)
