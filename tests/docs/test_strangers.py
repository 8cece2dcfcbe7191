"""docs/strangers.md as written."""

from __future__ import annotations

from tests.docs.pages import run_page


def test_the_page_works_as_written(aihw) -> None:
    refused, allowed = run_page("strangers.md", aihw)
    assert "device.model=cell.py:Cell" in refused.err and "--allow-code" in refused.err
    assert "finished: " in allowed.out
