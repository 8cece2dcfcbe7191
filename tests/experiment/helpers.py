"""What the tests of runs share: a small configuration, a reporter that remembers, idx files,
processes to kill."""

from __future__ import annotations

import gzip
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 10  # in an epoch of `small_config`
NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def small_config(folder: Path, **changes: dict[str, Any]) -> dict[str, Any]:
    """A digital run on a few digits; `changes` go over its sections."""
    config: dict[str, Any] = {
        "name": "small",
        "device": {},
        "tile": {},
        "algorithm": {"name": "digital"},
        "model": {"name": "mlp", "hidden": [16]},
        "dataset": {
            "name": "digits",
            "root": "data",
            "batch_size": 10,
            "train_samples": 95,
            "test_samples": 50,
        },
        "loss": {"name": "nll", "reduction": "sum"},
        "optimizer": {
            "name": "analog_sgd",
            "lr": 0.05,
            "momentum": 0.5,
            "schedule": {"name": "cosine"},
        },
        "run": {
            "epochs": 3,
            "seed": 7,
            "device": "cpu",
            "threads": 1,
            "checkpoint_every": 0,
            "dir": str(folder),
        },
        "layers": {},
    }
    for section, values in changes.items():
        config[section] = {**config[section], **values}
    return config


def analog_config(folder: Path, **changes: dict[str, Any]) -> dict[str, Any]:
    """The same run on cells that are noisy, leak and differ from each other; the last layer is
    digital."""
    cells = {
        "model": "soft_bounds",
        "dw_min": 0.01,
        "lifetime": 1000.0,
        "diffusion": 0.001,
        "write_noise_std": 0.1,
    }
    base = {
        "device": cells,
        "algorithm": {"name": "sgd"},
        "layers": {"fc2": {"algorithm": "digital"}},
    }
    return small_config(
        folder,
        **{
            key: {**base.get(key, {}), **changes.get(key, {})} for key in base | changes
        },
    )


class Recorder:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.messages: list[str] = []
        self.summary: dict[str, Any] = {}
        self.steps: list[tuple[int, int]] = []
        self.steps_per_epoch = 0

    def started(
        self, config: Mapping[str, Any], folder: Path, steps_per_epoch: int
    ) -> None:
        self.steps_per_epoch = steps_per_epoch

    def step(
        self, epoch: int, batch: int, loss: float, samples_per_second: float
    ) -> None:
        self.steps.append((epoch, batch))

    def epoch(self, row: Mapping[str, Any]) -> None:
        self.rows.append(dict(row))

    def finished(self, summary: Mapping[str, Any]) -> None:
        self.summary = dict(summary)

    def message(self, text: str) -> None:
        self.messages.append(text)


class Stopper(Recorder):
    """Calls `action` at the first report of a step at or after (epoch, batch)."""

    def __init__(self, at: tuple[int, int], action: Callable[[], object]) -> None:
        super().__init__()
        self.at, self.action, self.done = at, action, False

    def step(
        self, epoch: int, batch: int, loss: float, samples_per_second: float
    ) -> None:
        if (epoch, batch) >= self.at and not self.done:
            self.done = True
            self.action()


def run(config: Mapping[str, Any], reporter: Recorder | None = None) -> Path:
    """Train in this process; the folder of the run."""
    from engine.experiment.runs import run_folder
    from engine.experiment.train import train

    folder = run_folder(config)
    train(config, folder, reporter or Recorder())
    return folder


def interrupt() -> None:
    """Ctrl-C for this process."""
    os.kill(os.getpid(), signal.SIGINT)


def outcome(folder: Path) -> tuple[dict[str, bytes], list[str]]:
    """What two equal runs share to the bit: every tensor of the last checkpoint, and the metrics
    without times."""
    from safetensors.numpy import load_file

    last = sorted(
        p for p in (folder / "checkpoint").iterdir() if "unfinished" not in p.name
    )[-1]
    tensors = {
        name: value.tobytes()
        for name, value in load_file(last / "tensors.safetensors").items()
    }
    lines = (folder / "metrics.csv").read_text().splitlines()
    assert lines[0].endswith(",seconds")
    return tensors, [line.rpartition(",")[0] for line in lines]


def write_idx(
    folder: Path,
    *,
    zipped: bool = False,
    train: int = 30,
    test: int = 12,
    side: int = 28,
) -> dict[str, Path]:
    """Four small idx files; every image of label n has the grey value 20 n + 5."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for count, (images, labels) in ((train, NAMES[:2]), (test, NAMES[2:])):
        truth = np.arange(count, dtype=np.uint8) % 10
        pixels = np.broadcast_to(
            (20 * truth + 5).astype(np.uint8)[:, None, None], (count, side, side)
        )
        paths[images] = _put(folder / images, pixels, zipped)
        paths[labels] = _put(folder / labels, truth, zipped)
    return paths


def _put(path: Path, values: np.ndarray, zipped: bool) -> Path:
    head = bytes((0, 0, 8, values.ndim)) + b"".join(
        size.to_bytes(4, "big") for size in values.shape
    )
    content = head + values.tobytes()
    target = path.with_name(path.name + ".gz") if zipped else path
    target.write_bytes(gzip.compress(content) if zipped else content)
    return target


def run_job(config: dict[str, Any], folder: str) -> None:
    """Train or resume in a process of its own."""
    from engine.experiment.train import train

    train(config, Path(folder), Recorder())


def run_and_die(config: dict[str, Any], folder: str, operation: int) -> None:
    """The same, but the process kills itself before it syncs or renames a file for the
    `operation`-th time; 0 lets it live."""
    count = 0

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return call

    for name in ("fsync", "replace", "rename"):
        setattr(os, name, deadly(getattr(os, name)))
    run_job(config, folder)


def process_for(config: dict[str, Any], folder: Path, *, dies_at: int = 0) -> Any:
    """A process that will train `config`; torch is imported once, in the server from which it is
    forked."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "torch",
            "torch._dynamo",
            "yaml",
            "safetensors.torch",
            "engine.experiment.loop",
        ]
    )
    return context.Process(target=run_and_die, args=(config, str(folder), dies_at))
