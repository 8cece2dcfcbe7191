"""One run of a sweep in a process of its own: what it says goes to a log, how far it is to a small
file."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from aihw_cli.__main__ import without_current_folder
from aihw_cli.output import say
from aihw_cli.report import PlainReporter
from engine.experiment.interrupt import interruptible
from engine.settings import UserError, use_gpu
from engine.trust.code import code_permission
from engine.trust.files import make_folder, open_append, open_plain, write_bytes
from engine.trust.text import to_json

OK, FAILED, WRONG_INPUT, BUSY, INTERRUPTED = 0, 1, 2, 75, 130
PROGRESS_SECONDS = 0.5


@dataclass(frozen=True)
class Task:
    """What a process must know of its run. `threads` 0 leaves the number to torch, `gpu` is the one
    that it may see, and must find if the user `gpu_asked` for it, `allow_code` the permission for
    device files."""

    config: str
    folder: str
    log: str
    progress: str
    threads: int = 0
    gpu: str = ""
    gpu_asked: bool = True
    allow_code: bool = False
    changed_program: bool = False


def absolute(task: Task) -> Task:
    """The same task, for a process that works in another folder."""
    places = {
        name: str(Path(getattr(task, name)).absolute())
        for name in ("folder", "log", "progress")
    }
    return replace(task, **places)  # type: ignore[arg-type]


class Teller(PlainReporter):
    """Lines for the log; beside them epoch, loss and speed as one JSON object, at most twice a
    second."""

    def __init__(self, stream: TextIO, path: Path) -> None:
        super().__init__(stream)
        self.path = path
        self.told = 0.0
        self.facts: dict[str, Any] = {"pid": os.getpid()}

    def started(
        self, config: Mapping[str, Any], folder: Path, steps_per_epoch: int
    ) -> None:
        super().started(config, folder, steps_per_epoch)
        self.tell(epoch=0, epochs=self.epochs, batches=steps_per_epoch)

    def step(
        self, epoch: int, batch: int, loss: float, samples_per_second: float
    ) -> None:
        super().step(epoch, batch, loss, samples_per_second)
        if time.monotonic() - self.told > PROGRESS_SECONDS:
            self.tell(epoch=epoch, batch=batch, loss=loss, speed=samples_per_second)

    def epoch(self, row: Mapping[str, Any]) -> None:
        super().epoch(row)
        self.tell(
            epoch=row["epoch"],
            batch=0,
            loss=row["train_loss"],
            accuracy=row["test_accuracy"],
        )

    def tell(self, **facts: Any) -> None:
        """Replace the file. It is only looked at, so it need not survive a power cut."""
        self.told = time.monotonic()
        self.facts.update(facts)
        with contextlib.suppress(
            OSError
        ):  # a full disk must not end a run for want of this
            write_bytes(self.path, to_json(self.facts).encode(), durable=False)


def work(task: Task) -> int:
    """Do or finish the run of `task` in this process. Returns an exit code; the reason stands in
    the log."""
    # An executor that starts it with `python -m` puts the current folder first.
    sys.path[:] = without_current_folder(sys.path)
    for place in (task.log, task.progress):
        make_folder(Path(place).parent)
    with (
        open_append(Path(task.log)) as log,
        interruptible(),
        code_permission(task.allow_code),
    ):
        try:
            _train(task, Teller(log, Path(task.progress)))
            return OK
        except KeyboardInterrupt:
            say(f"interrupted; go on with: aihw resume {task.folder}", stream=log)
            return INTERRUPTED
        except UserError as error:
            say(f"error: {error}", stream=log)
            return BUSY if _in_use(Path(task.folder)) else WRONG_INPUT
        except Exception as error:
            text = (str(error).splitlines() or [""])[0]
            last = f"the run failed: {type(error).__name__}: {text}"
            say(f"{traceback.format_exc()}{last}", stream=log)
            return FAILED


def _train(task: Task, teller: Teller) -> None:
    if task.gpu:
        use_gpu(task.gpu)
    import torch

    from engine.experiment.runs import run_folder
    from engine.experiment.train import train

    if task.threads:
        torch.set_num_threads(task.threads)
    config, folder = json.loads(task.config), Path(task.folder)
    wanted = task.gpu and task.gpu_asked and config["run"]["device"] != "cpu"
    if wanted and not torch.cuda.is_available():
        raise UserError(
            f"--gpus {task.gpu}: torch finds no usable GPU of this number; `nvidia-smi -L` lists them"
        )
    if not folder.exists() and not folder.name.startswith(run_folder(config).name):
        raise UserError(
            "the data or the physics of aihw changed since the sweep began\n"
            "its other runs are not comparable with this one: start the sweep anew, with --again"
        )
    train(config, folder, teller, changed_program=task.changed_program)


def _in_use(folder: Path) -> bool:
    from engine.experiment.runs import run_status

    try:
        return run_status(folder) == "running"
    except UserError:
        return False


def main(task: Task) -> None:
    """A process that was forked for `task`: apart from the terminal, and gone with its parent."""
    # The terminal would interrupt it beside its parent, and the second interrupt stops a run
    # without a checkpoint.
    os.setsid()
    make_folder(Path(task.log).parent)
    handle = open_plain(Path(task.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(handle, stream)
    faulthandler.enable(sys.stderr)
    threading.Thread(target=_watch, daemon=True).start()
    sys.exit(work(task))


def _watch() -> None:
    """Interrupt this process, which then writes its checkpoint, when its parent has died."""
    from multiprocessing import connection, parent_process

    process = parent_process()
    if process is not None:
        connection.wait([process.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
