"""Where the runs of a sweep are worked off. An executor starts a task and hands back something to
ask for its end."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from aihw_cli.sweeps.cluster import check_cluster
from aihw_cli.sweeps.manifest import Options
from aihw_cli.sweeps.worker import Task
from engine.experiment.files import writing
from engine.settings import UserError
from engine.trust.files import make_folder

UNLIMITED = 10**9


class Handle(Protocol):
    """A task that was started."""

    def exit_code(self) -> int | None:
        """None while it lasts; negative if a signal, or the cluster, ended it."""

    def interrupt(self) -> None:
        """Ask for a checkpoint and the end."""

    def kill(self) -> None:
        """End it at once."""


class Executor(Protocol):
    """Starts tasks, `slots` at a time. `threads` is what each gets if the user did not say; 0
    leaves it to torch."""

    slots: int
    threads: int

    def start(self, task: Task) -> Handle: ...

    def wait(self, seconds: float) -> None:
        """Return when a task may have ended, at the latest after `seconds`."""

    def close(self) -> None: ...


def make_executor(run: Mapping[str, Any], options: Options, folder: Path) -> Executor:
    """The executor that `run.executor` names, with the settings of `run.cluster`. Raises
    UserError."""
    check_cluster(run, lambda _: f" ({folder})")
    name, cluster = str(run["executor"]), dict(run["cluster"])
    if name != "local" and options.gpus:
        raise UserError(
            f"--gpus is for run.executor=local; {name} gets GPUs through run.cluster"
        )
    if name == "submitit":
        from aihw_cli.sweeps.slurm import Submitit

        return Submitit(_fresh(folder / "submitit"), cluster, options.jobs or UNLIMITED)
    if name == "ray":
        from aihw_cli.sweeps.rays import Ray

        return Ray(cluster, options.jobs or UNLIMITED)
    from aihw_cli.sweeps.local import Local

    if cluster:
        raise UserError(
            "run.cluster is for run.executor=submitit or ray; here run.executor is local"
        )
    slots = options.jobs or len(options.gpus) or 1
    gpus = options.gpus or (several_gpus(run) if slots > 1 else ())
    return Local(slots, gpus, share_of_cores(slots), asked=bool(options.gpus))


def several_gpus(run: Mapping[str, Any]) -> tuple[str, ...]:
    """The GPUs of this machine where runs at a time can be spread over several; by itself each
    process would take the first one."""
    from engine.jit import cuda

    count = 0 if run.get("device") == "cpu" else cuda.device_count()
    return tuple(map(str, range(count))) if count > 1 else ()


def _fresh(home: Path) -> Path:
    """A new folder in `home`: submitit unpickles the results that it finds in its folder, and one
    that was there before may hold a stranger's."""
    with writing("the folder of submitit", home):
        make_folder(home)
        return Path(tempfile.mkdtemp(dir=home, prefix=time.strftime("%Y%m%d-%H%M%S-")))


def share_of_cores(slots: int) -> int:
    """Threads for each of `slots` processes at a time; 0, torch's own choice, for a single one."""
    return 0 if slots == 1 else max(1, len(os.sched_getaffinity(0)) // slots)
