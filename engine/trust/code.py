"""Whether Python code of a user's file may run.

A recipe, a preset, a run folder or the manifest of a sweep may come from a stranger and name a
device or noise model by its file, whose code runs as soon as it is read. Only the user can permit
that: `--allow-code` on the command line, `with code_permission(True):` in a program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from engine.settings import UserError
from engine.trust.text import visible

# Keys of a configuration whose value may be a Python file.
KEYS = ("model", "noise_model")


class _Permission:
    """True or False as the user said; None in a program that imports us and said nothing: names in
    its own text may run, as that text runs anyway, and names in files that it reads may not."""

    granted: bool | None = None


@contextmanager
def code_permission(granted: bool | None) -> Iterator[None]:
    """Permit, or forbid, the code of user files in this process while it is entered."""
    before, _Permission.granted = _Permission.granted, granted
    try:
        yield
    finally:
        _Permission.granted = before


def code_permitted() -> bool:
    """Whether the user has permitted code by name; needed for whatever a file asks for."""
    return _Permission.granted is True


def is_code(name: object) -> bool:
    """Whether a name means a Python file (`path/to/file.py:Name`) and no built-in member."""
    return isinstance(name, str) and (":" in name or name.endswith(".py"))


def check_code(name: str) -> None:
    """The last gate, right before a file runs. Raises UserError where code was not permitted."""
    if _Permission.granted is False:
        raise refusal(name)


def check_code_in(values: Mapping[str, Any], where: object) -> None:
    """Refuse values that were read from the file `where` and name code, unless that was
    permitted. Raises UserError."""
    for key, name in code_in(values):
        if not code_permitted():
            raise refusal(f"{key}={name}", f" ({where})")


def code_in(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Keys and names of all Python files that a configuration names."""
    for key, value in values.items():
        if key in KEYS and is_code(value):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping):
            yield from code_in(value, f"{prefix}{key}.")


def refusal(what: str, where: str = "", acts: str = "runs the code of that file") -> UserError:
    """The error for code, or for anything that acts like code, without permission."""
    in_python = " (in a program: with code_permission(True))"
    how = "add --allow-code to allow it" + in_python * (_Permission.granted is None)
    return UserError(f"{visible(what)} {acts}: {how}{visible(where)}")
