"""docs/papers.md: its example is a figure, and its commands exist."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.settings import ROOT
from tests.cli.conftest import write
from tests.docs.pages import blocks

PAGE = ROOT / "docs" / "papers.md"


def test_the_example_is_a_figure(folder: Path, aihw: Callable[..., Any]) -> None:
    text = next(block.text for block in blocks(PAGE) if block.language == "yaml")
    write(folder / "experiments/example2026/fig1.yaml", text)
    write(folder / "experiments/example2026/paper.bib", "@misc{example2026}\n")
    listed = aihw("reproduce", "example2026", "--list")
    assert listed.code == 0, listed.err
    assert "published [FT]" in listed.out and "15 x 1 min" in listed.out
    lines = aihw(
        "reproduce", "example2026/fig1", "--scaled", "--commands"
    ).out.splitlines()
    assert len(lines) == 15
    named = re.findall(r"`([\d.]+ \d+ epochs)`", PAGE.read_text(encoding="utf-8"))
    assert named and all(name in text or name == "0.001 8 epochs" for name in named)


def test_the_commands_of_the_page_exist(folder: Path, aihw: Callable[..., Any]) -> None:
    lines = next(
        block.text for block in blocks(PAGE) if block.language == "sh"
    ).splitlines()
    known = aihw("reproduce", "--help").out
    for line in lines:
        words = line.partition("#")[0].partition(">")[0].split()
        assert words[:2] == ["aihw", "reproduce"]
        assert all(word in known for word in words if word.startswith("--")), line
