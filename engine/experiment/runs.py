"""Run folders: runs/<recipe>/<hash>-<seed>/, made whole, locked while a process works in them.

run.json      status, versions, commit, seed, machine, times, papers
config.yaml   the resolved configuration
metrics.csv   a row for each epoch
log.txt       what happened, with times
checkpoint/   see checkpoint.py
summary.json  the result, once there is one
"""

from __future__ import annotations

import copy
import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from engine.experiment import record
from engine.experiment.files import write_bytes, write_csv, write_json, writing
from engine.experiment.identity import (
    NAMED_FILES,
    hash_of,
    identity_parts,
    is_device_file,
    run_hash,
)
from engine.experiment.identity.program import stretch
from engine.experiment.writers import Writers, require
from engine.settings import UserError

# Version 1 recorded neither the parts of its hash nor the programs that worked on the run.
FORMAT = 2
COLUMNS = (
    "epoch", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "samples", "seconds",
)  # fmt: skip
DONE = ("finished", "diverged")


def run_folder(config: Mapping[str, Any], *, again: bool = False) -> Path:
    """The folder of the run that `config` describes; with `again`, the first one of it that is
    free."""
    run = config["run"]
    recipe = folder_name(str(config.get("name") or "run"))
    path = (
        Path(run.get("dir") or "runs").expanduser() / recipe / f"{run_hash(config)}-{run['seed']}"
    )
    if not again:
        return path
    number, free = 2, path
    while free.exists():
        free, number = path.with_name(f"{path.name}-{number}"), number + 1
    return free


def folder_name(recipe: str) -> str:
    """The folder that holds the runs of a recipe."""
    return re.sub(r"[^\w.+-]+", "-", recipe).strip("-.") or "run"


def run_status(folder: Path) -> str:
    """absent, running, interrupted, failed, diverged or finished. A run whose process died is
    interrupted."""
    if not folder.exists():
        return "absent"
    status = str(read_record(folder)["status"])
    if status in DONE:
        return status
    if _is_locked(folder / "lock"):
        return "running"
    return "interrupted" if status == "running" else status


