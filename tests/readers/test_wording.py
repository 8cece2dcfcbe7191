"""Messages stay short, whatever of a user's they repeat."""

from __future__ import annotations

from engine.readers.wording import (
    brief,
    first_line,
    in_a_line,
    listed,
    shortened,
    unknown,
)


def test_values_are_cut() -> None:
    """In the middle, so that both ends can be recognised."""
    assert brief("x") == "'x'" and brief(1.5) == "1.5" and brief([1, 2]) == "[1, 2]"
    for value in (
        "x" * 9000,
        list(range(9000)),
        {str(k): [k] * 99 for k in range(99)},
        10**9000,
    ):
        assert len(brief(value)) <= 100
    assert brief(10**5000) == "a number of about 5001 digits"


def test_lines_are_cut() -> None:
    """Paths of usual length stay whole: one copies them."""
    path = "/home/somebody/" + "folder/" * 20
    assert path in in_a_line(f"{path} is damaged")
    assert len(in_a_line("x" * 10_000)) <= 200
    assert len(in_a_line("word " * 10_000)) <= 600
    assert shortened("a" * 50 + "b" * 50, 30) == "a" * 15 + " ... " + "b" * 10


def test_names() -> None:
    """The nearest, or the first ones and how many follow."""
    assert unknown("ecramm", ["ecram", "pcm"]) == "nearest: ecram"
    assert unknown("zzz", ["ecram", "pcm"]) == "there are ecram, pcm"
    assert unknown("z" * 9000, []) == "there are none"
    many = listed((f"name{k}" for k in range(100)), "aihw ls device")
    assert many.startswith("name0, name1") and many.endswith(
        "more (see aihw ls device)"
    )
    assert len(many) < 250


def test_an_error_without_a_text() -> None:
    """Its kind is said."""
    assert first_line(ValueError("")) == "ValueError"
    assert first_line(ValueError("\n\n two\nthree")) == "two"
