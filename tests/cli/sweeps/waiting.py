"""Waiting for another process."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

SECONDS = 300


def wait_for(
    condition: Callable[[], bool], process: subprocess.Popen[str] | None = None
) -> None:
    """Wait until something has happened. A process that ends before will not make it happen."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.05)
