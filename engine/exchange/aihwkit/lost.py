"""What a translation cannot carry: one line each, so that nothing is left out without a word."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class Untranslatable(ValueError):
    """Settings of which there is nothing like here; the message is one line."""


@dataclass(frozen=True)
class Lost:
    """A setting or state that is not carried. `matters` says that results may differ for it."""

    where: str
    why: str
    value: Any = None
    matters: bool = True

    def __str__(self) -> str:
        shown = "" if self.value is None else f"={_short(self.value)}"
        return f"{self.where}{shown}: {self.why}"


@dataclass
class Losses:
    """The list of all that a translation leaves out, each line once."""

    found: list[Lost] = field(default_factory=list)

    def add(
        self, where: str, why: str, value: Any = None, *, matters: bool = True
    ) -> None:
        """Note one setting or state."""
        lost = Lost(where, why, value, matters)
        if lost not in self.found:
            self.found.append(lost)

    @property
    def that_matter(self) -> list[Lost]:
        """Those for which results may differ."""
        return [lost for lost in self.found if lost.matters]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
