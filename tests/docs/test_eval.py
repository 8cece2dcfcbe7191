"""docs/eval.md and docs/solvers.md as written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.docs.pages import run_page


def test_evaluation(aihw: Callable[..., Any], folder: Path) -> None:
    run_page("eval.md", aihw)
    found = {
        name: len(list((folder / name).rglob("accuracy.png")))
        for name in ("trained", "retrained", "runs")
    }
    assert found == {"trained": 10, "retrained": 1, "runs": 1}


def test_solvers(aihw: Callable[..., Any], folder: Path) -> None:
    results = run_page("solvers.md", aihw)
    assert "converged True" in results[0].out
    assert all("mvm_error 0.13" in result.out for result in results[1:])
