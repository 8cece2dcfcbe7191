"""`key=value` in Hydra's grammar: read, told apart, expanded to the points of a sweep. Wraps
Hydra's internals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.presets import groups, members
from engine.settings import UserError
from engine.trust.code import is_code


@dataclass(frozen=True)
class Change:
    """One override: a group choice (`device=ecram`, `device@algorithm.fast=ecram`) or a value
    (`optimizer.lr=0.1`).

    `whole`: the value replaces its section instead of being merged
    (`device=my_device.py:MyDevice`)."""

    key: str
    value: Any
    text: str
    choice: bool
    whole: bool = False

    @property
    def group(self) -> str:
        """The group of a choice."""
        return self.key.partition("@")[0]


class Members:
    """The one question that `glob()` asks of Hydra's loader, answered from our folders."""

    def get_group_options(self, group_name: str, *_: Any, **__: Any) -> list[str]:
        return sorted(members(group_name))


def parse(texts: Sequence[str]) -> list[Any]:
    """Hydra's override objects. Raises UserError with the override that cannot be read."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException, OverrideParseException

    parser = OverridesParser.create(config_loader=Members())  # type: ignore[arg-type]
    found = []
    for text in texts:
        if "=" not in text:
            raise UserError(f"{text!r} is neither an option nor key=value")
        try:
            found += parser.parse_overrides([text])
        except (OverrideParseException, HydraException) as error:
            hint = "quote spaces and special characters: key='a b'"
            raise UserError(f"cannot read {text!r}: {_reason(error)} ({hint})") from None
    return found


def read(texts: Sequence[str]) -> list[Change]:
    """The changes of one run: no sweeps, no deletions."""
    known = groups()
    changes = []
    for override in parse(texts):
        text = override.input_line
        if override.is_delete():
            raise UserError(f"{text!r}: a key cannot be deleted; give it another value")
        if override.is_sweep_override():
            raise UserError(
                f"{text!r} holds several values: add -m for a sweep, or write a list as [a,b]"
            )
        key, value = _key(override), override.value()
        if override.key_or_group.partition(".")[0] == "hydra" or str(override.package).startswith(
            "hydra"
        ):
            raise UserError(f"{text!r}: settings of Hydra itself cannot be changed here")
        own_device = override.key_or_group == "device" and is_own_device(value)
        choice = override.key_or_group in known and not own_device
        if choice and not isinstance(value, str | None):
            raise UserError(
                f"{text!r}: {key} takes the name of a member of presets/ or conf/, not {value!r}"
            )
        if own_device:
            key, value = override.package or "device", {"model": value}
        changes.append(Change(key, value, text, choice, own_device))
    return changes


def expand(texts: Sequence[str]) -> list[list[str]]:
    """The points of a sweep, each as overrides without commas, `range()`, `choice()` or
    `glob()`."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.errors import HydraException

    parsed = parse(texts)
    for override in parsed:
        if override.is_sweep_override() and not _members_of(override):
            raise UserError(f"{override.input_line!r} matches nothing")
    try:
        return [
            list(point) for batch in BasicSweeper.split_arguments(parsed, None) for point in batch
        ]
    except HydraException as error:
        raise UserError(
            f"cannot sweep: {error}; write key=a,b or key=range(1,5) or key=choice(a,b)"
        ) from None


def swept_keys(texts: Sequence[str]) -> list[str]:
    """Keys that differ between the points of a sweep."""
    return [_key(override) for override in parse(texts) if override.is_sweep_override()]


def is_device_file(value: str) -> bool:
    """Whether a device is named by a Python file, whose code would run, instead of a built-in
    name."""
    return is_code(value)


def is_own_device(value: Any) -> bool:
    """Whether a device is the user's own: a Python file, or a table of measured steps."""
    return isinstance(value, str) and (is_device_file(value) or value.endswith(".csv"))


def _key(override: Any) -> str:
    return (
        f"{override.key_or_group}@{override.package}" if override.package else override.key_or_group
    )


def _members_of(override: Any) -> bool:
    if not override.is_discrete_sweep():
        return True
    return next(iter(override.sweep_string_iterator()), None) is not None


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0]
