"""docs/hwa.md as written."""

from __future__ import annotations

from pathlib import Path

from tests.docs.pages import run_page


def test_the_page_works_as_written(aihw, folder: Path) -> None:
    results = run_page("hwa.md", aihw)
    assert [result.code for result in results] == [0, 0, 2]
    assert "it needs device=ideal, not constant_step" in results[-1].err
