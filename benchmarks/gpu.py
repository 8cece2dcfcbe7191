"""Everything that is to be seen on a GPU, in order: equal bits, golden figures, races, whole runs,
speed.

`python -m benchmarks.gpu --out FOLDER --data MNIST/raw [--golden FOLDER] [--stages
bits,golden,races,jobs,speed]` keeps a log of each part and `gpu.json`: how each ended, how long it
took, and its last lines."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("bits", "golden", "races", "jobs", "speed")
# Small tests that start the kernels of updates, products and transfers; a sanitizer makes them a
# hundred times slower.
RACY = ("tests/exact/test_cuda_equals_cpu.py", "-k", "linear_step or noisy")
LAST_LINES = 12


def parts(stage: str, options: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """Names and command lines of a stage."""
    python = [sys.executable, "-m"]
    if stage == "bits":
        yield (
            "bits",
            [*python, "pytest", "-q", "-m", "gpu", "tests", "-p", "no:cacheprovider"],
        )
    if stage == "golden":
        for path in sorted(options.golden.glob("*.json")):
            yield (
                f"golden-{path.stem[0]}",
                [*python, "tests.golden", str(path), "--device", "cuda"],
            )
    if stage == "races":
        for tool in ("memcheck", "racecheck"):
            checked = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "3"]
            yield (
                f"races-{tool}",
                [
                    *checked,
                    *python,
                    "pytest",
                    "-q",
                    "-m",
                    "gpu",
                    *RACY,
                    "-p",
                    "no:cacheprovider",
                ],
            )
    if stage == "jobs":
        train = [
            *python,
            "aihw_cli",
            "train",
            "run.device=cuda",
            f"run.dir={options.out / 'runs'}",
        ]
        data = f"dataset.root={options.data}"
        yield "job-digits", train
        yield "job-fcn", [*train, "conf=mnist_fcn", "preset=gokmen_vlasov", data]
        yield "job-lenet", [*train, "conf=mnist_lenet", data, "run.epochs=1"]
        yield (
            "job-sweep",
            [
                *train,
                "-m",
                "device.dw_min=0.001,0.002",
                "seeds=2",
                "--gpus",
                "0",
                "run.epochs=2",
            ],
        )
    if stage == "speed":
        yield (
            "speed",
            [*python, "benchmarks.gpu_speed", "--out", str(options.out / "speed.json")],
        )


def run(name: str, command: list[str], out: Path) -> dict[str, Any]:
    """One part: its exit code (None where its program is missing), seconds, and last lines."""
    if shutil.which(command[0]) is None:
        return {"part": name, "code": None, "last": [f"no {command[0]} here"]}
    begin = time.perf_counter()
    with (out / f"{name}.log").open("w") as log:
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            check=False,
        )
    lines = (out / f"{name}.log").read_text(errors="replace").splitlines()
    seconds = round(time.perf_counter() - begin, 1)
    return {
        "part": name,
        "code": done.returncode,
        "seconds": seconds,
        "last": lines[-LAST_LINES:],
    }


def main(arguments: list[str] | None = None) -> int:
    """Runs the stages one after another; 1 if a part failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data" / "MNIST" / "raw"
    )
    parser.add_argument(
        "--golden", type=Path, default=ROOT.parent / "shared" / "golden" / "public"
    )
    parser.add_argument("--stages", default=",".join(STAGES))
    options = parser.parse_args(arguments)
    if unknown := [stage for stage in options.stages.split(",") if stage not in STAGES]:
        parser.error(f"no stage {unknown[0]!r}; there are {', '.join(STAGES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    for stage in options.stages.split(","):
        for name, command in parts(stage, options):
            found.append(run(name, command, options.out))
            print(
                f"{name}: exit code {found[-1]['code']}, {found[-1].get('seconds')} s",
                flush=True,
            )
            print("\n".join(f"    {line}" for line in found[-1]["last"]), flush=True)
            (options.out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
    return int(any(part["code"] for part in found))


if __name__ == "__main__":
    raise SystemExit(main())
