"""Everything that the program says goes through here: texts of others cannot act on a terminal, and
a reader who leaves stops no run."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from engine.memory import in_words
from engine.readers.wording import in_a_line
from engine.trust.text import to_json, visible

# The reader of a pipe has left, or the terminal is closed: nobody misses what is not written.
GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ECONNRESET)
# What torch says where the system refuses memory, and how much it asked for.
ALLOCATION = re.compile(r"can't allocate memory: you tried to allocate (\d+) bytes")


def say(text: object = "", *, stream: TextIO | None = None, end: str = "\n") -> None:
    """Print a text at once, characters that are not seen as escapes."""
    print(visible(text, lines=True), file=stream or sys.stdout, end=end, flush=True)


def say_error(text: object, word: str = "error") -> None:
    """A remark on stderr."""
    say(block(f"{word}: {text!s}"), stream=sys.stderr)


def block(text: str) -> str:
    """A text that may hold those of others, each line of a length that one reads: what follows its
    first line is indented, so that it cannot pass for a line of ours."""
    lines = visible(text, lines=True).rstrip().split("\n")
    return "\n  ".join(map(in_a_line, lines))


def say_json(value: Any, *, indent: int | None = None) -> None:
    """Print a result for programs."""
    say(to_json(value, indent=indent))


class Enduring:
    """A text stream that goes on when its reader has left. `problem` says why something was lost
    that somebody may miss, as on a full disk."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.problem = ""

    def write(self, text: str) -> int:
        """Write, or lose the text."""
        try:
            return self.stream.write(text)
        except UnicodeEncodeError as problem:
            codec = problem.encoding
            return self.stream.write(
                text.encode(codec, "backslashreplace").decode(codec)
            )
        except OSError as problem:
            self._lose(problem)
        return len(text)

    def flush(self) -> None:
        """Hand on what is buffered, or lose it."""
        try:
            self.stream.flush()
        except OSError as problem:
            self._lose(problem)

    def _lose(self, problem: OSError) -> None:
        if problem.errno not in GONE:
            self.problem = problem.strerror or str(problem)
        # What is still buffered would fail again, at the latest when Python ends.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.stream.fileno())
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def enduring_streams() -> Iterator[list[Enduring]]:
    """Standard streams that stop no command, whatever becomes of them."""
    if sys.stdout is None or sys.stderr is None:
        _open_missing()
    before = sys.stdout, sys.stderr
    streams: list[Any] = [Enduring(stream) for stream in before]
    sys.stdout, sys.stderr = streams
    try:
        yield streams
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before


def _open_missing() -> None:
    """Give a process that was started with closed streams (`>&-`) ones that lead nowhere; else the
    next file that is opened would be taken for them by libraries that print."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def reason(error: BaseException) -> str:
    """What the machine lacks, in a line; empty for an error that is ours."""
    first = (str(error).strip().splitlines() or [""])[0]
    asked = ALLOCATION.search(first)
    if isinstance(error, MemoryError) or asked:
        more = f": {in_words(int(asked[1]))} more were asked for" if asked else ""
        return f"there is not enough memory{more}"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or first or type(error).__name__}"
    if isinstance(error, ImportError):
        hint = " (is there enough memory?)" if "failed to map" in first else ""
        return f"{error.name or 'a library'} cannot be loaded: {first}{hint}"
    return ""
