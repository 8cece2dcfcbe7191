"""Texts of others on the way to a terminal, a log or a figure.

Names of files, keys, claims and records may hold escape sequences that control a terminal, line
breaks that forge lines of ours, or characters that turn the direction of writing around."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from typing import Any

# Controls, formats (which turn the direction of writing), surrogates, and separators of lines.
HIDDEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
# Parts of ordinary words and emoji in several scripts, which stand in no category of their own.
JOINERS = frozenset("\u200c\u200d")


def visible(text: object, *, lines: bool = False) -> str:
    """`text` with every character that is not seen as its escape (`\\x1b`, `\\u202e`); line breaks
    and tabs stay if `lines`."""
    text = str(text)
    # Nearly every text is plain, and this test runs in C.
    if text.isprintable():
        return text
    kept = JOINERS | {"\n", "\t"} if lines else JOINERS
    return "".join(
        _escape(c) if unicodedata.category(c) in HIDDEN and c not in kept else c
        for c in text
    )


def _escape(character: str) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character) or (
        character.encode("unicode_escape", "surrogatepass").decode("ascii")
    )


def plain_label(text: object) -> str:
    """A text for matplotlib, which takes what stands between two dollar signs for a formula and
    stops at one that it cannot read."""
    return visible(text).replace("\\$", "$").replace("$", r"\$")


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON that every reader takes: numbers that it lacks (infinite, undefined) become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