def read_record(folder: Path) -> dict[str, Any]:
    """run.json of a run folder. Raises UserError if it is none, or one of a newer version."""
    path = folder / "run.json"
    if not folder.is_dir() or not path.is_file():
        raise UserError(
            f"{folder} is no run folder: "
            + ("it has no run.json" if folder.is_dir() else "there is no such folder")
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] > FORMAT:
            raise UserError(
                f"{folder} was written by a newer version of aihw (format {found['format']}); update aihw"
            )
        found["status"], found["hash"], found["id"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        if isinstance(problem, UserError):
            raise
        raise UserError(f"{path} is damaged: {problem}") from problem
    return found


def read_summary(folder: Path) -> dict[str, Any]:
    """summary.json of a run that is done."""
    try:
        return json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UserError(f"{folder / 'summary.json'} is missing or damaged: {problem}") from problem


def has_metrics(folder: Path) -> bool:
    """Whether a run has come to the end of an epoch."""
    path = folder / "metrics.csv"
    return path.is_file() and path.read_bytes().count(b"\n") > 1


def read_config(folder: Path) -> dict[str, Any]:
    """config.yaml of a run folder."""
    import yaml

    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as problem:
        first = str(problem).splitlines()[0]
        raise UserError(f"{folder / 'config.yaml'} is missing or damaged: {first}") from problem
    if not isinstance(config, dict):
        raise UserError(f"{folder / 'config.yaml'} is damaged: it holds no settings")
    return config


def stored_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with absolute paths to data, weights and device files, so that it can be resumed
    from any folder."""
    stored = copy.deepcopy(dict(config))
    for section, key in (("dataset", "root"), ("dataset", "path"), ("run", "start")):
        if stored[section].get(key):
            stored[section][key] = str(Path(stored[section][key]).expanduser().absolute())
    _absolute_devices(stored)
    return stored


def _absolute_devices(values: Any) -> None:
    if isinstance(values, dict):
        for key, value in values.items():
            if key in NAMED_FILES and is_device_file(value):
                path, mark, attribute = value.partition(":")
                values[key] = str(Path(path).expanduser().absolute()) + mark + attribute
            else:
                _absolute_devices(value)


class RunFolder:
    """A run folder that this process holds the lock of. Use it in a `with` statement."""

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path = path
        self.record = read_record(path)
        self._lock = lock
        self._writers = Writers(path, self.log)

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any], **more: Any) -> RunFolder:
        """Make the folder of a new run; it appears under its name with all its first files, or not
        at all."""
        require(config)
        with writing("the run folder", path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".new-{path.name}-{secrets.token_hex(4)}")
            temporary.mkdir()
            try:
                lock = _acquire(temporary / "lock", path)
                _write_config(temporary, config)
                write_json(temporary / "run.json", _first_record(path, config, more))
                os.rename(temporary, path)
            except OSError:
                shutil.rmtree(temporary, ignore_errors=True)
                if path.is_dir():
                    raise UserError(
                        f"{path} was made by another process meanwhile; it is in use"
                    ) from None
                raise
        return cls(path, lock)._follow(config)

    @classmethod
    def open(cls, path: Path, config: Mapping[str, Any] | None = None) -> RunFolder:
        """Take over an existing run folder; `config` takes the place of the recorded configuration.
        Raises UserError if it is none or in use."""
        read_record(path)
        before = read_config(path)
        config = before if config is None else config
        require(config)
        with writing("the lock", path):
            lock = _acquire(path / "lock", path)
        if config != before:
            _write_config(path, config)
        return cls(path, lock)._follow(config)

    def _follow(self, config: Mapping[str, Any]) -> RunFolder:
        self._writers.begin(config, self.record)
        return self

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self._writers.close()
        self._lock.close()

    def update(self, **changes: Any) -> None:
        """Change entries of run.json."""
        self.record.update(changes)
        with writing("run.json", self.path):
            write_json(self.path / "run.json", self.record)

    def log(self, text: str) -> None:
        """Append to log.txt."""
        with (
            writing("log.txt", self.path),
            (self.path / "log.txt").open("a", encoding="utf-8") as file,
        ):
            file.write(f"{record.now()} {text}\n")

    def write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace metrics.csv by `rows`, those of epochs or of anything else that a task counts."""
        columns = list(rows[0]) if rows else COLUMNS
        with writing("metrics.csv", self.path):
            write_csv(self.path / "metrics.csv", rows, columns)
        self._writers.rows(rows)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the result, then the status: a crash in between leaves a run that resumes and ends
        at once."""
        with writing("summary.json", self.path):
            write_json(self.path / "summary.json", summary)
        self._writers.finish(summary)
        self.update(status=summary["status"], ended=record.now(), seconds=summary["seconds"])


def replace_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write another config.yaml into a run folder that nobody works in. Raises UserError."""
    with writing("the lock", folder):
        lock = _acquire(folder / "lock", folder)
    with lock, writing("config.yaml", folder):
        _write_config(folder, config)


def _write_config(folder: Path, config: Mapping[str, Any]) -> None:
    import yaml

    text = yaml.safe_dump(dict(config), sort_keys=False)
    write_bytes(folder / "config.yaml", text.encode())


def _first_record(path: Path, config: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    parts = identity_parts(config)
    identity = hash_of(parts)
    seed = config["run"]["seed"]
    return {
        "format": FORMAT,
        "id": f"{path.parent.name}/{identity}-{seed}",
        "name": config.get("name", ""),
        "hash": identity,
        "identity": parts,
        "seed": seed,
        "status": "running",
        "started": record.now(),
        "ended": None,
        "seconds": 0.0,
        "commit": record.git_commit(),
        "stretches": [stretch()],
        "versions": record.versions(),
        "host": record.host(),
        **more,
        "citations": record.citations(config),
    }


def _acquire(path: Path, folder: Path) -> IO[str]:
    """Lock `path` for as long as the returned file stays open; the kernel frees it when the process
    dies."""
    file = path.open("a+", encoding="utf-8")
    if not _try_lock(file):
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise UserError(f"{folder} is in use" + (f" by {holder}" if holder else ""))
    file.truncate(0)
    file.write(f"process {os.getpid()} on {record.host()['name']}\n")
    file.flush()
    return file


def _try_lock(file: IO[str]) -> bool:
    """Once more after a moment: whoever asks for the status of a run holds its lock for an
    instant."""
    for wait in (0.05, 0.2, None):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if wait:
                time.sleep(wait)
    return False


def _is_locked(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
