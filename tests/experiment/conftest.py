"""Fixtures of the tests of runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from engine.experiment import train as training


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """A run sets the number of threads of the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def every_step_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a test can act at a chosen step."""
    monkeypatch.setattr(training, "REPORT_SECONDS", -1.0)
