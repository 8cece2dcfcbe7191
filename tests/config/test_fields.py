"""Declarations: what each kind of setting takes and refuses."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config.fields import Param

TAKEN: dict[str, tuple[Param, Any, Any]] = {
    "whole number for a float": (Param(1.0), 2, 2.0),
    "float for a whole number": (Param(1), 2.0, 2),
    "edge": (Param(1.0, minimum=0, maximum=2), 2, 2.0),
    "word": (Param(0, word="auto"), "auto", 0),
    "nothing as a text": (Param("a", choices=("a", "None")), None, "None"),
    "list": (Param([1.0]), (1, 2), [1.0, 2.0]),
    "empty list": (Param([]), [], []),
    "list of choices": (Param([], item=str, choices=("a", "b")), ["b"], ["b"]),
    "anything": (Param(None), {"a": [1]}, {"a": [1]}),
    "free": (Param(["1s"], free=True), [3, "1h"], [3, "1h"]),
}
REFUSED: dict[str, tuple[Param, Any, str]] = {
    "text": (Param(1.0), "2", "k must be a number, not '2'"),
    "true": (Param(1.0), True, "k must be a number, not True"),
    "number": (Param(True), 1, "k must be true or false, not 1"),
    "fraction": (Param(1), 1.5, "k must be a whole number, not 1.5"),
    "infinite": (Param(1.0), float("inf"), "k must be finite"),
    "huge": (Param(1.0), 10**400, "k must be finite"),
    "64 bits": (Param(1), 2**63, "k must be below 2^63"),
    "below": (Param(1.0, minimum=0), -1, "k must be >= 0, not -1"),
    "at": (Param(1.0, above=0), 0, "k must be > 0, not 0"),
    "beyond": (Param(1.0, maximum=2), 3, "k must be <= 2, not 3"),
    "choice": (
        Param("ab", choices=("ab", "xy")),
        "ac",
        "one of ab, xy, not 'ac'; nearest: ab",
    ),
    "no text": (Param(""), 3, "k must be a text, not 3"),
    "no list": (Param([1.0]), 3, "k must be a list of 1 to 64 numbers, not 3"),
    "empty": (Param([1.0]), [], "k must be a list of 1 to 64 numbers, not []"),
    "long": (Param([]), [0.0] * 65, "k must be a list of 0 to 64 numbers"),
    "length": (
        Param([0.5, 0.5], length=2),
        [1],
        "k must be a list of 2 numbers, not [1]",
    ),
    "item": (Param([1.0], above=0), [1, 0], "k[1] must be > 0, not 0"),
    "item type": (Param([], item=int), [0.5], "k[0] must be a whole number, not 0.5"),
}


@pytest.mark.parametrize("declared, value, expected", TAKEN.values(), ids=TAKEN)
def test_taken(declared: Param, value: Any, expected: Any) -> None:
    read = declared.read("k", value)
    assert read == expected and type(read) is type(expected)


@pytest.mark.parametrize("declared, value, words", REFUSED.values(), ids=REFUSED)
def test_refused(declared: Param, value: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        declared.read("k", value)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_allowed_in_words() -> None:
    assert Param(1.0, above=0, maximum=2).allowed == "float, > 0, <= 2"
    assert Param([0.5], length=2).allowed == "list of float, 2 values"
    assert Param("a", choices=("a", "b")).allowed == "a | b"
    assert Param(0, word="auto").allowed == "int or auto"
    assert Param(None).allowed == "any"
