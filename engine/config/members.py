"""One way to find what is called by a name: devices, algorithms, noise models, tasks, models.

Each of them is a file in the folder of its kind, so that adding one means adding a file."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from engine.readers.wording import unknown
from engine.settings import ROOT, UserError


@dataclass(frozen=True)
class Members:
    """The files of a package that are members: those whose names begin with a small letter.

    `what` begins the line about a name that is none; `others` are files that help members."""

    package: str
    what: str
    others: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return ROOT.joinpath(*self.package.split("."))

    def names(self) -> list[str]:
        """The names of all members, sorted."""
        found = {path.stem for path in self.folder.glob("[a-z]*.py")}
        return sorted(found - set(self.others))

    def find(self, name: str) -> ModuleType:
        """The module of a member. Raises UserError, which is a ValueError, with the nearest
        name."""
        return _find(self, name)


@functools.cache
def _find(members: Members, name: str) -> ModuleType:
    """The same, looked up once for each name: a sweep asks for it at every point."""
    names = members.names()
    if name not in names:
        raise UserError(f"{members.what} {name!r}; {unknown(name, names)}")
    return importlib.import_module(f"{members.package}.{name}")
