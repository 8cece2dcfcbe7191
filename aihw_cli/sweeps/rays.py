"""Runs as tasks of a Ray cluster, each in a worker process that ends with it."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from typing import Any

from aihw_cli.sweeps import worker
from aihw_cli.sweeps.worker import Task, absolute
from engine.settings import UserError

LOST = -signal.SIGKILL
START = ("address", "init")


class Running:
    """A task of the cluster."""

    def __init__(self, ray: Any, reference: Any) -> None:
        self.ray = ray
        self.reference = reference

    def exit_code(self) -> int | None:
        done, _ = self.ray.wait([self.reference], timeout=0)
        if not done:
            return None
        try:
            return int(self.ray.get(self.reference))
        except self.ray.exceptions.TaskCancelledError:
            return worker.INTERRUPTED
        except self.ray.exceptions.RayError:
            return LOST

    def interrupt(self) -> None:
        self.ray.cancel(self.reference)

    def kill(self) -> None:
        self.ray.cancel(self.reference, force=True)


class Ray:
    """`run.cluster`: `address` of a running cluster, `init` for ray.init, and the options of a task
    (num_cpus, ...)."""

    def __init__(self, cluster: Mapping[str, Any], slots: int) -> None:
        self.ray = ray = _ray()
        options = {
            "num_cpus": 1,
            **{k: v for k, v in cluster.items() if k not in START},
        }
        start = {
            "address": cluster.get("address"),
            "log_to_driver": False,
            "logging_level": "ERROR",
        }
        try:
            # A worker that served one run is not used for another; Ray's own repetitions would hide
            # a crash from us.
            self.function = ray.remote(max_calls=1, max_retries=0, **options)(
                worker.work
            )
            ray.init(**start, **dict(cluster.get("init") or {}))
        except (ValueError, TypeError, ConnectionError) as error:
            raise UserError(f"run.cluster: {str(error).splitlines()[0]}") from None
        self.slots = slots
        self.threads = max(1, int(options["num_cpus"]))

    def start(self, task: Task) -> Running:
        return Running(self.ray, self.function.remote(absolute(task)))

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        """Leave the cluster; one that was started for this sweep ends."""
        self.ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise UserError("run.executor=ray needs Ray: pip install 'aihw[ray]'") from None
    return ray
