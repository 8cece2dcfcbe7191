"""Values and lists of names as they stand in a message: short, on one line."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

VALUE_LENGTH = 80
LINE_LENGTH, WORD_LENGTH = 300, 200
NAMES = 24
# How alike two names are, from 0 to 1, so that the one may be a misspelling of the other.
NEAR = 0.5


class _Brief(reprlib.Repr):
    """Python's own shortener, with room for what a user may want to recognise."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = VALUE_LENGTH
        self.maxlevel, self.maxlist, self.maxdict, self.maxtuple = 4, 8, 6, 8

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out an integer of more than 4300 digits.
        if x.bit_length() > 4 * VALUE_LENGTH:
            return f"a number of about {int(x.bit_length() * 0.30103) + 1} digits"
        return super().repr_int(x, level)


_BRIEF = _Brief()


def brief(value: Any) -> str:
    """A value as Python writes it, cut in the middle where it is long."""
    return shortened(_BRIEF.repr(value), VALUE_LENGTH + 20)


def shortened(text: str, length: int = LINE_LENGTH) -> str:
    """A line cut in the middle: its beginning says what is wrong, its end which file says so."""
    if len(text) <= length:
        return text
    tail = length // 3
    return f"{text[: length - tail - 5]} ... {text[-tail:]}"


def in_a_line(text: str) -> str:
    """A message as it is shown, whatever of a user's it repeats. Paths and commands that one
    copies from it stay whole as long as they are of usual length."""
    words = [shortened(word, WORD_LENGTH) for word in text.split(" ")]
    return shortened(" ".join(words), 2 * LINE_LENGTH)


def listed(names: Iterable[Any], more: str = "") -> str:
    """Names with commas; of a long list the first ones, and how many follow. `more` is the command
    that shows them all."""
    found = [shortened(str(name), VALUE_LENGTH) for name in names]
    shown: list[str] = []
    length = 0
    for name in found:
        length += len(name) + 2
        if len(shown) == NAMES or length > LINE_LENGTH // 2:
            break
        shown.append(name)
    rest = len(found) - len(shown)
    if not rest:
        return ", ".join(shown) or "none"
    see = f" (see {more})" if more else ""
    return f"{', '.join(shown)} ... and {rest} more{see}"


def nearest_of(name: Any, names: Iterable[Any], cutoff: float = NEAR) -> str:
    """The one of `names` that is spelled most like `name`; empty if none is much like it."""
    known = sorted(str(item) for item in names)
    found = difflib.get_close_matches(
        shortened(str(name), VALUE_LENGTH), known, 1, cutoff
    )
    return found[0] if found else ""


def unknown(
    name: Any, names: Iterable[Any], more: str = "", *, have: str = "there are"
) -> str:
    """The end of a line about a name that is not among `names`: the nearest one, or all of them
    after the words of `have`."""
    known = sorted(str(item) for item in names)
    near = nearest_of(name, known)
    return f"nearest: {near}" if near else f"{have} {listed(known, more)}"


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its kind where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
