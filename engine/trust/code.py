"""Whether Python code of a user's file may run.

A recipe, a preset, a run folder or the manifest of a sweep may come from a stranger and name a
device or noise model by its file, whose code runs as soon as it is read. Only the user can permit
that: `--allow-code` on the command line, `with code_permission(True):` in a program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from engine.settings import UserError
from engine.trust.text import visible

# Keys of a configuration whose value may be a Python file, and sections whose `name` may be one.
KEYS = ("model", "noise_model")
SECTIONS = ("model", "dataset")


class _Permission:
    """True or False as the user said; None in a program that imports us and said nothing: names in
    its own text may run, as that text runs anyway, and names in files that it reads may not."""

    granted: bool | None = None
    # Modules that were read under it, by their content; without it they are forgotten.
    loaded: ClassVar[dict[str, Any]] = {}


@contextmanager
def code_permission(granted: bool | None) -> Iterator[None]:
    """Permit, or forbid, the code of user files in this process while it is entered."""
    before, _Permission.granted = _Permission.granted, granted
    loaded, _Permission.loaded = _Permission.loaded, {}
    try:
        yield
    finally:
        _Permission.granted, _Permission.loaded = before, loaded


def loaded_code() -> dict[str, Any]:
    """What has been read under the permission that holds now."""
    return _Permission.loaded


def code_permitted() -> bool:
    """Whether the user has permitted code by name; needed for whatever a file asks for."""
    return _Permission.granted is True


def is_code(name: object) -> bool:
    """Whether a name means Python code (`path/to/file.py:Name`, `package.module:Name`) and no
    built-in member."""
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


def may_name_code(key: str, section: str) -> bool:
    """Whether the value of a key, in the section of this name, may be a Python file."""
    return key in KEYS or (key == "name" and section in SECTIONS)


def code_in(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Keys and names of all Python files that a configuration names."""
    section = prefix.rstrip(".").rpartition(".")[2]
    for key, value in values.items():
        if may_name_code(str(key), section) and is_code(value):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping):
            yield from code_in(value, f"{prefix}{key}.")


def refusal(
    what: str, where: str = "", acts: str = "runs the code of that file"
) -> UserError:
    """The error for code, or for anything that acts like code, without permission."""
    in_python = " (in a program: with code_permission(True))"
    how = "add --allow-code to allow it" + in_python * (_Permission.granted is None)
    return UserError(f"{visible(what)} {acts}: {how}{visible(where)}")
