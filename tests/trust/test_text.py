"""Texts of others: what is not seen becomes an escape, and everything else stays as it is."""

from __future__ import annotations

import json
import math
import sys
import unicodedata

import pytest

from engine.jit.cpu import build
from engine.jit.source import line_directive
from engine.trust.text import plain_label, to_json, visible

PLAIN = ("", "a b", "±0.5 µS", "日本語", "👩\u200d🔬", "نص", "naïve", "~!@#$%^&*()")
ESCAPED = {
    "\x1b[31m": r"\x1b[31m",
    "\x9b1m": r"\x9b1m",
    "a\rb": r"a\rb",
    "a\nb": r"a\nb",
    "\x7f\x00": r"\x7f\x00",
    "a\u202eb": r"a\u202eb",
    "\u2066a\u2069": r"\u2066a\u2069",
    "a\u2028b": r"a\u2028b",
    "\ufeffa": r"\ufeffa",
    "\ud800": r"\ud800",
    "\U000e0041": r"\U000e0041",
}


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_seen_stays(text: str) -> None:
    assert visible(text) == text == visible(text, lines=True)


@pytest.mark.parametrize("text, shown", ESCAPED.items(), ids=range(len(ESCAPED)))
def test_what_is_not_seen_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(text, lines=True) == (text if text == "a\nb" else shown)


def test_no_character_acts_on_a_terminal() -> None:
    acting = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    for point in range(sys.maxunicode + 1):
        character = chr(point)
        if (
            unicodedata.category(character) in acting
            and character not in "\u200c\u200d"
        ):
            shown = visible(character)
            assert shown.isascii() and shown.isprintable(), hex(point)


def test_a_label_holds_no_formula() -> None:
    from matplotlib import cbook

    for text in ("$x^$", "a $ b", r"\$x\$", "$$", "a"):
        label = plain_label(text)
        assert not cbook.is_math_text(label)
        assert label.replace(r"\$", "$") == text.replace(r"\$", "$")


def test_json_without_numbers_that_it_lacks() -> None:
    value = {
        1: [math.nan, (math.inf, 1.5)],
        "a": {"b": -math.inf, "c": None, "d": True},
    }
    found = json.loads(to_json(value), parse_constant=pytest.fail)
    assert found == {"1": [None, [None, 1.5]], "a": {"b": None, "c": None, "d": True}}


PATHS = (
    "plain/cell.py",
    'x"\n{ static int broken = missing; }\n#line 1 "y.csv',
    "back\\slash\\",
    "quote\"?\\?/\n'",
    "ä\u202e日本",
    "bytes\udcff",
    "tab\there",
)


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_a_path_never_becomes_c(path: str) -> None:
    line = line_directive(7, path)
    assert line.startswith('#line 7 "') and line.endswith('"') and "\n" not in line
    assert build(f'{line}\nextern "C" int answer(void) {{ return 42; }}').is_file()
