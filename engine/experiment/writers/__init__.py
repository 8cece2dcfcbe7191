"""Metrics handed on to other programs while a run goes on: `run.log=[tensorboard]`.

One file each, found by its name. A module defines PACKAGE, which it needs, EXTRA, how to install
that, and a class `Writer(path, config, record)`:

    rows(rows)       all rows of the metrics so far; those that are there already are not written
                     twice
    finish(summary)  the result
    close()          no more will come, finished or not

metrics.csv stays the truth: on resume a writer follows it from the checkpoint on. A writer that
fails is dropped with a line in the log; it never stops a run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.config.members import Members
from engine.settings import UserError

WRITERS = Members("engine.experiment.writers", "run.log: there is no")
Row = Mapping[str, Any]


def writer_names() -> tuple[str, ...]:
    """What `run.log` may hold."""
    return tuple(WRITERS.names())


def require(config: Mapping[str, Any]) -> None:
    """Raises UserError if a writer that `config` asks for is not installed."""
    for name in _wanted(config):
        module = _module(name)
        if importlib.util.find_spec(module.PACKAGE) is None:
            raise UserError(
                f"run.log=[{name}] needs a package that is not installed: pip install '{module.EXTRA}'"
            )


class Writers:
    """The writers of one run, opened with the first metrics."""

    def __init__(self, path: Path, log: Callable[[str], None]) -> None:
        self.path, self.log = path, log
        self._open: dict[str, Any] = {}

    def begin(self, config: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Open what `config` asks for."""
        for name in _wanted(config):
            self._try(
                name,
                lambda name: self._put(
                    name, _module(name).Writer(self.path, config, record)
                ),
            )

    def rows(self, rows: Sequence[Row]) -> None:
        """All rows of the metrics so far."""
        self._each(lambda name: self._open[name].rows(rows))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The result."""
        self._each(lambda name: self._open[name].finish(summary))

    def close(self) -> None:
        """The run is over, or interrupted."""
        self._each(lambda name: self._open[name].close())
        self._open.clear()

    def _put(self, name: str, writer: Any) -> None:
        self._open[name] = writer

    def _each(self, work: Callable[[str], None]) -> None:
        for name in list(self._open):
            self._try(name, work)

    def _try(self, name: str, work: Callable[[str], None]) -> None:
        try:
            work(name)
        except (
            Exception
        ) as problem:  # of any kind, from a program that the result does not need
            self._open.pop(name, None)
            first = (str(problem).splitlines() or [""])[0]
            self.log(f"run.log: {name} is given up: {type(problem).__name__}: {first}")


def numbers(row: Row) -> dict[str, float]:
    """The entries of a row that are numbers, without its count of epochs."""
    return {
        k: float(v)
        for k, v in row.items()
        if isinstance(v, int | float) and k != "epoch"
    }


def step(row: Row, place: int) -> int:
    """The epoch of a row; its place in the table where a task counts something else."""
    return int(row.get("epoch", place + 1))


def _wanted(config: Mapping[str, Any]) -> Sequence[str]:
    return tuple((config.get("run") or {}).get("log") or ())


def _module(name: str) -> ModuleType:
    return WRITERS.find(name)
