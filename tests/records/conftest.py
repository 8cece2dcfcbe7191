"""A cache of its own for every test, so that no index is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import aihw
from tests.experiment.conftest import every_step_is_reported

__all__ = ["aihw", "cache", "every_step_is_reported", "folder"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.delenv("AIHW_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that receives the indexes."""
    monkeypatch.setenv("AIHW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
