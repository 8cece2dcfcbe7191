"""`aihw train` as a user runs it: the default recipe, in a pipe and on a terminal, and the same
command again."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(__file__).parents[2]),
    "TERM": "xterm",
    "COLUMNS": "120",
}
TRAIN = [sys.executable, "-m", "aihw_cli", "train"]
SUMMARY = {
    "status", "test_accuracy", "test_loss", "best_test_accuracy", "epochs", "samples", "seconds",
    "samples_per_second", "seed",
}  # fmt: skip


def on_a_terminal(command: list[str]) -> str:
    """What a command writes to a terminal."""
    main, other = pty.openpty()
    with subprocess.Popen(
        command, stdout=other, stderr=other, stdin=other, env=ENVIRONMENT
    ) as process:
        os.close(other)
        seen = b""
        while True:
            try:
                part = os.read(main, 4096)
            except OSError:
                break
            if not part:
                break
            seen += part
    os.close(main)
    assert process.returncode == 0, seen
    return seen.decode()


def test_the_default_recipe_learns_the_digits(aihw, folder: Path) -> None:
    done = subprocess.run(
        TRAIN, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert done.stderr == "" and "\x1b" not in done.stdout
    assert lines[0].startswith(
        "digits: mlp on digits, gokmen_vlasov cells by sgd, seed 1"
    )
    assert [line.partition(":")[0] for line in lines[2:-1]] == [
        f"epoch {n}/8" for n in range(1, 9)
    ]
    place = folder / lines[1].removeprefix("run folder ")
    summary = json.loads((place / "summary.json").read_text())
    assert set(summary) >= SUMMARY
    assert summary["status"] == "finished" and summary["test_accuracy"] >= 0.93
    again = aihw("train")
    assert (
        again.code == 0 and "finished already" in again.out and "--again" in again.err
    )
    assert json.loads(aihw("train", "--json").out).items() >= summary.items()


def test_live_progress_on_a_terminal(folder: Path) -> None:
    seen = on_a_terminal([*TRAIN, "algorithm=digital", "run.epochs=40"])
    assert (
        "\x1b[" in seen
        and "samples/s" in seen
        and "left" in seen
        and "epoch 40/40" in seen
    )
    assert "finished: test accuracy" in seen
    assert len(list(folder.glob("runs/digits/*/summary.json"))) == 1
