"""JSON of run folders and manifests."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.readers.json_text import parse_json, read_json
from engine.settings import UserError


def test_values() -> None:
    """What JSON lacks is null, as where we write it."""
    text = '{"a": [1, 2.5, "x", null, true], "b": NaN, "c": -Infinity, "d": 1e999}'
    found = parse_json(text, "it")
    assert found == {"a": [1, 2.5, "x", None, True], "b": None, "c": None, "d": None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("{} {}", "Extra data"),
        ("'a'", "not valid JSON"),
        ("9" * 5000, "a number of 5000 digits"),
        ("[" * 40 + "]" * 40, "more than 32 levels"),
        ("[" * 100_000 + "]" * 100_000, "it is damaged"),
    ],
)
def test_refused(text: str, said: str) -> None:
    """One short line."""
    with pytest.raises(UserError, match=said) as error:
        parse_json(text, "it")
    assert len(str(error.value)) < 200


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """These files lie in folders of others."""
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").symlink_to("a.json")
    assert read_json(tmp_path / "a.json") == {}
    with pytest.raises(UserError, match="it is a link"):
        read_json(tmp_path / "b.json")
