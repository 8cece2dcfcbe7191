"""Mutants of recipes, presets, overrides, sweeps, run folders and manifests: no traceback, no hang,
and a line that names the key where something is refused.

300 of them here and 10,000 in `make slow`, always the same ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aihw_cli.sweeps.scheduler import Scheduler
from tests.fuzz import cases, stored
from tests.fuzz.trained import trained, trained_all

KINDS: dict[str, cases.Case] = {
    **cases.KINDS,
    **stored.KINDS,
    "trained": trained,
    "trained_all": trained_all,
}
# How many mutants of each kind there are, in blocks that several processes may share.
FEW = {
    "recipe": 60, "member": 60, "content": 30, "override": 60, "sweep": 20, "folder": 30, "resumed": 10, "manifest": 15,
    "trained": 15,
}  # fmt: skip
MANY = {
    "recipe": 2400, "member": 2000, "content": 900, "override": 1900, "sweep": 500, "folder": 1200, "resumed": 300,
    "manifest": 500, "trained_all": 300,
}  # fmt: skip
BLOCK, LARGE_BLOCK = 15, 100


def blocks(counts: dict[str, int], size: int) -> list[tuple[str, range]]:
    """Ranges of the numbers of mutants."""
    return [
        (kind, range(first, min(first + size, count)))
        for kind, count in counts.items()
        for first in range(0, count, size)
    ]


def name(block: Any) -> str:
    """Kind, and the first number of a block."""
    return block if isinstance(block, str) else str(block.start)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder; no run of a sweep is started."""
    monkeypatch.delenv("AIHW_DATA", raising=False)
    monkeypatch.setattr(Scheduler, "run", lambda self: True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(
    kind: str, numbers: range, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every mutant of a block; all that is wrong is told at once."""
    wrong = []
    for number in numbers:
        own = place / str(number)
        own.mkdir()
        monkeypatch.chdir(own)
        problems, facts = KINDS[kind](number, own)
        if problems:
            wrong.append(f"{kind} {number}: {facts['what']}: {'; '.join(problems)}")
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(("kind", "numbers"), blocks(FEW, BLOCK), ids=name)
def test_mutants(
    kind: str, numbers: range, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few of each kind."""
    check(kind, numbers, place, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "numbers"), blocks(MANY, LARGE_BLOCK), ids=name)
def test_many_mutants(
    kind: str, numbers: range, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand."""
    check(kind, numbers, place, monkeypatch)


def test_there_are_as_many_as_we_say() -> None:
    """300, and 10,000."""
    assert sum(FEW.values()) == 300
    assert sum(MANY.values()) == 10_000
