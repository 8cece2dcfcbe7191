"""A declaration in a Python file: of the package, or of the user's own, which runs when it is
read."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, TypeVar

from engine.settings import user_path
from engine.trust.code import check_code

T = TypeVar("T")


def load_member(name: str, kind: type[T], what: str) -> tuple[T, str]:
    """The `kind` that `path/to/file.py:Name` defines, or the only one of `path/to/file.py`, and the
    path.

    Raises ValueError with what is wrong with the file, or UserError without permission for code.
    """
    check_code(name)
    path_text, _, attribute = name.partition(":")
    path = user_path(path_text).resolve()
    if not path.is_file():
        raise ValueError(f"no {what} file {path}")
    spec = importlib.util.spec_from_file_location(
        f"aihw_{what.replace(' ', '_')}_{path.stem}", path
    )
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = vars(module).get(attribute) if attribute else only_member(vars(module), kind, path.name)
    if not isinstance(found, kind):
        names = sorted(k for k, v in vars(module).items() if isinstance(v, kind))
        raise ValueError(f"{path} has no {what} {attribute!r}; it has {', '.join(names) or 'none'}")
    return found, str(path)


def only_member(members: Mapping[str, Any], kind: type[T], where: str) -> T:
    """The one `kind` among the members of a module. Raises ValueError if there are none or
    several."""
    found = [v for v in members.values() if isinstance(v, kind)]
    if len(found) != 1:
        raise ValueError(f"{where} must define one {kind.__name__}, it defines {len(found)}")
    return found[0]
