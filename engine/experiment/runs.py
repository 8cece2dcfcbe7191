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
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from engine.experiment import record
from engine.experiment.files import write_csv, write_json, writing
from engine.experiment.identity import (
    hash_of,
    identity_parts,
    names_file,
    run_hash,
)
from engine.experiment.identity.program import stretch
from engine.experiment.writers import Writers, require
from engine.readers.run_files import (
    DONE,
    FORMAT,
    read_config,
    read_record,
    read_summary,
)
from engine.readers.yaml_text import dump_yaml
from engine.settings import NAME_BYTES, UserError, user_path
from engine.trust import files
from engine.trust.text import visible

# What others take from here beside our own.
__all__ = ("DONE", "FORMAT", "read_config", "read_record", "read_summary")
COLUMNS = (
    "epoch", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "samples", "seconds",
)  # fmt: skip
# How the name of a run folder begins until it is whole.
NEW = ".new-"
LEFT_SECONDS = 60.0
# Settings that are paths.
PATHS = (
    ("dataset", "root"),
    ("dataset", "path"),
    ("run", "start"),
    ("model", "weights"),
)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn a folder that may not be read, and a link in it, into one line for the user."""
    try:
        yield
    except OSError as problem:
        where = problem.filename or folder
        raise UserError(
            f"{visible(where)} cannot be read: {problem.strerror or problem}"
        ) from problem


def run_folder(config: Mapping[str, Any], *, again: bool = False) -> Path:
    """The folder of the run that `config` describes; with `again`, the first one of it that is
    free."""
    run = config["run"]
    recipe = folder_name(str(config.get("name") or "run"))
    path = (
        user_path(run.get("dir") or "runs")
        / recipe
        / f"{run_hash(config)}-{run['seed']}"
    )
    if not again:
        return path
    number, free = 2, path
    while free.exists():
        free, number = path.with_name(f"{path.name}-{number}"), number + 1
    return free


def folder_name(recipe: str) -> str:
    """The folder that holds the runs of a recipe. Raises UserError for a name that is too long."""
    name = re.sub(r"[^\w.+-]+", "-", recipe).strip("-.") or "run"
    if len(name.encode()) > NAME_BYTES:
        raise UserError(
            f"name '{name[:20]}...' is too long for a folder: {NAME_BYTES} bytes at most"
        )
    return name


def run_status(folder: Path) -> str:
    """absent, running, interrupted, failed, diverged or finished. A run whose process died is
    interrupted."""
    with reading(folder):
        if not folder.exists():
            return "absent"
        status = str(read_record(folder)["status"])
        if status in DONE:
            return status
        if files.is_locked(folder / "lock"):
            return "running"
    return "interrupted" if status == "running" else status


def has_metrics(folder: Path) -> bool:
    """Whether a run has come to the end of an epoch."""
    with reading(folder):
        try:
            return files.read_bytes(folder / "metrics.csv").count(b"\n") > 1
        except FileNotFoundError:
            return False


def offline(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration from a folder, which may be a stranger's: its data were there when it was
    made, and nothing is fetched into the place that it names."""
    if isinstance(config.get("dataset"), dict):
        config["dataset"]["download"] = False
    return config


def config_to_resume(folder: Path) -> dict[str, Any]:
    """The configuration of a run that goes on in its folder, which may have been moved: an
    evaluation is about the run that it lies in."""
    config = offline(read_config(folder))
    task, home = config.get("task"), folder.absolute().parent
    inside = home.name == "eval" and (home.parent / "run.json").is_file()
    if (
        inside
        and isinstance(task, dict)
        and not Path(task.get("weights") or ".").exists()
    ):
        task["weights"] = str(home.parent)
    return config


def stored_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with absolute paths to data, weights and device files, so that it can be resumed
    from any folder."""
    stored = copy.deepcopy(dict(config))
    for section, key in PATHS:
        if (stored.get(section) or {}).get(key):
            stored[section][key] = str(user_path(stored[section][key]).absolute())
    _absolute_files(stored)
    return stored


def _absolute_files(values: Any, section: str = "") -> None:
    if isinstance(values, dict):
        for key, value in values.items():
            if names_file(key, value, section):
                path, mark, attribute = value.partition(":")
                values[key] = str(user_path(path).absolute()) + mark + attribute
            else:
                _absolute_files(value, key)


def check_inside_run(folder: Path) -> None:
    """Raises UserError if the folder of an evaluation leads out of the run that it belongs to."""
    if (folder.parent.parent / "run.json").exists():
        with reading(folder):
            files.check_no_link(folder.parent, folder)


class RunFolder:
    """A run folder that this process holds the lock of. Use it in a `with` statement."""

    def __init__(self, path: Path, lock: TextIO) -> None:
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
            _remove_leftovers(path)
            temporary = path.with_name(f"{NEW}{path.name}-{secrets.token_hex(4)}")
            temporary.mkdir()
            try:
                lock = _acquire(temporary / "lock", path)
                _write_config(temporary, config)
                write_json(temporary / "run.json", _first_record(path, config, more))
                os.rename(temporary, path)
            except OSError:
                files.remove_tree(temporary)
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
            files.open_append(self.path / "log.txt") as file,
        ):
            file.write(f"{record.now()} {visible(text, lines=True)}\n")

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
        self.update(
            status=summary["status"], ended=record.now(), seconds=summary["seconds"]
        )


def replace_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write another config.yaml into a run folder that nobody works in. Raises UserError."""
    with writing("the lock", folder):
        lock = _acquire(folder / "lock", folder)
    with lock, writing("config.yaml", folder):
        _write_config(folder, config)


def _write_config(folder: Path, config: Mapping[str, Any]) -> None:
    files.write_bytes(folder / "config.yaml", dump_yaml(config).encode())


def _first_record(
    path: Path, config: Mapping[str, Any], more: Mapping[str, Any]
) -> dict[str, Any]:
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


def _acquire(path: Path, folder: Path) -> TextIO:
    """The lock of a run folder. Raises UserError that names the process that has it."""
    try:
        return files.lock(path, f"process {os.getpid()} on {record.host()['name']}\n")
    except files.Held as other:
        who = f" by {visible(other)}" if str(other) else ""
        raise UserError(f"{folder} is in use{who}") from None


def _remove_leftovers(path: Path) -> None:
    """Remove what processes that were killed while they made this folder have left beside it."""
    for left in files.folders_in(path.parent):
        # A folder of this moment may be without its lock yet.
        fresh = time.time() - left.stat().st_mtime < LEFT_SECONDS
        if fresh or not left.name.startswith(f"{NEW}{path.name}-"):
            continue
        try:
            files.lock(left / "lock").close()
        except (files.Held, OSError):
            continue  # another process is just making it
        files.remove_tree(left)
