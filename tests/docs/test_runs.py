"""docs/runs.md as written."""

from __future__ import annotations

from pathlib import Path

from tests.docs.pages import run_page


def test_the_page_works_as_written(aihw, folder: Path) -> None:
    results = run_page("runs.md", aihw)
    lists = [len(result.out.splitlines()) for result in results[1:5]]
    assert lists[0] == 13 and lists[1] == 7 and 1 <= lists[2] <= 7 and lists[3] == 9
    assert all(
        (folder / name).stat().st_size > 1000
        for name in ("curves.pdf", "lr.svg", "map.png")
    )
