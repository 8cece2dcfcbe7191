"""Kernels on a CPU: the host C++ compiler turns the text into a library at first use; ctypes calls
it.

Threads are those of the OpenMP runtime that torch brought along: a second runtime would fight it
for the cores."""

from __future__ import annotations

import ctypes
import errno
import functools
import hashlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from engine import settings
from engine.jit import cache

KIND = "cpu"
# The largest kernel takes a quarter of a minute on a machine that does nothing else.
COMPILE_SECONDS, ANSWER_SECONDS = 600.0, 30.0
FULL = os.strerror(errno.ENOSPC)
ELF, ELF_64, ELF_SHARED, ELF_HEADER = b"\x7fELF", 2, 3, 64

FLAGS = (
    "-std=c++17", "-O3", "-march=native", "-shared", "-fPIC", "-ffp-contract=off", "-fno-trapping-math",
    "-fno-math-errno", "-fno-exceptions", "-fno-rtti", "-fvisibility=default", "-w",
)  # fmt: skip


class CompileError(settings.MachineError, RuntimeError):
    """The compiler refused a kernel; `log` is what it said, whose lines point into the snippet."""

    def __init__(self, log: str) -> None:
        super().__init__(log)
        self.log = log

    def __str__(self) -> str:
        return f"the kernels cannot be compiled: {self.first}"

    @property
    def first(self) -> str:
        """The first complaint in a line: file, line, and what is wrong."""
        found = re.search(
            r"^(\S.*?)(?::(\d+):\d+|\((\d+)\)): (?:fatal )?error: (.*)$", self.log, re.M
        )
        if not found:
            return self.log.strip().split("\n", 1)[0]
        return f"{found[1]}:{found[2] or found[3]}: {found[4]}"


@functools.cache
def compiler() -> tuple[str, ...]:
    """The command of a C++ compiler. Raises UserError that says how to get one."""
    wanted = settings.compiler_command()
    if wanted:
        name, *more = _words(wanted)
        if shutil.which(name) is None:
            raise settings.MachineError(
                f"AIHW_CXX names the compiler {name!r}, which is not a program on the PATH"
            )
        # It is called from another folder.
        return (os.path.abspath(name) if os.sep in name else name, *more)
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return (name,)
    if importlib.util.find_spec("ziglang"):
        # Without -nostdlib++ zig first builds its own C++ library, which takes most of a minute.
        return (sys.executable, "-m", "ziglang", "cc", "-x", "c++", "-nostdlib++")
    raise settings.MachineError(
        "no C++ compiler found (c++, g++, clang++ or the ziglang wheel): the kernels are compiled on this machine.\n"
        "install one, for example `apt install g++`, or without root: pip install 'aihw[compiler]'"
    )


def _words(wanted: str) -> tuple[str, ...]:
    """The words of AIHW_CXX: a program, whose path may hold a blank, or a command as in a shell."""
    if Path(wanted).is_file():
        return (wanted,)
    try:
        words = tuple(shlex.split(wanted))
    except ValueError as problem:
        raise settings.MachineError(
            f"AIHW_CXX={wanted!r} cannot be read: {problem}"
        ) from None
    if not words:
        raise settings.MachineError(f"AIHW_CXX={wanted!r} names no compiler")
    return words


@functools.cache
def machine() -> str:
    """What a `-march=native` library depends on: a library from a shared home must not reach
    another kind of CPU."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else platform.processor()
    return " ".join(
        sorted(
            set(re.findall(r"^(?:flags|model name|Features)\s*:\s*(.*)$", text, re.M))
        )
    )


@functools.cache
def version(command: tuple[str, ...]) -> str:
    """What a compiler says of itself, first line its name. Raises UserError if it cannot be
    asked."""
    return _call([*command, "--version"], ANSWER_SECONDS, "/").stdout


def _call(
    command: list[str], seconds: float, folder: str
) -> subprocess.CompletedProcess[str]:
    """Run a compiler in a folder that holds nothing of others: `python -m` would load modules from
    it. Raises UserError if it cannot be run or hangs; nothing of it outlives this call."""
    process = None
    try:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise settings.MachineError(
            f"the compiler {command[0]} did not end within {seconds:.0f} s; "
            "AIHW_CXX names another one"
        ) from None
    except OSError as problem:
        raise settings.MachineError(
            f"the compiler {command[0]} cannot be run ({problem.strerror or problem}); "
            "AIHW_CXX names another one"
        ) from problem
    finally:
        if process is not None and process.poll() is None:
            # It has programs of its own for the parts of its work.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def build(text: str) -> Path:
    """The compiled library of a text, from the cache or made now. Raises CompileError with the
    compiler's log."""
    command = compiler()
    key = "\0".join([text, *FLAGS, *command, version(command), machine()])
    name = f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.so"
    return cache.fetch(
        KIND, name, lambda: _compiled(text, command, cache.scratch_prefix(name))
    )


