"""Kernels on a CPU: the host C++ compiler turns the text into a library at first use; ctypes calls
it.

Threads are those of the OpenMP runtime that torch brought along: a second runtime would fight it
for the cores."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from engine import settings

FLAGS = (
    "-std=c++17", "-O3", "-march=native", "-shared", "-fPIC", "-ffp-contract=off", "-fno-trapping-math",
    "-fno-math-errno", "-fno-exceptions", "-fno-rtti", "-fvisibility=default", "-w",
)  # fmt: skip


class CompileError(RuntimeError):
    """The compiler refused a kernel; the text is its log, whose lines point into the snippet."""

    @property
    def first(self) -> str:
        """The first complaint in a line: file, line, and what is wrong."""
        found = re.search(
            r"^(\S.*?)(?::(\d+):\d+|\((\d+)\)): (?:fatal )?error: (.*)$", str(self), re.M
        )
        return (
            f"{found[1]}:{found[2] or found[3]}: {found[4]}"
            if found
            else str(self).strip().split("\n", 1)[0]
        )


@functools.cache
def compiler() -> tuple[str, ...]:
    """The command of a C++ compiler. Raises UserError that says how to get one."""
    wanted = settings.compiler_command()
    if wanted:
        command = tuple(wanted.split())
        if shutil.which(command[0]) is None:
            raise settings.UserError(
                f"AIHW_CXX names the compiler {command[0]!r}, which is not on the PATH"
            )
        return command
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return (name,)
    if importlib.util.find_spec("ziglang"):
        # Without -nostdlib++ zig first builds its own C++ library, which takes most of a minute.
        return (sys.executable, "-m", "ziglang", "cc", "-x", "c++", "-nostdlib++")
    raise settings.UserError(
        "no C++ compiler found (c++, g++, clang++ or the ziglang wheel): the kernels are compiled on this machine.\n"
        "install one, for example `apt install g++`, or without root: pip install 'aihw[compiler]'"
    )


@functools.cache
def machine() -> str:
    """What a `-march=native` library depends on: a library from a shared home must not reach
    another kind of CPU."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else platform.processor()
    return " ".join(
        sorted(set(re.findall(r"^(?:flags|model name|Features)\s*:\s*(.*)$", text, re.M)))
    )


@functools.cache
def _version(command: tuple[str, ...]) -> str:
    return subprocess.run(
        [*command, "--version"], capture_output=True, text=True, check=False
    ).stdout


def build(text: str) -> Path:
    """The compiled library of a text, from the cache or made now. Raises CompileError with the
    compiler's log."""
    command = compiler()
    key = "\0".join([text, *FLAGS, *command, _version(command), machine()])
    path = settings.cache_dir() / "cpu" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.so"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        source, made = Path(scratch) / "kernel.cpp", Path(scratch) / "kernel.so"
        source.write_text(text)
        done = subprocess.run(
            [*command, *FLAGS, str(source), "-o", str(made), "-lm"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CompileError(done.stderr.strip())
        os.replace(
            made, path
        )  # parallel runs may both get here: the last one wins with the same content
    return path


class Library:
    """A compiled text: its functions take one struct and a number of threads; without `team` on
    one, and no torch."""

    def __init__(self, text: str, *, team: bool = True) -> None:
        self._handle = ctypes.CDLL(str(build(text)))
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
        set(re.findall(r"/\S*lib(?:gomp|iomp5|omp)\S*\.so\S*", Path("/proc/self/maps").read_text()))
    ):
        found = getattr(ctypes.CDLL(path), "GOMP_parallel", None)
        if found is not None:
            return ctypes.cast(found, ctypes.c_void_p).value or 0
    return 0


@functools.cache
def library(text: str) -> Library:
    """The library of a text, once in a process."""
    return Library(text)
