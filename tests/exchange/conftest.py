"""The empty folder and the command line of the tests of commands, which here takes paths too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Result, aihw, folder

__all__ = ["aihw", "call", "folder"]


@pytest.fixture
def call(aihw: Callable[..., Result]) -> Callable[..., Result]:
    """Run one command line of words and paths."""
    return lambda *words: aihw(
        *(str(word) if isinstance(word, Path) else word for word in words)
    )
