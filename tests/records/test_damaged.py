"""Run folders with a file that is cut off, changed or gone: the others are seen as ever, it is
listed as damaged, and the line says what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.readers.run_files import (
    ADVICE,
    DamagedRun,
    read_config,
    read_metrics,
    read_summary,
)
from engine.settings import UserError
from tests.cli.conftest import Result
from tests.records.helpers import config, write_run

Aihw = Callable[..., Result]
BOMB = "\n".join(
    [
        "l0: &l0 [x, x]",
        *(f"l{k}: &l{k} [{', '.join([f'*l{k - 1}'] * 9)}]" for k in range(1, 9)),
    ]
)
# File, its new content, and what is said of it.
DAMAGE = {
    "record cut off": (
        "run.json",
        '{"format": 2, "id": "ma',
        "run.json is damaged: not valid JSON",
    ),
    "record a list": ("run.json", "[]", "it holds [] instead of a record"),
    "record nested": ("run.json", "[" * 9000 + "]" * 9000, "run.json is damaged"),
    "record without status": (
        "run.json",
        '{"format": 2, "id": "a", "hash": "b"}',
        "status is missing",
    ),
    "record of nothing": ("run.json", "", "run.json is damaged"),
    "summary a list": (
        "summary.json",
        "[]",
        "summary.json is missing or damaged: it holds []",
    ),
    "summary a number": (
        "summary.json",
        "5",
        "summary.json is missing or damaged: it holds 5",
    ),
    "summary nested": (
        "summary.json",
        '{"a":' * 9000,
        "summary.json is missing or damaged",
    ),
    "summary with odd values": (
        "summary.json",
        '{"status": "finished", "test_accuracy": [1]}',
        "test_accuracy is [1] instead of a number",
    ),
    "no summary": ("summary.json", None, "summary.json is missing or damaged"),
    "configuration a bomb": ("config.yaml", BOMB, "more than 200000 values"),
    "configuration a circle": (
        "config.yaml",
        "device: &a {x: *a}",
        "an alias that holds itself",
    ),
    "configuration with objects": (
        "config.yaml",
        "device: !!set {a}",
        "device: '!!set' is not allowed",
    ),
    "configuration a list": ("config.yaml", "- 1", "expected `key: value` lines"),
    "section a number": ("config.yaml", "device: 5", "device is 5, no section"),
    "no configuration": ("config.yaml", None, "config.yaml is missing or damaged"),
}


@pytest.fixture
def hurt(folder: Path) -> Path:
    """A run to be damaged, beside two that are whole."""
    for seed in (1, 2):
        write_run(folder / "runs", config(seed=seed), number=seed)
    return write_run(folder / "runs", config(seed=3, lr=0.3), number=3)


@pytest.mark.parametrize(("name", "content", "said"), DAMAGE.values(), ids=DAMAGE)
def test_others_are_seen_and_it_is_listed(
    aihw: Aihw, hurt: Path, name: str, content: str | None, said: str
) -> None:
    """By every verb, once it was in the index as well."""
    path = hurt / name
    assert aihw("runs", "ls").code == 0
    path.unlink()
    if content is not None:
        path.write_text(content)
    for words in (
        ("ls",),
        ("show",),
        ("compare",),
        ("best",),
        ("ls", "--json"),
        ("plot", "--json"),
    ):
        result = aihw("runs", *words)
        assert result.code == 0 and "Traceback" not in result.err, result
        assert said in result.err and ADVICE in result.err and len(result.err) < 500
        for seed in (1, 2) if words[0] != "plot" else ():
            assert f"{seed:012x}-{seed}" in result.out
    rows = json.loads(aihw("runs", "ls", "--json").out)
    assert [row["status"] for row in rows].count("damaged") == 1
    alone = aihw("runs", "show", str(hurt))
    assert said in alone.err + alone.out


def test_by_itself_it_is_refused_where_it_is_needed(aihw: Aihw, hurt: Path) -> None:
    """With the same line, and exit code 2."""
    (hurt / "run.json").write_text("{")
    for words in (("best",), ("compare",), ("plot",), ("ls", "--seeds")):
        result = aihw("runs", words[0], str(hurt), *words[1:])
        assert result.code == 2 and f"{hurt}/run.json is damaged" in result.err


def test_metrics(aihw: Aihw, hurt: Path) -> None:
    """A curve without epochs is not drawn; the others are."""
    (hurt / "metrics.csv").write_text("x,test_accuracy\n1,0.5\n")
    result = aihw("runs", "plot", "--out", "a.svg")
    assert result.code == 0 and "Traceback" not in result.err
    (hurt / "metrics.csv").write_text("epoch,test_accuracy\n1,0.5\n2\n")
    with pytest.raises(
        DamagedRun, match="line 3 is damaged: it has another number of fields"
    ):
        read_metrics(hurt)


@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "circle"])
def test_no_files(aihw: Aihw, hurt: Path, kind: str) -> None:
    """What is no ordinary file is not opened."""
    for name in ("run.json", "summary.json", "config.yaml", "metrics.csv"):
        path = hurt / name
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to("/dev/zero" if kind == "link" else name)
    result = aihw("runs", "ls")
    assert (
        result.code == 0 and f"{1:012x}-1" in result.out and f"{2:012x}-2" in result.out
    )
    for read in (read_summary, read_config):
        with pytest.raises(UserError, match="is missing or damaged"):
            read(hurt)


def test_a_run_of_a_newer_version_is_not_damaged(aihw: Aihw, hurt: Path) -> None:
    """It can be read with that one."""
    record = json.loads((hurt / "run.json").read_text())
    (hurt / "run.json").write_text(json.dumps({**record, "format": 99}))
    result = aihw("runs", "ls")
    assert "unreadable" in result.out and "damaged" not in result.out + result.err
    assert "newer version of aihw (format 99); update aihw" in result.err
