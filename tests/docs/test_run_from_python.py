"""docs/run_from_python.md as written."""

from __future__ import annotations

from pathlib import Path

from tests.docs.pages import run_page


def test_the_page(aihw, folder: Path) -> None:  # type: ignore[no-untyped-def]
    run_page("run_from_python.md", aihw)
    assert (folder / "programming.png").stat().st_size > 10_000
