"""How much memory there is, so that what cannot fit is refused before it is tried: Linux hands out
more than it has, and then kills the process that uses it."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path

from engine.settings import UserError

# Less than this is not worth the question.
SMALL = 64 << 20
UNITS = (("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20))
# What limits all processes of a container together, and what they use of it (cgroups 2 and 1).
CONTAINERS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def require_memory(needed: int, what: str) -> None:
    """Raises UserError if `what` needs more bytes than are free."""
    if needed < SMALL:
        return
    free = free_memory()
    if free is not None and needed > free:
        raise UserError(
            f"{what} needs {in_words(needed)} of memory at least, and {in_words(free)} are free"
        )


def free_memory() -> int | None:
    """Bytes that this process can still get, after the limits of machine, container and shell; None
    where nothing is known."""
    known = [_machine(), *(_container(*paths) for paths in CONTAINERS), _shell()]
    return min((value for value in known if value is not None), default=None)


def in_words(size: int) -> str:
    """A number of bytes in the largest fitting unit."""
    for name, unit in UNITS:
        if size >= unit:
            return (
                f"{size / unit:.3g} {name}"
                if size < 1000 * unit
                else f"{size // unit} {name}"
            )
    return f"{size} bytes"


def _machine() -> int | None:
    found = re.search(r"^MemAvailable:\s*(\d+) kB$", _text("/proc/meminfo"), re.M)
    return 1024 * int(found[1]) if found else None


def _container(limit: str, used: str) -> int | None:
    texts = _text(limit).strip(), _text(used).strip()
    if not all(text.isdigit() for text in texts):
        return None
    return max(0, int(texts[0]) - int(texts[1]))


def _shell() -> int | None:
    """What `ulimit -v` leaves."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _text("/proc/self/statm").partition(" ")[0]
    if limit == resource.RLIM_INFINITY or not pages.isdigit():
        return None
    return max(0, limit - int(pages) * os.sysconf("SC_PAGE_SIZE"))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
