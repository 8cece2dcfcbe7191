"""`key=value` in Hydra's grammar: read, told apart, expanded to the points of a sweep. Wraps
Hydra's internals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.presets import groups, members, read_member
from engine.readers.wording import brief, first_line, shortened
from engine.settings import UserError, user_path
from engine.trust.code import SECTIONS as CODE_SECTIONS
from engine.trust.code import is_code

# The grammar's time grows with the square of a long list, and its depth is Python's own.
LENGTH, DEPTH, DIGITS = 8000, 20, 100
MOST_POINTS = 10_000


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

    parser = OverridesParser.create(config_loader=Members())  # type: ignore[arg-type]
    found = []
    for text in texts:
        _check_text(text)
        try:
            found += parser.parse_overrides([text])
        except (
            Exception
        ) as error:  # of any kind: the parser computes with what stands there
            hint = "quote spaces and special characters: key='a b'"
            raise UserError(
                f"cannot read {brief(text)}: {_reason(error)} ({hint})"
            ) from None
    return found


def _check_text(text: str) -> None:
    """Refuse what the parser would need very long for, or could not name in a short line."""
    key, mark, value = text.partition("=")
    if text.startswith("~"):
        raise UserError(
            f"{brief(text)}: a key cannot be deleted; give it another value"
        )
    if not mark:
        raise UserError(f"{brief(text)} is neither an option nor key=value")
    if not key.strip("+~ "):
        raise UserError(f"{brief(text)} lacks a key: key=value")
    if len(text) > LENGTH:
        hint = "write long lists into a recipe"
        name = shortened(key, 100)
        raise UserError(f"{name}: {len(text)} characters, more than {LENGTH}; {hint}")
    depth = deepest = 0
    for character in value:
        depth += (character in "[{(") - (character in ")}]")
        deepest = max(deepest, depth)
    if deepest > DEPTH:
        raise UserError(f"{key}: more than {DEPTH} brackets in each other")


def read(texts: Sequence[str]) -> list[Change]:
    """The changes of one run: no sweeps, no deletions."""
    known = groups()
    changes = []
    for override in parse(texts):
        text = override.input_line
        if override.is_sweep_override():
            hint = "add -m for a sweep, or write a list as [a,b]"
            raise UserError(f"{brief(text)} holds several values: {hint}")
        key, value = _key(override), plain(_key(override), override.value())
        if override.key_or_group.partition(".")[0] == "hydra" or str(
            override.package
        ).startswith("hydra"):
            raise UserError(
                f"{brief(text)}: settings of Hydra itself cannot be changed here"
            )
        group = override.key_or_group
        own_device = group == "device" and is_own_device(value)
        code = group in CODE_SECTIONS and is_code(value)
        choice = group in known and not (own_device or code)
        if choice and not isinstance(value, str | None):
            what = f"{key} takes the name of a member of presets/ or conf/"
            raise UserError(f"{brief(text)}: {what}, not {brief(value)}")
        if own_device:
            key, value = override.package or "device", own_device_values(value)
        if code:
            key, value = group, {"name": value}
        # Hydra's + for a new key means nothing here: which keys there are is fixed.
        # Settings of another network mean nothing to this one; those of datasets are the same.
        whole = own_device or (code and group == "model")
        changes.append(Change(key, value, text.lstrip("+"), choice, whole))
    return changes


def plain(key: str, value: Any) -> Any:
    """A value with texts as keys of mappings. Raises UserError for a sweep inside a list, and for
    numbers that are none."""
    from hydra.core.override_parser.types import Sweep

    if isinstance(value, dict):
        named = {k if isinstance(k, str) else _key_text(k): v for k, v in value.items()}
        return {k: plain(f"{key}.{k}", v) for k, v in named.items()}
    if isinstance(value, list):
        return [plain(f"{key}[{number}]", item) for number, item in enumerate(value)]
    if isinstance(value, Sweep):
        raise UserError(
            f"{key}: range(), choice() and the like cannot stand inside a value"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{key} must be finite, not {value}")
    if isinstance(value, int) and abs(value) >= 10**DIGITS:
        raise UserError(f"{key} must have at most {DIGITS} digits, not {brief(value)}")
    return value


def _key_text(key: Any) -> str:
    """A number or a word such as true, as it is written."""
    return (
        "null"
        if key is None
        else str(key).lower()
        if isinstance(key, bool)
        else str(key)
    )


def expand(texts: Sequence[str]) -> list[list[str]]:
    """The points of a sweep, each as overrides without commas, `range()`, `choice()` or
    `glob()`."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    parsed = parse(texts)
    counts = {_key(o): len(choices(o)) for o in parsed if o.is_sweep_override()}
    points = math.prod(counts.values())
    if points > MOST_POINTS:
        made = " x ".join(f"{count} of {brief(key)}" for key, count in counts.items())
        raise UserError(
            f"{made} are {points} points; a sweep has at most {MOST_POINTS}"
        )
    for override in parsed:
        if not override.is_sweep_override():
            plain(_key(override), override.value())
    batches = BasicSweeper.split_arguments(parsed, None)
    return [
        [word.lstrip("+") for word in point] for batch in batches for point in batch
    ]


