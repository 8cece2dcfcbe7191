"""Settings that belong together: a dataclass whose values are checked wherever they are set."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar

from engine.config.fields import DECLARED, Param
from engine.readers.wording import brief, unknown

T = TypeVar("T")


class Settings:
    """What all sections of settings have in common. A subclass is a dataclass.

    A name that it lacks raises AttributeError, a value that is not allowed ValueError: at the line
    that sets it, not in a training that runs for hours without it."""

    def __setattr__(self, name: str, value: Any) -> None:
        declared = declarations(type(self))
        if name not in declared:
            hint = unknown(name, declared, have="it has")
            raise AttributeError(
                f"{type(self).__name__} has no setting {name!r}; {hint}"
            )
        object.__setattr__(self, name, read_field(declared[name], value, name))

    def __str__(self) -> str:
        """What differs from the defaults, in a line."""
        return f"{type(self).__name__}({', '.join(changes(vars(self), declarations(type(self))))})"


def changes(
    values: Mapping[str, Any], declared: Mapping[str, Param | type], prefix: str = ""
) -> Iterator[str]:
    """`name=value` for each value that is not at its default; those within a section with the
    name of the section. What is not declared counts as changed."""
    for name, value in values.items():
        entry = declared.get(name)
        inner = vars(value) if isinstance(value, Settings) else value
        if isinstance(entry, type) and isinstance(inner, Mapping):
            yield from changes(inner, declarations(entry), f"{prefix}{name}.")
        elif not isinstance(entry, Param) or value != entry.default:
            shown = f"{value:.6g}" if isinstance(value, float) else value
            yield f"{prefix}{name}={shown}"


class Parameters(dict[str, Any]):
    """Values by name, of a device for example, that are checked where one of them is changed."""

    declared: Mapping[str, Param | type] | None = None

    def __init__(
        self, values: Any = (), declared: Mapping[str, Param | type] | None = None
    ) -> None:
        super().__init__(values)
        self.declared = declared

    def __setitem__(self, name: str, value: Any) -> None:
        # A copy that is just being made knows no declarations yet.
        if self.declared is not None:
            if name not in self.declared:
                raise KeyError(f"no parameter {name!r}; {unknown(name, self.declared)}")
            value = read_field(self.declared[name], value, name)
        super().__setitem__(name, value)

    def update(self, *values: Any, **more: Any) -> None:
        """As for any mapping, each value checked."""
        for name, value in dict(*values, **more).items():
            self[name] = value

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameters:
        # Declarations do not change, and may hold functions.
        return Parameters(copy.deepcopy(dict(self), memo), self.declared)


def declarations(kind: Any) -> dict[str, Param | type]:
    """The declaration of each setting of a section; of a section within it, its class."""
    return _declarations(kind)


@functools.cache
def _declarations(kind: type) -> dict[str, Param | type]:
    """The same, worked out once for each class."""
    found: dict[str, Param | type] = {}
    for item in fields(kind):
        default = default_of(item)
        if DECLARED in item.metadata:
            found[item.name] = item.metadata[DECLARED]
        elif is_dataclass(default):
            found[item.name] = type(default)
        else:
            found[item.name] = Param(default, free=True)
    return found


def default_of(item: Field[Any]) -> Any:
    """The value of a field that nobody sets."""
    return item.default if item.default_factory is MISSING else item.default_factory()


def read_field(declared: Param | type, value: Any, name: str) -> Any:
    """One value as it is declared. Raises ValueError in one line."""
    if isinstance(declared, Param):
        return value if value is declared.default else declared.read(name, value)
    # Settings of one family may take each other's place, such as those of an update by one pulse.
    family = next(base for base in reversed(declared.__mro__) if is_dataclass(base))
    if isinstance(value, family):
        return value
    return read_settings(declared, value, name)


def read_settings(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """A section from plain values, checked for type, range and choices. Raises ValueError in one
    line."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must hold settings, not {brief(values)}")
    table = declarations(kind)
    check_keys(values, table, where)
    return _make(
        kind, {k: read_field(table[k], v, f"{where}.{k}") for k, v in values.items()}
    )


def _make(kind: type[T], values: Mapping[str, Any]) -> T:
    """A section of values that are checked already."""
    if not issubclass(kind, Settings):
        return kind(**values)
    made = object.__new__(kind)
    for item in fields(kind):  # type: ignore[arg-type]
        made.__dict__[item.name] = (
            values[item.name] if item.name in values else default_of(item)
        )
    after = getattr(made, "__post_init__", None)
    if after is not None:
        after()
    return made  # type: ignore[return-value]


def check_keys(values: Mapping[str, Any], allowed: Any, where: str) -> None:
    """Raises ValueError, naming the nearest allowed key, for a key that is not allowed."""
    for key in values:
        if key not in allowed:
            raise ValueError(
                f"{where} has no key {key!r}; {unknown(key, allowed, have='it has')}"
            )
