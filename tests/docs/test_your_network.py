"""docs/your_network.md: its commands, from top to bottom."""

from __future__ import annotations

from collections.abc import Callable

from tests.cli.conftest import Result
from tests.docs.pages import run_page


def test_the_page(aihw: Callable[..., Result]) -> None:
    results = run_page("your_network.md", aihw)
    refused, shown = results[:2]
    assert "--allow-code" in refused.err
    assert "blocks.0.attention" in shown.out
    unfit = next(result for result in results if "another shape" in result.err)
    assert "patches.weight 8x1x4x4 instead of 6x1x4x4" in unfit.err
