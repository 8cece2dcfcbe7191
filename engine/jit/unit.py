"""Translation units: kernel files of the engine with everything that they `#include`, as one text.

Files are named relative to engine/physics or engine/kernels (`portable.cuh`, `mvm/vector.cu`). An
included name is searched beside the file that includes it first, then below both folders. A text
that Python makes, such as the structs of a device, is included like a file, by the name under which
it is given to the unit. An alias is a name for a file that a unit chooses: that of a processor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

ENGINE = Path(__file__).resolve().parent.parent
FOLDERS = ("physics", "kernels")
INCLUDE = re.compile(r'^#include "([^"]+)"')


def header(name: str) -> str:
    """The text of a file of engine/physics or engine/kernels. Raises LookupError if there is none
    of that name."""
    for folder in FOLDERS:
        path = ENGINE / folder / name
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise LookupError(
        f"no kernel text {name!r} in {' or '.join(f'engine/{f}' for f in FOLDERS)}"
    )


def exists(name: str) -> bool:
    """Whether engine/physics or engine/kernels has a file of that name."""
    return any((ENGINE / folder / name).is_file() for folder in FOLDERS)


def kernel_files() -> dict[str, Path]:
    """All kernel texts by the names under which they are included."""
    return {
        path.relative_to(ENGINE / folder).as_posix(): path
        for folder in FOLDERS
        for path in sorted((ENGINE / folder).rglob("*.cu*"))
    }


class Unit:
    """One translation unit, or a namespace inside of one.

    Each file appears once, where it is first asked for: an `#include` of a text that is there
    already is dropped. This is decided before any preprocessor runs, so that a file below `#if` must
    not be included anywhere else.
    """

    def __init__(
        self,
        generated: Mapping[str, str] | None = None,
        *,
        aliases: Mapping[str, str] | None = None,
        inside: Unit | None = None,
    ) -> None:
        self._generated, self._aliases = dict(generated or {}), dict(aliases or {})
        # A namespace sees what precedes it, and what it includes itself stays its own.
        self._seen: set[str] = set() if inside is None else set(inside._seen)

    def text(self, *names: str) -> str:
        """The texts of files that are not in the unit yet, in this order, after what they
        include."""
        return "\n".join(filter(None, (self._once(name) for name in names)))

    def _once(self, name: str) -> str:
        if name in self._seen:
            return ""
        self._seen.add(name)
        if name in self._generated:
            return self._generated[name]
        lines = header(name).replace("#pragma once", "").split("\n")
        for at, line in enumerate(lines):
            if found := INCLUDE.match(line):
                included = self._once(self._resolved(found[1], name))
                lines[at] = f'{included}\n#line {at + 2} "{name}"' if included else ""
        return "\n".join([f'#line 1 "{name}"', *lines])

    def _resolved(self, included: str, name: str) -> str:
        """The name of an included text as the unit knows it."""
        included = self._aliases.get(included, included)
        beside = (PurePosixPath(name).parent / included).as_posix()
        return beside if beside not in self._generated and exists(beside) else included


def unit_text(*names: str) -> str:
    """The translation unit of these files, none of which needs a text that Python makes."""
    return Unit().text(*names)


def included_by(name: str) -> list[str]:
    """A file and all that it includes, each once, in the order of their first lines in a unit."""
    found: list[str] = []

    def visit(file: str) -> None:
        if file in found or not exists(file):
            return
        for line in header(file).split("\n"):
            if match := INCLUDE.match(line):
                visit(Unit()._resolved(match[1], file))
        found.append(file)

    visit(name)
    return found
