"""How a training ended: finished or diverged, and what a reader of its result must know.

A run that learned nothing looks like any other in a table of accuracies, so it is said here, each
time with one change to try. The figures come from the metrics; nothing is computed anew.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.experiment.identity.kernels import DIGITAL, algorithm_names

FINISHED, DIVERGED = "finished", "diverged"
# Far above its start is a loss that no fluctuation reaches: that of guessing, ten times over.
FAR = 10.0
# Standard errors within which an accuracy cannot be told from guessing.
CERTAIN = 3.0
# A training loss counts as growing, or as flat, beyond these factors.
GROWN, FLAT = 1.5, 0.97
# A step larger than this share of the range leaves two states; a reach below that one moves nothing.
LARGE_STEP, SHORT_REACH = 0.5, 0.01
PULSED = ("sgd",)
STATES = 1000
# What is proposed in place of a learning rate above 1.
MODERATE_LR = 0.1


@dataclass(frozen=True)
class Outcome:
    """What is known of a training at its end. `chance` is the accuracy of always guessing the most
    frequent class of the test data, `labels` how many of them there are."""

    rows: Sequence[Mapping[str, Any]]
    start_loss: float | None
    classes: int
    chance: float
    labels: int
    samples: int
    finite: bool = True
    tiles: int = 1


@dataclass(frozen=True)
class Verdict:
    """Status, the reason of a divergence, and remarks."""

    status: str = FINISHED
    reason: str = ""
    notes: list[str] = field(default_factory=list)


def judge(
    config: Mapping[str, Any], outcome: Outcome, command: Sequence[str] = ()
) -> Verdict:
    """How a training of `config` ended. `command` holds the words of the command that began it."""
    lr = float(config["optimizer"]["lr"])
    if reason := divergence(config, outcome):
        advice = _again(command, "optimizer.lr", lr / 10 if lr <= 1 else MODERATE_LR)
        return Verdict(DIVERGED, reason, [f"lower optimizer.lr: {advice}"])
    remarks = [
        *_of_devices(config, outcome),
        *_of_tiles(config, outcome),
        *_of_learning(config, outcome),
    ]
    # The first remark is the likeliest cause of the others, so that one change is proposed.
    notes = [remark[0] for remark in remarks]
    if remarks:
        notes[0] += f"; try {_again(command, *remarks[0][1:])}"
    return Verdict(FINISHED, "", notes)


def divergence(config: Mapping[str, Any], outcome: Outcome) -> str:
    """Why a training counts as diverged, in a few words; empty if it does not."""
    if not outcome.rows:
        return ""
    last = outcome.rows[-1]
    epoch = last["epoch"]
    # Weights may overflow in the last step: then the test loss alone shows it.
    for part in ("train", "test"):
        if not math.isfinite(last[f"{part}_loss"]):
            what = "loss" if part == "train" else "test loss"
            return f"{what} is {last[f'{part}_loss']} after epoch {epoch}"
    if not outcome.finite:
        return f"weights are infinite or undefined after epoch {epoch}"
    limit = FAR * _reference(config, outcome)
    if last["train_loss"] > limit:
        return f"train loss is {last['train_loss']:.3g} after epoch {epoch}, {_start(outcome)}"
    # A large test loss beside a good accuracy is that of a few samples that are wrong with certainty.
    if last["test_loss"] > limit and not _learned(last["test_accuracy"], outcome):
        return f"test loss is {last['test_loss']:.3g} after epoch {epoch}, {_start(outcome)}"
    return ""


def _reference(config: Mapping[str, Any], outcome: Outcome) -> float:
    """The loss that a network has without having learned: its first one, or that of guessing."""
    guess = (
        0.0 if config["loss"]["name"] == "mse" else math.log(max(outcome.classes, 2))
    )
    start = outcome.start_loss if outcome.start_loss is not None else 0.0
    reference = max(guess, start if math.isfinite(start) else 0.0)
    return reference or math.inf


def _start(outcome: Outcome) -> str:
    return (
        "" if outcome.start_loss is None else f"{outcome.start_loss:.3g} at its start"
    )


def _learned(accuracy: float, outcome: Outcome) -> bool:
    """Whether an accuracy is better than guessing, beyond what chance explains."""
    spread = math.sqrt(outcome.chance * (1 - outcome.chance) / max(outcome.labels, 1))
    return accuracy > outcome.chance + CERTAIN * spread


Remark = tuple[str, str, float | str]


def _of_learning(config: Mapping[str, Any], outcome: Outcome) -> Iterator[Remark]:
    """Accuracy at chance, or a loss that rises."""
    if not outcome.rows:
        return
    rows, lr = outcome.rows, float(config["optimizer"]["lr"])
    losses = [row["train_loss"] for row in rows]
    start, lowest, last = outcome.start_loss or losses[0], min(losses), losses[-1]
    grown = last > GROWN * lowest or last > GROWN * start
    if not _learned(rows[-1]["test_accuracy"], outcome):
        text = (
            f"nothing was learned: test accuracy {rows[-1]['test_accuracy']:.4f} is no better than "
            f"guessing ({outcome.chance:.4f})"
        )
        if grown:
            yield text, "optimizer.lr", lr / 10
        elif last < FLAT * start:
            yield (
                f"{text}, but the loss falls",
                "run.epochs",
                str(3 * int(config["run"]["epochs"])),
            )
        else:
            yield text, "optimizer.lr", 5 * lr if lr > 0 else 0.01
    elif grown:
        best = losses.index(lowest)
        yield (
            f"the training loss grew from {lowest:.3g} after epoch {rows[best]['epoch']} to {last:.3g}",
            "optimizer.lr",
            lr / 3,
        )


def _of_tiles(config: Mapping[str, Any], outcome: Outcome) -> Iterator[Remark]:
    """An algorithm for tiles, and not one layer that lies on tiles."""
    names = sorted(set(algorithm_names(config)) - {DIGITAL})
    if names and not outcome.tiles:
        text = f"no layer lies on tiles, though algorithm is {', '.join(names)}"
        yield text, "layers", "{}"


def _of_devices(config: Mapping[str, Any], outcome: Outcome) -> Iterator[Remark]:
    """Steps that are larger than the range of the weights, or too small to move a weight."""
    if not outcome.tiles:
        return
    sections = {"device": config.get("device"), "algorithm": config.get("algorithm")}
    pulses = int(((config.get("tile") or {}).get("update") or {}).get("desired_bl", 1))
    trained = set(algorithm_names(config)) & set(PULSED)
    for place, device in _devices(sections):
        step, span = (
            float(device["dw_min"]),
            float(device["w_max"]) - float(device["w_min"]),
        )
        reach = outcome.samples * pulses * step
        if step > LARGE_STEP * span > 0:
            text = f"{place}.dw_min={step:g} is more than half of the range of a weight ({span:g})"
            yield text, f"{place}.dw_min", span / STATES
        elif place == "device" and trained and 0 < reach < SHORT_REACH * span:
            text = (
                f"all pulses of the training together move a weight by {reach:.3g} at most, "
                f"its range is {span:g}"
            )
            yield text, "device.dw_min", span / STATES


def _devices(values: Any, place: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every device with steps and bounds, and where it stands."""
    if isinstance(values, Mapping):
        if all(
            isinstance(values.get(key), int | float)
            for key in ("dw_min", "w_max", "w_min")
        ):
            yield place, values
        for key, value in values.items():
            yield from _devices(value, f"{place}.{key}" if place else str(key))


def _again(command: Sequence[str], key: str, value: float | str) -> str:
    """The command that began a run with one more change; the change alone if it is not known."""
    change = f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}"
    if not command:
        return change
    # Of a key that is given twice, the last value counts.
    kept = {word.partition("=")[0]: word for word in (*command, change)}
    return " ".join(["aihw", "train", *map(shlex.quote, kept.values())])
