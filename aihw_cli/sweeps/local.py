"""Runs on this machine, each in a process of its own.

The processes are forked from one that has imported torch and has done nothing else: so each starts
in milliseconds, from the same state as a fresh one, and knows nothing of the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerProcess

from aihw_cli.sweeps import worker
from aihw_cli.sweeps.worker import Task
from engine.settings import ROOT

# What a run needs in any case; none of them touches a GPU or starts a thread when it is imported.
PRELOADED = [
    "torch",
    "engine.experiment.train",
    "engine.experiment.loop",
    "engine.nn",
    "engine.optim",
    "yaml",
]


class Process:
    """A run in its process."""

    def __init__(self, process: ForkServerProcess, gpu: str) -> None:
        self.process = process
        self.gpu = gpu

    def exit_code(self) -> int | None:
        return self.process.exitcode

    def interrupt(self) -> None:
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.process.pid and self.process.exitcode is None:
            os.kill(self.process.pid, number)


class Local:
    """Up to `slots` processes at a time. GPUs are dealt out in turn, one to a process; if the user
    `asked` for them, a run that cannot use its own fails."""

    def __init__(
        self, slots: int, gpus: Sequence[str], threads: int, *, asked: bool = True
    ) -> None:
        self.slots = slots
        self.threads = threads
        self.asked = asked
        self._gpus = tuple(gpus)
        self._running: list[Process] = []
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        with _in_package_folder():
            forkserver.ensure_running()

    def start(self, task: Task) -> Process:
        self._running = [p for p in self._running if p.exit_code() is None]
        used = [p.gpu for p in self._running]
        gpu = min(self._gpus, key=used.count, default="")
        process = self._context.Process(
            target=worker.main, args=(replace(task, gpu=gpu, gpu_asked=self.asked),)
        )
        process.start()
        self._running.append(Process(process, gpu))
        return self._running[-1]

    def wait(self, seconds: float) -> None:
        sentinels = [p.process.sentinel for p in self._running if p.exit_code() is None]
        if len(sentinels) < len(self._running):
            self._running = [p for p in self._running if p.exit_code() is None]
        elif sentinels:
            connection.wait(sentinels, seconds)
        else:
            time.sleep(seconds)

    def close(self) -> None:
        """Nothing to give back: the processes have ended, and the one that they come from ends with
        this one."""


@contextmanager
def _in_package_folder() -> Iterator[None]:
    """While it is entered, the current folder is that of our packages: the server looks for modules
    in the folder where it starts, and the user's may hold a torch.py of a stranger's."""
    here = os.open(".", os.O_RDONLY)
    os.chdir(ROOT)
    try:
        yield
    finally:
        os.fchdir(here)
        os.close(here)
