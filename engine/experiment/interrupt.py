"""Signals that ask for the end, between two steps instead of inside one, so that the checkpoint that
follows is consistent."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Ctrl-C and `kill`; the terminal that closes, and Ctrl-\\.
ALWAYS, UNLESS_IGNORED = (
    (signal.SIGINT, signal.SIGTERM),
    (signal.SIGHUP, signal.SIGQUIT),
)


class Interrupt:
    """While it is entered, the first signal only sets `requested`; the second one interrupts at
    once. SIGHUP that is ignored, as under `nohup`, stays so."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        self._before = _handle(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def interruptible() -> Iterator[None]:
    """Every signal interrupts as Ctrl-C does, so that whoever it meets can say what comes next;
    where there are steps, Interrupt handles them."""
    before = _handle(_interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handle(handler: Any) -> dict[signal.Signals, Any]:
    """Install a handler where Python allows it. Returns the handlers before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    kept = (
        signal.SIG_IGN,
        None,
    )  # None: a handler that is not Python's, and cannot be put back
    chosen = [
        number for number in UNLESS_IGNORED if signal.getsignal(number) not in kept
    ]
    return {number: signal.signal(number, handler) for number in (*ALWAYS, *chosen)}


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
