"""A cache of its own for every test, so that no index is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that receives the indexes."""
    monkeypatch.setenv("AIHW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
