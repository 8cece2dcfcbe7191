"""How a run is told to the user: live progress on a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from aihw_cli.output import block, say, say_error
from engine.experiment.tasks import TRAIN, task_of
from engine.presets import label_of
from engine.trust.load import shown_name

QUIET_SECONDS = 30.0
# Of the summary of a task: what is said elsewhere in its line, or not of interest there.
NOT_FIGURES = (
    "status",
    "name",
    "task",
    "figure",
    "reference",
    "points",
    "seconds",
    "seed",
    "notes",
    "reason",
)


class PlainReporter:
    """Lines without control codes: one an epoch, and a sign of life in long ones."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.folder: Path | None = None
        self.epochs = 0
        self.said = time.monotonic()

    def __enter__(self) -> PlainReporter:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def started(
        self, config: Mapping[str, Any], folder: Path, steps_per_epoch: int
    ) -> None:
        self.folder, self.epochs = folder, config["run"]["epochs"]
        self.line(describe(config))
        self.line(f"run folder {folder}")

    def step(
        self, epoch: int, batch: int, loss: float, samples_per_second: float
    ) -> None:
        if time.monotonic() - self.said > QUIET_SECONDS:
            self.line(
                f"epoch {epoch}, batch {batch}: loss {loss:.4g}, {samples_per_second:.0f} samples/s"
            )

    def epoch(self, row: Mapping[str, Any]) -> None:
        self.line(epoch_line(row, self.epochs))

    def finished(self, summary: Mapping[str, Any]) -> None:
        self.line(result_line(summary))
        for text in summary.get("notes") or ():
            self.line(f"note: {text}")

    def message(self, text: str) -> None:
        self.line(text)

    def line(self, text: str) -> None:
        """One line, at once."""
        self.said = time.monotonic()
        say(block(text), stream=self.stream)


class LiveReporter(PlainReporter):
    """The same lines above a progress bar with epoch, batch, loss, accuracy, speed and time
    left."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[state]}"),
            console=Console(file=stream, highlight=False, soft_wrap=True),
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=None, state="")
        self.steps = self.batch_size = 1
        self.accuracy = ""

    def __enter__(self) -> LiveReporter:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def started(
        self, config: Mapping[str, Any], folder: Path, steps_per_epoch: int
    ) -> None:
        super().started(config, folder, steps_per_epoch)
        self.steps, self.batch_size = steps_per_epoch, config["dataset"]["batch_size"]
        self.bar.update(self.task, total=self.epochs * steps_per_epoch or None)

    def step(
        self, epoch: int, batch: int, loss: float, samples_per_second: float
    ) -> None:
        done = (epoch - 1) * self.steps + batch
        left = (
            (self.epochs * self.steps - done) * self.batch_size / samples_per_second
            if samples_per_second
            else None
        )
        state = f"batch {batch}/{self.steps}  loss {loss:.4g}{self.accuracy}  {samples_per_second:.0f} samples/s"
        state += f"  {duration(left)} left" if left is not None else ""
        self.bar.update(
            self.task,
            completed=done,
            description=f"epoch {epoch}/{self.epochs}",
            state=state,
        )

    def epoch(self, row: Mapping[str, Any]) -> None:
        self.accuracy = f"  acc. {row['test_accuracy']:.4f}"
        self.bar.update(self.task, completed=row["epoch"] * self.steps)
        super().epoch(row)

    def line(self, text: str) -> None:
        self.bar.console.print(block(text), markup=False)


def make_reporter(stream: TextIO) -> PlainReporter:
    """Live progress if `stream` is a terminal, else plain lines."""
    if not stream.isatty():
        return PlainReporter(stream)
    from rich.console import Console

    return (
        PlainReporter(stream)
        if Console(file=stream).is_dumb_terminal
        else LiveReporter(stream)
    )


def note(text: str) -> None:
    """A remark beside the result of a command."""
    say_error(text, "note")


def describe(config: Mapping[str, Any]) -> str:
    """What is about to run, in a line."""
    if task_of(config) != TRAIN:
        return f"{config['name']}: {task_of(config)}, seed {config['run']['seed']}"
    algorithm, model, data = (
        config["algorithm"]["name"],
        shown_name(config["model"]["name"]),
        shown_name(config["dataset"]["name"]),
    )
    cells = (
        "floating-point weights"
        if algorithm == "digital"
        else f"{label_of('device', config['device'])} cells by {algorithm}"
    )
    if preset := (config.get("preset") or {}).get("name"):
        cells = f"preset {preset} ({cells})"
    return f"{config['name']}: {model} on {data}, {cells}, seed {config['run']['seed']}"


def epoch_line(row: Mapping[str, Any], epochs: int) -> str:
    """The row of an epoch as a sentence."""
    accuracy = (
        f"test accuracy {row['test_accuracy']:.4f}, test loss {row['test_loss']:.4g}"
    )
    if "valid_accuracy" in row:
        accuracy = f"valid accuracy {row['valid_accuracy']:.4f}, {accuracy}"
    return f"epoch {row['epoch']}/{epochs}: train loss {row['train_loss']:.4g}, {accuracy}, {duration(row['seconds'])}"


def result_line(summary: Mapping[str, Any]) -> str:
    """The result of a run as a sentence."""
    if "test_accuracy" not in summary:
        told = {k: v for k, v in summary.items() if k not in NOT_FIGURES}
        figures = ", ".join(
            f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
            for k, v in told.items()
        )
        return f"{summary['status']}: {figures}, {duration(summary['seconds'])}"
    speed = f"{summary['samples_per_second']:.0f} samples/s"
    accuracy = f"test accuracy {summary['test_accuracy']:.4f} ({_best(summary)})"
    return f"{summary['status']}: {accuracy} after {summary['epochs']} epochs, {duration(summary['seconds'])}, {speed}"


def _best(summary: Mapping[str, Any]) -> str:
    """The best epoch, and which data say that it is."""
    accuracy = f"{summary['best_test_accuracy']:.4f}"
    if "best_valid_accuracy" in summary:
        return (
            f"{accuracy} at the best epoch on validation data, {summary['best_epoch']}"
        )
    return f"best epoch {accuracy}, chosen on test data"


def duration(seconds: float) -> str:
    """Seconds in the largest fitting units."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
