"""One way to declare a setting, whoever has it: a device, a tile, an algorithm, a model, a run.

A declaration fixes the type by its default and says unit, meaning and limits. From it follow the
check of every value, the schema of the command line and the tables of `aihw show`.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field, replace
from typing import Any

from engine.readers.wording import brief, nearest_of

# Lists go into structs of the kernels, which have room for so many.
MAX_NODES = 64
LARGEST = sys.float_info.max
# Whole numbers go to programs that have 64 bits for them.
WHOLE = 2**63
ITEMS = {
    bool: "values true or false",
    int: "whole numbers",
    float: "numbers",
    str: "texts",
    object: "values",  # whoever uses them checks them
}


@dataclass(frozen=True)
class Param:
    """A setting: its default (which fixes the type), unit, meaning and allowed range (both ends
    included)."""

    default: Any
    unit: str = ""
    meaning: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    choices: tuple[str, ...] | None = None
    # A word that stands for the default value.
    word: str = ""
    # How many values a list has, and of which type they are; None follows from the default.
    length: int | None = None
    shortest: int | None = None
    longest: int | None = MAX_NODES
    item: type | None = None
    # Any value is taken here, because those who use it check it.
    free: bool = False

    @property
    def kind(self) -> type:
        """The type of the values."""
        return type(self.default)

    @property
    def kind_name(self) -> str:
        """The type in words: bool, int, float, str, any, or `list of` one of them."""
        if self.free or not isinstance(self.default, bool | int | float | str | list):
            return "any"
        if self.kind is not list:
            return self.kind.__name__
        return (
            "list of any"
            if self.item is object
            else f"list of {self.item_kind.__name__}"
        )

    @property
    def item_kind(self) -> type:
        """The type of the values of a list."""
        if self.item is not None:
            return self.item
        return type(self.default[0]) if self.default else float

    @property
    def allowed(self) -> str:
        """Type and range in a few words."""
        if self.choices:
            return " | ".join(self.choices)
        name = (
            self.kind_name
            if self.length is None
            else f"{self.kind_name}, {self.length} values"
        )
        name = f"{name} or {self.word}" if self.word else name
        limits = (("> ", self.above), (">= ", self.minimum), ("<= ", self.maximum))
        shown = (f"{sign}{limit:g}" for sign, limit in limits if limit is not None)
        return ", ".join([name, *shown])

    def read(self, name: str, value: Any) -> Any:
        """`value` as this setting's type. Raises ValueError with one line that says what is
        allowed."""
        if self.kind_name == "any":
            return value
        if self.kind is list:
            return self._list(name, value)
        if self.kind is str:
            return self._text(name, value)
        if self.word and value == self.word:
            return self.default
        if self.kind is bool:
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be true or false, not {brief(value)}")
            return value
        return self._number(name, value)

    def _list(self, name: str, value: Any) -> list[Any]:
        """A list whose values are all allowed."""
        low, high = self._lengths()
        if not isinstance(value, list | tuple) or not low <= len(value) <= high:
            count = (
                f"{low} to {high:g}"
                if high < math.inf
                else f"{low} or more"
                if low
                else ""
            )
            count = str(low) if low == high else count
            what = " ".join(filter(None, (count, ITEMS[self.item_kind])))
            raise ValueError(f"{name} must be a list of {what}, not {brief(value)}")
        one = replace(self, default=self.item_kind(), item=None)
        return [
            one.read(f"{name}[{number}]", item) for number, item in enumerate(value)
        ]

    def _lengths(self) -> tuple[int, float]:
        """The smallest and the largest number of values of a list."""
        if self.length is not None:
            return self.length, self.length
        low = int(bool(self.default)) if self.shortest is None else self.shortest
        return low, math.inf if self.longest is None else self.longest

    def _text(self, name: str, value: Any) -> str:
        """A text, one of the choices where there are some. YAML reads `None` as nothing."""
        choices = self.choices or ()
        if value is None and "None" in choices:
            return "None"
        if not isinstance(value, str) or (choices and value not in choices):
            allowed = f"one of {', '.join(choices)}" if choices else "a text"
            near = nearest_of(value, choices)
            hint = f"; nearest: {near}" if near else ""
            raise ValueError(f"{name} must be {allowed}, not {brief(value)}{hint}")
        return value

    def _number(self, name: str, value: Any) -> Any:
        """A finite number within the limits."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} must be a number, not {brief(value)}")
        # An integer may be larger than any number of the other kind.
        if abs(value) > LARGEST or not math.isfinite(value):
            raise ValueError(
                f"{name} must be finite, at most {LARGEST:.2g}, not {brief(value)}"
            )
        if self.kind is int and value != int(value):
            raise ValueError(f"{name} must be a whole number, not {brief(value)}")
        if self.above is not None and value <= self.above:
            raise ValueError(f"{name} must be > {self.above:g}, not {value:g}")
        if self.minimum is not None and value < self.minimum:
            raise ValueError(f"{name} must be >= {self.minimum:g}, not {value:g}")
        if self.maximum is not None and value > self.maximum:
            raise ValueError(f"{name} must be <= {self.maximum:g}, not {value:g}")
        if self.kind is int and abs(value) >= WHOLE:
            raise ValueError(f"{name} must be below 2^63 = 9.2e18, not {value:g}")
        return self.kind(value)


# Where a field of a dataclass keeps its declaration.
DECLARED = "declared"


def setting(default: Any, meaning: str, unit: str = "", **limits: Any) -> Any:
    """A field of a dataclass with its declaration; `limits` are the other fields of Param."""
    metadata = {DECLARED: Param(default, unit, meaning, **limits)}
    if isinstance(default, list | dict):
        # Each object gets a list of its own.
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)
