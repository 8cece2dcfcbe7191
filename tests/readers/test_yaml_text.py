"""The one YAML reader: what it takes, what it refuses, and that what we write reads back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.readers.yaml_text import dump_yaml, parse_yaml, read_yaml
from engine.settings import UserError, packaged_data

HERE = Path("mine.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-05-01", "2024-05-01"),
        ("2024-05-01 10:00:00", "2024-05-01 10:00:00"),
        ("010", "010"),
        ("1:30", "1:30"),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0b11", 3),
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("-.5", -0.5),
        ("+3", 3),
        ("!!float 3", 3.0),
        ("!!str 3", "3"),
        ("'3'", "3"),
        ("yes", True),
        ("Off", False),
        ("~", None),
        ("", None),
        ("[1, x, [true]]", [1, "x", [True]]),
        ("|\n  block\n", "block\n"),
        ("=", "="),
    ],
)
def test_values(text: str, value: Any) -> None:
    """Texts, numbers, true, false, null, lists; dates and octal numbers are texts."""
    found = parse_yaml(f"key: {text}", HERE)["key"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "line", ["1: x", "1.5: x", "null: x", "true: x", "2024-01-01: x", "~: x", "'1': x"]
)
def test_keys_are_texts_as_they_are_written(line: str) -> None:
    """A layer may be called 0, or null."""
    assert list(parse_yaml(line, HERE)) == [line.partition(":")[0].strip("'")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("base: &b {x: 1, y: 2}\nk: {<<: *b, y: 3}", {"x": 1, "y": 3}),
        ("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nk: {<<: [*a, *b]}", {"x": 1, "y": 2}),
        ("base: &b {x: 1}\nk: {y: 3, <<: *b}", {"y": 3, "x": 1}),
        ("k: {<<: {x: 1}}", {"x": 1}),
        ("k: {'<<': 1}", {"<<": 1}),
    ],
)
def test_merges(text: str, value: dict[str, Any]) -> None:
    """`<<` brings what is not given; the first of several goes before the others."""
    assert parse_yaml(text, HERE)["k"] == value


LAUGHS = "\n".join(
    [
        "l0: &l0 [x, x]",
        *(f"l{k}: &l{k} [{', '.join([f'*l{k - 1}'] * 9)}]" for k in range(1, 9)),
    ]
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("k: !!set {a}", "k: '!!set' is not allowed"),
        ("k: !!binary aGk=", "k: '!!binary' is not allowed"),
        ("k: !!timestamp 2024-05-01", "'!!timestamp' is not allowed"),
        ("k: !!omap [a: 1]", "'!!omap' is not allowed"),
        ("k: !!python/object/apply:os.system [id]", "is not allowed"),
        ("k: !mine 3", "'!mine' is not allowed"),
        ("{!!binary aGk=: 1}", "a key must be a word or a number"),
        ("? [1, 2]\n: 3", "a key must be a word or a number"),
        ("k: 1\nk: 2", "mine.yaml:2: not valid YAML: k: key 'k' twice"),
        ("a: {b: 1, b: 2}", "a.b: key 'b' twice"),
        ("{'1': 1, 1: 2}", "key '1' twice"),
        ("k: .nan", "no finite number"),
        ("k: -.inf", "no finite number"),
        ("k: 1e400", "'1e400' is no finite number"),
        ("k: " + "9" * 5000, "k: a number of 5000 characters"),
        ("k: !!int 1e3", "'1e3' is no int"),
        ("k: !!bool maybe", "'maybe' is no bool"),
        ("k: &a [*a]", "an alias that holds itself"),
        ("k: &a {x: *a}", "k.x: an alias that holds itself"),
        ("k: *nothing", "undefined alias"),
        ("k: {<<: 5}", "<< takes a mapping"),
        ("k: {<<: {a: 1}, <<: {b: 1}}", "key '<<' twice"),
        ("k" * 300 + ": 1", "a key of 300 characters"),
        ("k: " + "[" * 33 + "]" * 33, "more than 32 levels"),
        ("k: " + "[" * 5000 + "]" * 5000, "not valid YAML"),
        ("[1, 2]", "expected `key: value` lines, found list"),
        ("text", "expected `key: value` lines, found str"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("k: [", "not valid YAML"),
        ("k:\n\t- 1", "not valid YAML"),
        (LAUGHS, "more than 200000 values"),
    ],
)
def test_refused(text: str, said: str) -> None:
    """One short line with file, line and key."""
    with pytest.raises(UserError) as error:
        parse_yaml(text, HERE)
    line = str(error.value)
    assert (
        said in line
        and line.startswith("mine.yaml")
        and "\n" not in line
        and len(line) < 300
    )


def test_a_long_list_of_keys_in_a_message_is_cut() -> None:
    """The keys that lead to a value may be a page long themselves."""
    deep = "x: !a 1"
    for _ in range(20):
        deep = f"{'k' * 150}: {{{deep}}}"
    with pytest.raises(UserError, match="is not allowed") as error:
        parse_yaml(deep, HERE)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xef\xbb\xbfk: 1", None),
        (b"k: 1\r\n", None),
        ("k: 1".encode("utf-16"), r"no UTF-8 text \(UTF-16\?"),
        (b"k: \xff", "byte 3 is no UTF-8 text"),
        (b"k: \0", "not valid YAML"),
        (b"k: 'x'\n" + b"#" * (1 << 20), "larger than 1 MB"),
    ],
)
def test_bytes(tmp_path: Path, content: bytes, said: str | None) -> None:
    """A byte order mark is left out; other encodings and very large files are refused."""
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    if said is None:
        assert read_yaml(path) == {"k": 1}
        return
    with pytest.raises(UserError, match=said):
        read_yaml(path)


def test_no_file_to_read(tmp_path: Path) -> None:
    """Pipes and devices never end."""
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    (tmp_path / "circle.yaml").symlink_to("circle.yaml")
    for name in ("pipe.yaml", "zero.yaml", "circle.yaml", "nothing.yaml", "."):
        with pytest.raises(UserError, match="cannot read"):
            read_yaml(tmp_path / name)


def test_what_we_write_reads_back() -> None:
    """Texts that look like something else are written in quotes, and lists that stand twice
    twice."""
    twice = [1.5, "x"]
    texts = (
        "1e3",
        "1:30",
        "010",
        "yes",
        "null",
        "",
        "<<",
        "=",
        "2024-05-01",
        "a: b",
        "#",
        "\x1b",
        "é",
    )
    values: dict[str, Any] = {
        "a": list(texts),
        "b": twice,
        "c": {"b": twice, "n": None, "t": True},
    }
    text = dump_yaml(values)
    assert parse_yaml(text, HERE) == values and "&" not in text
    # Other programs read the records too.
    assert yaml.safe_load(text) == values


def test_packaged_files_mean_what_other_parsers_read() -> None:
    """Nobody's recipe changes its meaning here."""
    paths = sorted(
        p
        for d in ("experiments", "presets", "conf")
        for p in (packaged_data() / d).rglob("*.yaml")
    )
    assert paths
    for path in paths:
        assert read_yaml(path) == _plain(yaml.safe_load(path.read_text()) or {}), path


def _plain(value: Any) -> Any:
    """With texts as keys, and numbers where YAML 1.1 has texts (1e-3)."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        try:
            return float(value) if "e" in value else value
        except ValueError:
            return value
    return value
