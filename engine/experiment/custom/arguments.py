"""What a class or function of the user's takes, as settings: names, types, defaults."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.experiment.data import Info
from engine.readers.wording import brief, unknown
from engine.settings import UserError

# Keys of a section that are ours.
RESERVED = ("name", "weights", "about", "source", "cite")
PLAIN = (bool, int, float, str)
# Arguments that follow from the samples unless they are given.
FROM_DATA: dict[str, Callable[[Info], Any]] = {
    "num_classes": lambda info: info.classes,
    "classes": lambda info: info.classes,
    "in_channels": lambda info: info.shape[0] if len(info.shape) == 3 else None,
    "image_size": lambda info: (
        info.shape[1] if info.shape[1:2] == info.shape[2:] else None
    ),
    "in_features": lambda info: info.size,
    "input_shape": lambda info: info.shape,
}
SEQUENCES = ("list", "tuple", "Sequence", "Iterable", "set", "frozenset")


@dataclass(frozen=True)
class Argument:
    """One argument: `kind` is bool, int, float, str, any, or `list of` one of them."""

    name: str
    kind: str
    default: Any = None
    choices: tuple[str, ...] | None = None
    required: bool = False
    # Whether None is a value of it.
    optional: bool = False
    # What a list of YAML becomes.
    as_tuple: bool = False

    def read(self, what: str, value: Any) -> Any:
        """`value` in this argument's type. Raises UserError with one line that says what is
        allowed."""
        if value is None and (self.optional or self.kind == "any"):
            return None
        if self.kind.startswith("list of "):
            if not isinstance(value, list | tuple):
                raise UserError(f"{what} must be a {self.kind}, not {brief(value)}")
            kind = self.kind.removeprefix("list of ")
            found = [_plain(f"{what}[{k}]", item, kind) for k, item in enumerate(value)]
            return tuple(found) if self.as_tuple else found
        found = _plain(what, value, self.kind)
        if self.choices and found not in self.choices:
            raise UserError(
                f"{what} must be one of {', '.join(self.choices)}, not {brief(value)}"
            )
        return tuple(found) if self.as_tuple and isinstance(found, list) else found


def arguments_of(function: Callable[..., Any]) -> dict[str, Argument]:
    """The arguments of a class or function that a configuration can give, by name.

    One whose default is no plain value (a module, a function) cannot stand in YAML and is left at
    that default."""
    return {argument.name: argument for argument in _arguments(function)}


def given_values(
    what: str, arguments: Mapping[str, Argument], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings in the types of the arguments. Raises UserError for an unknown one (with the
    nearest name), and for one that is missing."""
    for key in settings:
        if key not in arguments:
            raise UserError(f"{what} has no setting {key!r}; {unknown(key, arguments)}")
    section = what.partition(" ")[0]
    found = {}
    for name, argument in arguments.items():
        value = settings.get(name, argument.default)
        if value is None and argument.required:
            raise UserError(f"{what} needs {section}.{name} ({argument.kind})")
        if name in settings or not argument.required:
            found[name] = argument.read(f"{section}.{name}", value)
    return found


def _arguments(function: Callable[..., Any]) -> Iterator[Argument]:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return  # built in, without a signature
    hints = _hints(function)
    for name, parameter in parameters.items():
        named = parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )
        if not named or name in RESERVED:
            continue
        required = parameter.default is parameter.empty
        default = None if required else parameter.default
        found = _argument(name, hints.get(name, Any), default)
        if required:
            yield Argument(**{**vars(found), "required": True})
        elif _is_plain(default):
            yield found


def _argument(name: str, hint: Any, default: Any) -> Argument:
    """The argument of an annotation, or of its default where there is none."""
    kind, choices, as_tuple = _kind_of_hint(_without_none(hint))
    if kind == "any" and default is not None and _without_none(hint) is Any:
        kind, as_tuple = _kind_of_value(default), isinstance(default, tuple)
    optional = default is None or _without_none(hint) is not hint
    value = list(default) if isinstance(default, tuple) else default
    return Argument(name, kind, value, choices, optional=optional, as_tuple=as_tuple)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    target = function.__init__ if inspect.isclass(function) else function  # type: ignore[misc]
    try:
        return typing.get_type_hints(target)
    except Exception:
        # Annotations may name what only a type checker imports: defaults tell the types then.
        return {}


def _without_none(hint: Any) -> Any:
    """`int` of `int | None`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [one for one in typing.get_args(hint) if one is not type(None)]
        if len(rest) < len(typing.get_args(hint)):
            return rest[0] if len(rest) == 1 else Any
    return hint


def _kind_of_hint(hint: Any) -> tuple[str, tuple[str, ...] | None, bool]:
    if hint in PLAIN:
        return hint.__name__, None, False
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal and all(isinstance(one, str) for one in inner):
        return "str", tuple(inner), False
    name = getattr(origin or hint, "__name__", "")
    if name in SEQUENCES:
        kinds = {one for one in inner if one is not Ellipsis}
        kind = (
            next(iter(kinds)).__name__
            if len(kinds) == 1 and kinds <= set(PLAIN)
            else "any"
        )
        return f"list of {kind}", None, name == "tuple"
    return "any", None, False


def _kind_of_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        kinds = {type(item) for item in value}
        kind = (
            next(iter(kinds)).__name__
            if len(kinds) == 1 and kinds <= set(PLAIN)
            else "any"
        )
        return f"list of {kind}"
    return type(value).__name__ if type(value) in PLAIN else "any"


def _is_plain(value: Any) -> bool:
    """Whether a value can stand in YAML."""
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    return value is None or type(value) in PLAIN


def _plain(what: str, value: Any, kind: str) -> Any:
    """A value of a plain kind; whole numbers are numbers as well."""
    if kind == "any":
        return value
    if kind == "float" and type(value) is int:
        return float(value)
    if type(value).__name__ != kind:
        names = {"bool": "true or false", "int": "a whole number", "float": "a number"}
        raise UserError(
            f"{what} must be {names.get(kind, 'a text')}, not {brief(value)}"
        )
    return value