def choices(override: Any) -> list[str]:
    """The values of a sweep over one key. Raises UserError that names the key where there are
    none, or too many to write down."""
    from hydra.core.override_parser.types import ChoiceSweep, RangeSweep

    key, value = _key(override), override._value
    if not override.is_discrete_sweep():
        hint = f"write {key}=a,b or {key}=range(1,5) or {key}=choice(a,b)"
        raise UserError(
            f"{brief(override.input_line)}: an interval has no points; {hint}"
        )
    if getattr(value, "shuffle", False):
        raise UserError(
            f"{key}: shuffle() would make another sweep each time; leave it out"
        )
    if isinstance(value, RangeSweep):
        _check_range(key, value)
    if isinstance(value, ChoiceSweep):
        for item in value.list:
            plain(key, item)
    found = list(override.sweep_string_iterator())
    if not found:
        raise UserError(f"{brief(override.input_line)} matches nothing")
    if len(found) > MOST_POINTS:
        raise UserError(
            f"{key}: {len(found)} values; a sweep has at most {MOST_POINTS} points"
        )
    return found


def _check_range(key: str, sweep: Any) -> None:
    """Refuse a range without an end before it is gone through."""
    ends = (sweep.start, sweep.stop, sweep.step)
    for number in ends:
        if not isinstance(number, int | float):
            raise UserError(f"{key}: range() takes numbers, not {brief(number)}")
        plain(key, number)
    start, stop, step = ends
    if step == 0:
        raise UserError(f"{key}: the step of range() must not be 0")
    if (stop - start) / step > MOST_POINTS:
        many = brief(math.ceil((stop - start) / step))
        raise UserError(
            f"{key}: a range of {many} values; a sweep has at most {MOST_POINTS} points"
        )


def swept_keys(texts: Sequence[str]) -> list[str]:
    """Keys that differ between the points of a sweep."""
    return [_key(override) for override in parse(texts) if override.is_sweep_override()]


def is_device_file(value: str) -> bool:
    """Whether a device is named by a Python file, whose code would run, instead of a built-in
    name."""
    return is_code(value)


def is_own_device(value: Any) -> bool:
    """Whether a device is the user's own: a Python file, a table of measured steps, or a file in
    the form of a preset."""
    return isinstance(value, str) and (
        is_device_file(value) or value.endswith((".csv", ".yaml"))
    )


def own_device_values(value: str) -> dict[str, Any]:
    """The section that stands for a device of the user's own. Raises UserError with file and
    line."""
    if not value.endswith(".yaml"):
        return {"model": value}
    found = read_member(user_path(value)).values
    if "defaults" in found:
        raise UserError(f"{value}: a device in a file of its own cannot name defaults")
    if "model" not in found:
        raise UserError(f"{value}: a device needs the name of its step: model: NAME")
    return dict(found)


def _key(override: Any) -> str:
    return (
        f"{override.key_or_group}@{override.package}"
        if override.package
        else override.key_or_group
    )


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)
