"""Where things are on this machine. The only module that reads environment variables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("conf", "presets", "experiments")
# What file systems of Linux take.
NAME_BYTES, PATH_BYTES = 255, 4095
SHOWN = 60
SAFE_PATH = "PYTHONSAFEPATH"


class UserError(ValueError):
    """The user's input is wrong: the message is one or two lines that say what, where and what is
    allowed."""


class MachineError(UserError):
    """The same for what the machine lacks (a compiler, space, a home folder), whatever was asked
    for."""


def user_path(text: str | Path) -> Path:
    """The path that a user wrote, with `~` for a home folder. Raises UserError where there can be
    no such path, so that nobody who opens it meets an error of another kind."""
    shown = repr(str(text)[:SHOWN] + ("..." if len(str(text)) > SHOWN else ""))
    parts = Path(text).parts
    try:
        longest = max((len(os.fsencode(part)) for part in parts), default=0)
        whole = len(os.fsencode(text))
    except UnicodeEncodeError:
        raise UserError(
            f"{shown} cannot be a path: it holds half a character"
        ) from None
    if "\0" in str(text):
        raise UserError(f"{shown} cannot be a path: it holds a zero character")
    if longest > NAME_BYTES or whole > PATH_BYTES:
        limits = f"a name has at most {NAME_BYTES} bytes, a path {PATH_BYTES}"
        raise UserError(f"{shown} cannot be a path: {limits}")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        who = (
            f"no user {parts[0][1:]!r}"
            if parts[0] != "~"
            else "no home folder (set HOME)"
        )
        raise UserError(f"{shown}: there is {who} on this machine") from None


def cache_dir() -> Path:
    """Folder for compiled kernels, private to the user (`AIHW_CACHE`, else XDG's cache folder).
    Raises UserError if none of them is set and there is no home folder."""
    base = os.environ.get("AIHW_CACHE")
    if base:
        return user_path(base)
    if home := os.environ.get("XDG_CACHE_HOME"):
        return user_path(home) / "aihw"
    try:
        return Path.home() / ".cache" / "aihw"
    except RuntimeError:
        raise MachineError(
            "there is no home folder to keep compiled kernels in: set AIHW_CACHE to a folder"
        ) from None


def compiler_command() -> str:
    """The C++ compiler that the user asks for (`AIHW_CXX`), or an empty string for the first one
    found."""
    return os.environ.get("AIHW_CXX", "")


def use_gpu(number: str) -> None:
    """Let this process see one GPU, counted among those that it sees now. Call it before CUDA is
    first used."""
    visible = [
        name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name
    ]
    index = int(number) if number.isdigit() else len(visible)
    # CUDA's own order is by speed; the user reads the numbers from nvidia-smi, which orders them by
    # their bus.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    os.environ["CUDA_VISIBLE_DEVICES"] = (
        visible[index] if index < len(visible) else number
    )


@contextmanager
def no_modules_of_folder() -> Iterator[None]:
    """Programs that start meanwhile do not look for modules in their current folder, as `python -m`
    does; it may hold a torch.py of a stranger's. (Python before 3.11 knows no such setting.)"""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


def packaged_data() -> Path:
    """The folder that holds conf/, presets/ and experiments/: in the wheel, or in the checkout."""
    wheel = ROOT / "aihw_cli" / "_data"
    return wheel if wheel.is_dir() else ROOT


def data_dirs() -> list[Path]:
    """Roots searched for conf/, presets/ and experiments/: the user's own folder first, then the
    packaged one."""
    packaged = packaged_data()
    own = Path(os.environ.get("AIHW_DATA") or Path.cwd()).resolve()
    if own != packaged and any((own / kind).is_dir() for kind in KINDS):
        return [own, packaged]
    return [packaged]
