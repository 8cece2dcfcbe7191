"""One command line in this process, with a limit of time and memory, and what is right of its
end."""

from __future__ import annotations

import contextlib
import io
import resource
import signal
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

# What is loaded first needs more memory than a mutant may, and is no fault of it.
import torch  # noqa: F401

from aihw_cli.main import main

# Of computing, which does not depend on what else the machine does; and on the clock, for what waits.
SECONDS, PATIENCE = 10, 120
MEMORY = 2 << 30
LINES, LENGTH = 3, 620


class Hang(BaseException):
    """A command that was not done in time. No `except Exception` may catch it."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, what it said, and the exception that nobody caught."""

    code: int | None
    out: str
    err: str
    crash: str = ""

    def problems(
        self, *, codes: tuple[int, ...] = (0, 2), named: tuple[str, ...] = ()
    ) -> list[str]:
        """What is wrong with this end. `named` are words of which an error must hold one."""
        if self.crash:
            return [self.crash]
        found = []
        if self.code not in codes:
            found.append(f"exit code {self.code}: {self.err[-400:]}")
        text = self.out + self.err
        if "Traceback" in text:
            found.append("a traceback")
        if any(not (c.isprintable() or c in "\n\t") for c in text):
            found.append("control characters")
        if self.code == 2:
            found += self._of_error(named)
        return found

    def _of_error(self, named: tuple[str, ...]) -> Iterator[str]:
        lines = [
            line for line in self.err.splitlines() if not line.startswith("note: ")
        ]
        if not lines or not lines[0].startswith("error: ") or len(lines) > LINES:
            yield f"no line, or too many: {self.err[:400]!r}"
        if any(len(line) > LENGTH for line in lines):
            yield f"a line of {max(map(len, lines))} characters"
        if named and not any(word in self.err for word in named):
            yield f"none of {named} is named: {self.err[:400]!r}"


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Raise Hang after some seconds; let no more memory be taken than there is now and `MEMORY`
    bytes more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    handlers = {
        number: signal.signal(number, _hang)
        for number in (signal.SIGPROF, signal.SIGALRM)
    }
    resource.setrlimit(
        resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1])
    )
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang


def run(*words: str) -> Outcome:
    """Do one command line here."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with limits(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            return Outcome(main(words), out.getvalue(), err.getvalue())
    except Hang as error:
        crash = f"a hang at {_place(error)}"
    except BaseException as error:
        crash = f"{type(error).__name__}: {str(error)[:200]} at {_place(error)}"
    return Outcome(
        None, out.getvalue(), err.getvalue(), f"{' '.join(words)[:200]}: {crash}"
    )


def _place(error: BaseException) -> str:
    """The innermost places of a traceback, those in the harness left out."""
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__
    ]
    return "; ".join(f"{f.filename}:{f.lineno}" for f in frames[-4:])
