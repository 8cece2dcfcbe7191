"""Datasets and models are files of a folder; this finds them by name, and those of the user's own
code by the name of their file."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import Any

from engine.settings import UserError
from engine.trust.code import is_code

FOLDER = Path(__file__).parent


def member_names(kind: str) -> list[str]:
    """Names of the members of `kind` ("datasets" or "models"), from its folder."""
    return sorted(p.stem for p in (FOLDER / kind).glob("[a-z]*.py"))


def find_member(kind: str, name: str) -> Any:
    """The module of one member, or what stands for it where the user's own code is named. Raises
    UserError with the nearest name."""
    if is_code(name):
        return importlib.import_module(f"engine.experiment.custom.{kind}").find(name)
    names = member_names(kind)
    if name not in names:
        near = difflib.get_close_matches(str(name), names, 1)
        hint = f"nearest: {near[0]}" if near else f"there are {', '.join(names)}"
        raise UserError(f"{kind[:-1]}.name: there is no {kind[:-1]} {name!r}; {hint}")
    return importlib.import_module(f"engine.experiment.{kind}.{name}")
