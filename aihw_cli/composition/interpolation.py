"""`${key}` in values: which are allowed, how much they stand for, and what they become."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from engine.readers.wording import brief, first_line
from engine.settings import UserError

ALLOWED = re.compile(r"\$\{\s*(\.*[A-Za-z_][\w.\[\]]*|oc\.select\s*:[^${}]*)\s*\}")
SELECT = re.compile(r"oc\.select\s*:\s*([^,\s]*)")
MISSING = "???"
HINT = "only ${key} and ${oc.select:key,default} are"
# Characters and values that all interpolations of a configuration may stand for together.
MOST = 100_000


def check_interpolations(where: str, values: Any, key: str = "") -> None:
    """Refuse resolvers outside the short list, which could read the environment, or worse, and
    values that are left open. `key` names the place of `values`."""
    for name, text in texts(values, key):
        if "${" in ALLOWED.sub("", text):
            what = f"{name}: interpolation {brief(text)}"
            raise UserError(f"{where}: {what} is not allowed; {HINT}")
        # OmegaConf's word for a value that somebody else must give.
        if text == MISSING:
            raise UserError(f"{where}: {name} is {MISSING}: write a value in its place")


def texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All texts in `value` with their dotted keys; a key counts as a text of itself."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            own = f"{key}.{name}" if key else str(name)
            yield own, str(name)
            yield from texts(inner, own)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from texts(inner, f"{key}[{number}]")


def resolve(where: str, values: dict[str, Any]) -> dict[str, Any]:
    """`values` with interpolations replaced. Raises UserError that names the key."""
    check_interpolations(where, values)
    if not any("${" in text for _, text in texts(values)):
        return values
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    _Size(where, values).check()
    try:
        made = OmegaConf.create(values)
        resolved: Any = OmegaConf.to_container(
            made, resolve=True, throw_on_missing=True
        )
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        key = getattr(error, "full_key", None)
        place = f"{key}: " if key and str(key) not in first_line(error) else ""
        raise UserError(f"{where}: {place}{first_line(error)}") from None
    return resolved


class _Size:
    """How much interpolations stand for: ten of them, each ten times the next one, are as long as
    a book shelf, and one that names itself has no end."""

    def __init__(self, where: str, values: dict[str, Any]) -> None:
        self.where = where
        self.values = values
        self.known: dict[tuple[str, ...], int] = {}
        self.open: set[tuple[str, ...]] = set()

    def check(self) -> None:
        """Raises UserError for more than a configuration can mean."""
        self._of((), self.values)

    def _of(self, path: tuple[str, ...], value: Any) -> int:
        if path in self.open:
            raise UserError(
                f"{self.where}: {_dotted(path)}: {brief(value)} refers to itself"
            )
        if path not in self.known:
            self.open.add(path)
            self.known[path] = self._sum(path, value)
            self.open.discard(path)
        if self.known[path] > MOST:
            what = f"stands for more than {MOST} characters"
            raise UserError(f"{self.where}: {_dotted(path) or 'it'} {what}")
        return self.known[path]

    def _sum(self, path: tuple[str, ...], value: Any) -> int:
        if isinstance(value, str):
            named = [self._named(path, found[1]) for found in ALLOWED.finditer(value)]
            return sum(named) + (len(value) if named else 1)
        if isinstance(value, Mapping):
            return 1 + sum(self._of((*path, str(k)), v) for k, v in value.items())
        if isinstance(value, list):
            return 1 + sum(self._of((*path, str(n)), v) for n, v in enumerate(value))
        return 1

    def _named(self, path: tuple[str, ...], name: str) -> int:
        """The size of what `${name}` in the value at `path` refers to; 0 if there is no such
        thing, which OmegaConf has words for."""
        select = SELECT.match(name)
        key = select[1] if select else name.strip()
        up = len(key) - len(key.lstrip("."))
        start = path[: max(0, len(path) - up)] if up else ()
        parts = (*start, *filter(None, re.split(r"[.\[\]]+", key)))
        place: Any = self.values
        for part in parts:
            if isinstance(place, Mapping):
                place = place.get(part)
            elif (
                isinstance(place, list) and part.isdecimal() and int(part) < len(place)
            ):
                place = place[int(part)]
            else:
                return 0
        return self._of(parts, place) if parts else 0


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(path)
