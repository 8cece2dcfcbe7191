"""Compiled kernels on disk: each made once, whole or not there, in a folder of the user's own.

What is loaded from here runs. So a file counts only if no other user can have written it and if it
is what was made, by the checksum beside it; else it is made anew. Processes that need the same
kernel at once wait for the first of them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from engine import settings
from engine.trust import files
from engine.trust.text import visible

CHECKSUM = ".sha256"
# The first letters of names share a lock each, so that few lock files lie about.
LOCK, SCRATCH = "lock-", "tmp-"
WAIT_SECONDS = 1500.0
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
DAY = 86400.0


def folder(kind: str) -> Path:
    """The folder of one kind of compiled kernels (cpu, cuda). Raises MachineError that says what to
    set where there can be none."""
    path = settings.cache_dir() / kind
    with usable(path):
        return files.private_folder(path)


def fetch(kind: str, name: str, make: Callable[[], bytes]) -> Path:
    """The file `name`, from the cache or made now. Raises MachineError, and what `make` raises."""
    home = folder(kind)
    path = home / name
    with usable(home):
        if is_whole(path):
            return path
        with _alone(home, name[0]) as locked:
            if not is_whole(path):
                if locked:
                    _remove_leftovers(home, name[0])
                content = make()
                if path.is_dir() and not path.is_symlink():
                    files.remove_tree(path)
                files.write_bytes(path, content, mode=files.PRIVATE_FILE)
                sign = _sign(content).encode()
                files.write_bytes(_beside(path), sign, mode=files.PRIVATE_FILE)
    return path


def scratch_prefix(name: str) -> str:
    """How the name of a temporary folder for `name` begins, so that it is found when its process
    was killed."""
    return f"{SCRATCH}{name[0]}-"


def is_whole(path: Path) -> bool:
    """Whether a file of the cache is there, our own, and as it was made: a power cut, a full disk
    or a copy may have cut it off."""
    if not files.is_trusted(path) or not files.is_trusted(_beside(path)):
        return False
    try:
        sign, content = files.read_bytes(_beside(path)), files.read_bytes(path)
    except OSError:
        return False
    return sign == _sign(content).encode()


def forget(path: Path) -> None:
    """Make it anew the next time: it is whole, but cannot be loaded."""
    with contextlib.suppress(OSError):
        _beside(path).unlink()


@contextlib.contextmanager
def usable(path: Path) -> Iterator[None]:
    """Turn a cache that cannot be used into one line that says what to do."""
    try:
        yield
    except settings.MachineError:
        raise
    except OSError as problem:
        reason = problem.strerror or str(problem)
        if problem.filename and str(problem.filename) != str(path):
            reason = f"{visible(problem.filename)}: {reason}"
        raise settings.MachineError(
            f"compiled kernels cannot be kept in {visible(path)} ({reason}): "
            "set AIHW_CACHE to a folder of your own with space"
        ) from problem


def _beside(path: Path) -> Path:
    return path.with_name(path.name + CHECKSUM)


def _sign(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def _alone(home: Path, letter: str) -> Iterator[bool]:
    """While this process makes a file, others that need it wait, and then find it. False on a file
    system that knows no locks: then each process compiles for itself."""
    holder = f"process {os.getpid()}"
    held: contextlib.AbstractContextManager[object]
    try:
        held = files.lock(home / f"{LOCK}{letter}", holder, seconds=WAIT_SECONDS)
    except files.Held as other:
        minutes = round(WAIT_SECONDS / 60)
        raise settings.MachineError(
            f"{visible(other) or 'another process'} compiles in {visible(home)} for {minutes} "
            "minutes: end it"
        ) from None
    except OSError as problem:
        if problem.errno not in NO_LOCKS:
            raise
        held = contextlib.nullcontext()
    with held as lock:
        yield lock is not None


def _remove_leftovers(home: Path, letter: str) -> None:
    """Remove what processes that were killed have left; the lock says that none of them works."""
    now = time.time()
    for path in home.iterdir():
        own = path.name.startswith(scratch_prefix(letter)) or (
            path.name.startswith(letter) and path.name.endswith(files.UNFINISHED)
        )
        # Names of earlier versions, which had no lock.
        older = path.name.startswith("tmp") and not path.name.startswith(SCRATCH)
        if own or (older and now - path.lstat().st_mtime > DAY):
            if path.is_dir() and not path.is_symlink():
                files.remove_tree(path)
            else:
                path.unlink(missing_ok=True)
