"""docs/sweeps.md as written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import run_page


def test_the_page_works_as_written(aihw, folder: Path) -> None:
    pytest.importorskip(
        "optuna", reason="Optuna is not installed: pip install 'aihw[search]'"
    )
    swept, searched, recipe, _ = run_page("sweeps.md", aihw)
    assert "4 points, 8 of 8 runs to do" in swept.out and "ci95" in swept.out
    sweep = next(folder.glob("runs/digits/sweep-*"))
    assert {path.name for path in sweep.iterdir()} >= {
        "table.csv",
        "runs.csv",
        "sweep.json",
        "points.jsonl",
    }
    assert (sweep / "logs/000-1.txt").is_file()
    assert (
        "3 of 3 runs to do" in searched.out and "best: valid_accuracy" in searched.out
    )
    assert (
        "best: valid_loss" in recipe.out
        and len(list(folder.glob("runs/*/search-*/study.db"))) == 2
    )
