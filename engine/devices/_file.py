"""A declaration in a Python file: of the package, or of the user's own, which runs when it is
read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from engine.trust.load import load_code

T = TypeVar("T")


def load_member(name: str, kind: type[T], what: str) -> tuple[T, str]:
    """The `kind` that `path/to/file.py:Name` or `package.module:Name` defines, or the only one
    there, and the path of the file.

    Raises ValueError with what is wrong with the file, or UserError without permission for code.
    """
    code, attribute = load_code(name, what), name.partition(":")[2]
    members, path = vars(code.module), code.path
    found = (
        members.get(attribute) if attribute else only_member(members, kind, path.name)
    )
    if not isinstance(found, kind):
        names = sorted(k for k, v in members.items() if isinstance(v, kind))
        raise ValueError(
            f"{path} has no {what} {attribute!r}; it has {', '.join(names) or 'none'}"
        )
    return found, str(path)


def only_member(members: Mapping[str, Any], kind: type[T], where: str) -> T:
    """The one `kind` among the members of a module. Raises ValueError if there are none or
    several."""
    found = [v for v in members.values() if isinstance(v, kind)]
    if len(found) != 1:
        raise ValueError(
            f"{where} must define one {kind.__name__}, it defines {len(found)}"
        )
    return found[0]
