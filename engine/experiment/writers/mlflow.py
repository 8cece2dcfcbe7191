"""A run in MLflow: where MLFLOW_TRACKING_URI says, else in mlflow.db beside the run folders."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.experiment.files import write_json
from engine.experiment.writers import Row, numbers, step
from engine.readers.json_text import read_json
from engine.settings import UserError
from engine.trust.files import lock
from engine.trust.text import to_json

PACKAGE, EXTRA = "mlflow", "aihw[mlflow]"
KEPT = "mlflow.json"
PARAMETERS, LENGTH = 100, 500
WAIT_SECONDS = 60.0
STATUS = {"finished": "FINISHED", "diverged": "FAILED"}


class Writer:
    """Goes on with the run that mlflow.json in the run folder names, or begins one."""

    def __init__(
        self, path: Path, config: Mapping[str, Any], record: Mapping[str, Any]
    ) -> None:
        home = path.parent.parent
        # Several runs of a sweep begin at once: one of them makes the tables and the experiment.
        with lock(home / "mlflow.lock", seconds=WAIT_SECONDS):
            self._client, uri = _client(home)
            kept = _kept(path, uri)
            self._run = kept or self._begin(path, config, record)
        if not kept:
            write_json(path / KEPT, {"tracking_uri": uri, "run_id": self._run})
        self._client.update_run(self._run, status="RUNNING")
        self._steps: dict[str, set[int]] = {}

    def rows(self, rows: Sequence[Row]) -> None:
        """Metrics of the steps that are not there yet: a run that goes on repeats its last ones,
        bit by bit."""
        from mlflow.entities import Metric

        now, fresh = int(time.time() * 1000), []
        for place, row in enumerate(rows):
            for name, value in numbers(row).items():
                if name not in self._steps:
                    self._steps[name] = {
                        found.step
                        for found in self._client.get_metric_history(self._run, name)
                    }
                if step(row, place) not in self._steps[name]:
                    self._steps[name].add(step(row, place))
                    fresh.append(Metric(name, value, now, step(row, place)))
        for some in _portions(fresh):
            self._client.log_batch(self._run, metrics=some)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The status, and the result as a tag."""
        self._client.set_tag(self._run, "aihw.summary", to_json(summary))
        self._client.set_terminated(
            self._run, STATUS.get(str(summary.get("status")), "FINISHED")
        )

    def close(self) -> None:
        """A run without a result stays open; it may be resumed."""

    def _begin(
        self, path: Path, config: Mapping[str, Any], record: Mapping[str, Any]
    ) -> str:
        from mlflow.entities import Param

        name = path.parent.name
        found = self._client.get_experiment_by_name(name)
        experiment = (
            found.experiment_id if found else self._client.create_experiment(name)
        )
        tags = {
            f"aihw.{key}": str(record.get(key) or "")
            for key in ("id", "hash", "seed", "commit")
        }
        run = self._client.create_run(
            experiment,
            run_name=path.name,
            tags={**tags, "aihw.folder": str(path.absolute())},
        )
        parameters = [Param(key, str(value)[:LENGTH]) for key, value in _flat(config)]
        for some in _portions(parameters):
            self._client.log_batch(run.info.run_id, params=some)
        return str(run.info.run_id)


def _client(home: Path) -> tuple[Any, str]:
    import logging

    import mlflow

    for name in ("mlflow", "alembic"):  # they tell of every table that they make
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = (
        mlflow.get_tracking_uri()
        if mlflow.is_tracking_uri_set()
        else f"sqlite:///{home.absolute()}/mlflow.db"
    )
    return mlflow.MlflowClient(tracking_uri=uri), uri


def _kept(path: Path, uri: str) -> str:
    """The MLflow run that this run has had before, if it is in the same place."""
    try:
        kept = read_json(path / KEPT)
        return str(kept["run_id"]) if kept["tracking_uri"] == uri else ""
    except (UserError, TypeError, KeyError):
        return ""  # then it gets a new one


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _portions(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), PARAMETERS):
        yield items[start : start + PARAMETERS]
