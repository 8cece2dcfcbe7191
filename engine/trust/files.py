"""Files in folders that may come from a stranger, opened without following links.

A run folder, a sweep or a cache is unpacked, copied or shared, and a link in it may lead to any
file of the user's. So the last part of every path below is never a link, and what is opened is an
ordinary file: no pipe that blocks, no device that never ends."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import time
from pathlib import Path
from typing import TextIO

UNFINISHED = ".unfinished"
LINK = "it is a link, which is not followed here; put what it leads to in its place"
# No text that we read (configurations, records, tables) comes near this.
TEXT_LIMIT = 64 << 20
# Whoever asks for the status of a run holds its lock for an instant.
PATIENCE, POLL = 0.25, 0.05
PRIVATE, PRIVATE_FILE, OTHERS_WRITE, ROOT_USER = 0o700, 0o600, 0o022, 0


class Held(Exception):
    """Another process holds a lock; the message is what it says of itself."""


def open_plain(
    path: Path, flags: int, mode: int = 0o666, *, follow: bool = False
) -> int:
    """The descriptor of an ordinary file. Raises OSError for a link (unless `follow`), a pipe, a
    device or a folder."""
    # Without O_NONBLOCK the opening of a pipe waits for its other end.
    flags |= os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags, mode)
    except OSError as problem:
        if problem.errno == errno.ELOOP and not follow:
            raise _link(path) from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not an ordinary file", str(path))
    return handle


def read_bytes(path: Path, *, limit: int | None = None, follow: bool = False) -> bytes:
    """The content of an ordinary file. Raises OSError, also if it is larger than `limit`."""
    with os.fdopen(open_plain(path, os.O_RDONLY, follow=follow), "rb") as file:
        if limit is not None and os.fstat(file.fileno()).st_size > limit:
            raise OSError(errno.EFBIG, f"it is larger than {limit >> 20} MB", str(path))
        return file.read()


def read_text(path: Path, *, follow: bool = False) -> str:
    """The text of an ordinary file, with line breaks as Python has them. Raises OSError, or
    UnicodeDecodeError (a ValueError)."""
    text = read_bytes(path, limit=TEXT_LIMIT, follow=follow).decode("utf-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def open_append(path: Path) -> TextIO:
    """A text file to append to, made if it is missing."""
    handle = open_plain(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    return os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace")


def write_bytes(
    path: Path, content: bytes, *, durable: bool = True, mode: int = 0o666
) -> None:
    """Replace `path` by `content`; at any crash it holds either the old content or the new one.

    With `durable` that includes a power cut."""
    temporary = path.with_name(path.name + UNFINISHED)
    try:
        # What a crash, or a stranger, left under this name is removed, never written into.
        temporary.unlink(missing_ok=True)
        write_new(temporary, content, durable=durable, mode=mode)
        os.replace(temporary, path)
        if durable:
            sync_folder(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_new(
    path: Path, content: bytes, *, durable: bool = True, mode: int = 0o666
) -> None:
    """Write a file that must not be there yet."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(open_plain(path, flags, mode), "wb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make names in `folder` durable: a rename survives a power cut only after this."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path) -> Path:
    """A folder inside another one that is there; made if it is missing. Raises OSError for a
    link."""
    try:
        path.mkdir()
    except FileExistsError:
        check_no_link(path)
        if not path.is_dir():
            raise
    return path


def private_folder(path: Path) -> Path:
    """A folder whose content only this user, or the administrator, can have made: what lies in it
    is loaded as code. Made with its parents if it is missing. Raises OSError."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=PRIVATE, exist_ok=True)
    check_no_link(path)
    state = path.stat()
    if not stat.S_ISDIR(state.st_mode):
        raise OSError(errno.ENOTDIR, "it is not a folder", str(path))
    if state.st_uid not in (os.geteuid(), ROOT_USER):
        raise OSError(errno.EPERM, "it belongs to another user", str(path))
    if state.st_mode & OTHERS_WRITE:
        # What others put there meanwhile is theirs, which is_trusted tells.
        path.chmod(PRIVATE)
    return path


def is_trusted(path: Path) -> bool:
    """Whether only this user, or the administrator, can have written an ordinary file."""
    try:
        state = path.lstat()
    except FileNotFoundError:
        return False
    mine = (
        state.st_uid in (os.geteuid(), ROOT_USER) and not state.st_mode & OTHERS_WRITE
    )
    return stat.S_ISREG(state.st_mode) and mine


def check_no_link(*paths: Path) -> None:
    """Raises OSError if one of the paths is a link."""
    for path in paths:
        if path.is_symlink():
            raise _link(path)


def folders_in(path: Path) -> list[Path]:
    """The folders in a folder, links left out; none if it is missing or a link itself."""
    if path.is_symlink() or not path.is_dir():
        return []
    with os.scandir(path) as entries:
        return sorted(
            Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)
        )


def remove_tree(path: Path) -> None:
    """Remove a folder with its content as far as that is possible; a link is left as it is."""
    shutil.rmtree(path, ignore_errors=True)


def lock(path: Path, holder: str = "", *, seconds: float = PATIENCE) -> TextIO:
    """Lock the file `path` as long as what is returned stays open; the kernel frees it when the
    process dies. `holder` is what others are told. Raises Held if another process has it for
    longer than `seconds`."""
    file = os.fdopen(open_plain(path, os.O_RDWR | os.O_CREAT), "r+", encoding="utf-8")
    until = time.monotonic() + seconds
    try:
        while not _try_lock(file):
            if time.monotonic() > until:
                raise Held(file.read(1000).strip())
            time.sleep(POLL)
    except BaseException:
        file.close()
        raise
    file.truncate(0)
    file.write(holder)
    file.flush()
    return file


def _try_lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file. Raises OSError if it cannot be opened."""
    try:
        with os.fdopen(open_plain(path, os.O_RDONLY)) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _link(path: Path) -> OSError:
    """The error for a link in a place that must hold none."""
    return OSError(errno.ELOOP, LINK, str(path))
