"""What `aihw validate` takes must train a step: the same words go to both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.presets import members
from tests.fuzz import mutate
from tests.fuzz.cases import DIGITS, known_keys
from tests.fuzz.harness import run

Facts = dict[str, Any]
STEP = (
    "dataset.train_samples=4", "dataset.test_samples=4", "dataset.batch_size=4", "run.epochs=1", "run.threads=1",
    "run.device=cpu", "seeds=1",
)  # fmt: skip
VALUES = (
    "0", "1", "2", "3", "-1", "0.5", "1e-3", "1e-320", "1e-30", "1e30", "1e38", "1e300", "100", "1000000", "true",
    "false", "null", "[]", "[1]", "[0.1,0.2]", "[1,2,3]", "None", "{}", "mse", "sum", "relu", "cosine", "abs_max",
)  # fmt: skip
# Kernels of these are compiled in any test run; the slow tests take all.
ALGORITHMS = ("digital", "hwa", "sgd")


def trained(
    number: int, place: Path, *, every: bool = False
) -> tuple[list[str], Facts]:
    """A run of the digits with another value for some key: refused by both, or by neither."""
    rng = mutate.dice("trained", number)
    algorithm = rng.choice(sorted(members("algorithm")) if every else ALGORITHMS)
    words = [f"algorithm={algorithm}"]
    if algorithm in ("digital", "hwa"):
        words.append(
            rng.choice(("optimizer=adam", "optimizer=sgd", "optimizer=analog_sgd"))
        )
    if every and rng.random() < 0.5:
        words.append(f"device={rng.choice(sorted(members('device')))}")
    sections = (
        "device",
        "tile",
        "algorithm",
        "model",
        "loss",
        "optimizer",
        "dataset",
        "run",
    )
    keys = [key for key in known_keys() if key.partition(".")[0] in sections]
    keys = [
        key for key in keys if key not in ("run.dir", "run.executor", "dataset.name")
    ]
    words += [
        f"{rng.choice(keys)}={rng.choice(VALUES)}" for _ in range(rng.choice((1, 1, 2)))
    ]
    words = [*STEP, *words]
    checked = run("validate", DIGITS, *words)
    problems, code = checked.problems(), None
    if checked.code == 0:
        done = run("train", *words, f"run.dir={place / 'runs'}")
        code = done.code
        problems += done.problems(codes=(0, 1))
        if done.code == 2 or (done.code == 1 and "training diverged" not in done.err):
            problems.append(f"it validates and does not train: {done.err}")
    return problems, {
        "code": (checked.code, code),
        "what": " ".join(words[7:]),
        "err": checked.err,
    }


def trained_all(number: int, place: Path) -> tuple[list[str], Facts]:
    """The same with any algorithm and device."""
    return trained(number, place, every=True)
