"""docs/measured_device.md as written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.docs.pages import run_page


@pytest.mark.slow
def test_the_page_works_as_written(aihw, folder: Path) -> None:
    results = run_page("measured_device.md", aihw)
    assert not [result.err for result in results if result.code]
    assert "understood: long table, unit uS" in results[0].out
    assert "between devices" in (folder / "mine.yaml").read_text()
    assert (folder / "fit.png").stat().st_size > 1000
    runs = list((folder / "runs").glob("*/*/summary.json"))
    assert len(runs) == 3
    assert {json.loads(path.read_text())["status"] for path in runs} == {"finished"}
