"""What every test shares: a kernel cache of this checkout's own, and no GPU tests without a GPU."""

from __future__ import annotations

import os
import sys

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Point the kernel cache at .pytest_cache, so that tests neither read nor fill the user's
    own."""
    cache = getattr(config, "cache", None)
    if cache is not None:
        os.environ.setdefault("AIHW_CACHE", str(cache.mkdir("kernels")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu`, with the reason, where the GPU backend is not available."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    from engine.jit import cuda

    usable, reason = cuda.available()
    if not usable:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Small tensors gain nothing from a team of threads, and several tests at a time would fight
    for the cores."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "engine.jit.team" in sys.modules:
        sys.modules["engine.jit.team"].forget()