def _compiled(text: str, command: tuple[str, ...], prefix: str) -> bytes:
    """The library that a compiler makes of a text. Raises CompileError."""
    with tempfile.TemporaryDirectory(dir=cache.folder(KIND), prefix=prefix) as scratch:
        source, made = Path(scratch, "kernel.cpp"), Path(scratch, "kernel.so")
        source.write_text(text, encoding="utf-8")
        words = [*command, *FLAGS, str(source), "-o", str(made), "-lm"]
        done = _call(words, COMPILE_SECONDS, scratch)
        if done.returncode and FULL in done.stderr:
            raise OSError(errno.ENOSPC, FULL, scratch)
        if done.returncode:
            raise CompileError(
                done.stderr.strip() or _silent(command[0], done.returncode)
            )
        content = made.read_bytes() if made.is_file() else b""
    if not is_library(content):
        what = "half a library" if content.startswith(ELF) else "no library"
        raise CompileError(f"{command[0]} says that all went well and made {what}")
    return content


def _silent(name: str, code: int) -> str:
    """What happened to a compiler that did not say it."""
    if code > 0:
        return f"{name} ended with exit code {code} and said nothing"
    return (
        f"{name} was killed by {signal.Signals(-code).name} (is there enough memory?)"
    )


def is_library(content: bytes) -> bool:
    """Whether a file is a shared library up to its end: the system would load half a one, and kill
    the process when it comes to what is missing."""
    if sys.platform != "linux":
        return bool(content)
    if len(content) < ELF_HEADER or not content.startswith(ELF) or content[4] != ELF_64:
        return False
    (kind,) = struct.unpack_from("=H", content, 16)
    (programs, sections) = struct.unpack_from("=QQ", content, 32)
    (size, count, section_size, section_count) = struct.unpack_from("=4H", content, 54)
    ends = [sections + section_size * section_count, programs + size * count]
    if kind != ELF_SHARED or max(ends) > len(content):
        return False
    for number in range(count):
        offset, *_, length = struct.unpack_from(
            "=4Q", content, programs + number * size + 8
        )
        ends.append(offset + length)
    return max(ends) <= len(content)


def _loaded(path: Path) -> ctypes.CDLL:
    """A library in this process. Raises UserError if the system refuses it."""
    try:
        return ctypes.CDLL(str(path))
    except OSError as problem:
        if os.statvfs(path).f_flag & os.ST_NOEXEC:
            raise settings.MachineError(
                f"{path.parent} is on a file system that runs no programs (noexec): "
                "set AIHW_CACHE to another folder"
            ) from problem
        cache.forget(path)
        raise CompileError(
            f"what {compiler()[0]} made cannot be loaded: {problem}"
        ) from problem


class Library:
    """A compiled text: its functions take one struct and a number of threads; without `team` on
    one, and no torch."""

    def __init__(self, text: str, *, team: bool = True) -> None:
        self._handle = _loaded(build(text))
        fork = team_fork() if team else 0
        if fork:
            self._handle.aihw_team.argtypes = [ctypes.c_void_p]
            self._handle.aihw_team(fork)

    def function(self, name: str) -> Any:
        found = getattr(self._handle, name)
        found.argtypes = [ctypes.c_void_p, ctypes.c_int64]
        found.restype = None
        return found


@functools.cache
def team_fork() -> int:
    """Address of GOMP_parallel in the OpenMP runtime that is already loaded, or 0 (then one thread
    does the work)."""
    import torch  # noqa: F401  brings the runtime into the process

    for path in sorted(
        set(
            re.findall(
                r"/\S*lib(?:gomp|iomp5|omp)\S*\.so\S*",
                Path("/proc/self/maps").read_text(),
            )
        )
    ):
        found = getattr(ctypes.CDLL(path), "GOMP_parallel", None)
        if found is not None:
            return ctypes.cast(found, ctypes.c_void_p).value or 0
    return 0


@functools.cache
def library(text: str) -> Library:
    """The library of a text, once in a process."""
    return Library(text)
