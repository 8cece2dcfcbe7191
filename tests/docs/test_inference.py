"""docs/inference.md as written."""

from __future__ import annotations

from tests.cli.conftest import Result
from tests.docs.pages import run_page


def test_the_page(aihw) -> None:  # type: ignore[no-untyped-def]
    results: list[Result] = run_page("inference.md", aihw)
    assert "pcm" in results[0].out
    assert "Joshi" in results[1].out
    assert "parsec" in results[3].err
