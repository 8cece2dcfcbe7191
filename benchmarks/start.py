"""Start-up times: the commands that must answer at once, and a warm `aihw train` up to its first
step."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
AIHW = [sys.executable, "-m", "aihw_cli"]
# Runs the command line in the usual way but leaves the process after the first training step.
FIRST_STEP = """
import os, sys
from aihw_cli.main import main
from engine.experiment.loop import Loop

steps = Loop.steps

def one_step(self):
    next(iter(steps(self)))
    os._exit(0)

Loop.steps = one_step
sys.exit(main(sys.argv[1:]) or 3)
"""


def show(name: str, commands: list[list[str]]) -> bool:
    """Runs the commands one after the other and prints their median and smallest time. False if one
    fails."""
    times = []
    for command in commands:
        begin = time.perf_counter()
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False
        )
        times.append(time.perf_counter() - begin)
        if done.returncode:
            print(f"{name}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
            return False
    print(
        f"{name:32} median {statistics.median(times):.2f} s, least {min(times):.2f} s",
        flush=True,
    )
    return True


def main(arguments: list[str] | None = None) -> int:
    """Prints the times; exit code 1 if a command fails."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.start", description=__doc__
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args(arguments).rounds
    with tempfile.TemporaryDirectory() as folder:
        train = [sys.executable, "-c", FIRST_STEP, "train", f"run.dir={folder}"]
        # Every run has a seed, and so a folder, of its own; the very first one may have to compile
        # the kernels.
        seeded = [[*train, f"run.seed={number}"] for number in range(rounds + 1)]
        good = [
            show("aihw --help", [[*AIHW, "--help"]] * rounds),
            show("aihw ls", [[*AIHW, "ls"]] * rounds),
            show("import torch", [[sys.executable, "-c", "import torch"]] * rounds),
            show("aihw train, first step, before", seeded[:1]),
            show("aihw train, first step, warm", seeded[1:]),
        ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(main())
