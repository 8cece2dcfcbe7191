"""Datasets and models are files of a folder; this finds them by name, and those of the user's own
code by the name of their file."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from engine.config.members import Members
from engine.trust.code import is_code

FOLDER = Path(__file__).parent
# Where the two kinds lie, and how the line about a wrong name begins.
KINDS = {
    "datasets": Members(
        "engine.experiment.datasets", "dataset.name: there is no dataset"
    ),
    "models": Members("engine.experiment.models", "model.name: there is no model"),
}


def member_names(kind: str) -> list[str]:
    """Names of the members of `kind` ("datasets" or "models"), from its folder."""
    return KINDS[kind].names()


def find_member(kind: str, name: str) -> Any:
    """The module of one member, or what stands for it where the user's own code is named. Raises
    UserError with the nearest name."""
    if is_code(name):
        return importlib.import_module(f"engine.experiment.custom.{kind}").find(name)
    return KINDS[kind].find(name)
