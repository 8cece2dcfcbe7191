"""Times every task here and, if another Python with aihwkit is given, there, in turns; prints and
writes a table.

Turns matter: the speed of one machine can change by a factor of two between minutes. A turn is a
process of one side that times all tasks of a family, such as train/fcn/b10, with the same number of
threads."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.tasks import DATA, all_tasks

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "out" / "bench.json"
PEER_SCRIPT = ROOT.parent / "shared" / "bench" / "peer_aihwkit.py"
Commands = tuple[list[str], list[str] | None]


@dataclass
class Times:
    """Milliseconds of a step in each round, ours and the peer's; `notes` says why a side is
    missing."""

    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The entry of the result file."""
        ours = statistics.median(self.ours) if self.ours else None
        peer = statistics.median(self.peer) if self.peer else None
        ratio = round(peer / ours, 3) if ours and peer else None
        row: dict[str, Any] = {
            "ours_ms": ours,
            "peer_ms": peer,
            "ratio": ratio,
            "runs": len(self.ours),
        }
        return row | ({"notes": self.notes} if self.notes else {})


def main(arguments: list[str] | None = None) -> int:
    """Runs the rounds, prints the table, writes bench.json."""
    options = parse(arguments)
    if options.peer and not options.peer_script.is_file():
        print(
            f"no script {options.peer_script}: give it with --peer-script",
            file=sys.stderr,
        )
        return 2
    names = [name for name in all_tasks() if re.search(options.tasks, name)]
    if not names:
        print(f"no task matches {options.tasks!r}", file=sys.stderr)
        return 2
    ours = [sys.executable, "-m", "benchmarks.tasks"]
    peer = [options.peer, str(options.peer_script)] if options.peer else None
    results = {name: Times() for name in names}
    for number in range(options.rounds):
        for members in families(names).values():
            one_turn({name: results[name] for name in members}, (ours, peer), options)
        print(
            f"round {number + 1} of {options.rounds} done", file=sys.stderr, flush=True
        )
    show(results)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "machine": machine(options.threads),
        "versions": versions(options.peer),
    }
    # Below the number of threads in use the machine was quiet but for us.
    found["load_average"] = [round(load, 2) for load in os.getloadavg()]
    rows = {name: times.row() for name, times in results.items()}
    options.out.write_text(json.dumps(found | {"tasks": rows}, indent=1) + "\n")
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__
    )
    parser.add_argument(
        "--peer", default="", metavar="PYTHON", help="a Python that has aihwkit"
    )
    parser.add_argument(
        "--peer-script", type=Path, default=PEER_SCRIPT, metavar="FILE.py"
    )
    parser.add_argument("--tasks", default=".", metavar="REGEX")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=3, help="time for one task in one round"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder that holds MNIST/raw"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args(arguments)


def families(names: list[str]) -> dict[str, list[str]]:
    """Tasks that are timed in one process: those of one network and batch, of one update, and all
    products."""
    found: dict[str, list[str]] = {}
    for name in names:
        family = "mvm" if name.startswith("mvm/") else name.rpartition("/")[0]
        found.setdefault(family, []).append(name)
    return found


def one_turn(
    results: dict[str, Times], commands: Commands, options: argparse.Namespace
) -> None:
    """Ours, then the peer's timings of a family. What is not built, or fails, is asked for only
    once."""
    for side, command in zip(("ours", "peer"), commands, strict=True):
        names = [name for name, times in results.items() if side not in times.notes]
        if not command or not names:
            continue
        for name, line in lines_of(command, names, options).items():
            times = results[name]
            if "step_ms" in line:
                (times.ours if side == "ours" else times.peer).append(line["step_ms"])
            else:
                times.notes[side] = line["not_built"]


def lines_of(
    command: list[str], names: list[str], options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """What one process reports for these tasks; those that it does not come to have failed."""
    told = [
        "--data",
        str(options.data),
        "--threads",
        str(options.threads),
        "--seconds",
        str(options.seconds),
    ]
    # OpenMP libraries other than torch's own read these; torch's is set by the scripts.
    environment = os.environ | {
        "OMP_NUM_THREADS": str(options.threads),
        "MKL_NUM_THREADS": str(options.threads),
    }
    done = subprocess.run(
        [*command, "--tasks", f"^({'|'.join(map(re.escape, names))})$", *told],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [
        json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")
    ]
    last = (done.stderr.strip().splitlines() or ["no output"])[-1]
    failed: dict[str, Any] = {"not_built": f"failed: {last}"}
    return dict.fromkeys(names, failed) | {
        line["task"]: line for line in lines if line["task"] in names
    }


def show(results: dict[str, Times]) -> None:
    """The table of medians; a ratio above 1 means that ours is faster."""
    from rich.console import Console
    from rich.table import Table

    table = Table("task", title="milliseconds a step, medians")
    for column in ("ours", "peer", "peer/ours", "runs"):
        table.add_column(column, justify="right")
    for name, times in results.items():
        row = times.row()
        ours = f"{row['ours_ms']:.3f}" if row["ours_ms"] else "not built"
        peer = f"{row['peer_ms']:.3f}" if row["peer_ms"] else "-"
        table.add_row(
            name,
            ours,
            peer,
            f"{row['ratio']:.2f}" if row["ratio"] else "-",
            str(row["runs"]),
        )
    console = Console()
    console.print(table)
    for name, times in results.items():
        for side, note in times.notes.items():
            console.print(f"{name}, {side}: {note}", style="dim", highlight=False)


def machine(threads: int) -> str:
    """Processor, cores and threads."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"model name\s*:\s*(.*)", info.read_text())
        processor = found.group(1).strip() if found else processor
    return f"{processor}, {os.cpu_count()} cores, {threads} threads, {platform.system()} {platform.release()}"


def versions(peer: str) -> dict[str, str]:
    """Versions of ours and of the peer's packages."""
    from importlib import metadata

    found = {"python": platform.python_version(), "torch": metadata.version("torch")}
    try:
        found["aihw"] = metadata.version("aihw")
    except metadata.PackageNotFoundError:
        found["aihw"] = "checkout"
    if peer:
        code = "import importlib.metadata as m; print(m.version('aihwkit'), m.version('torch'))"
        told = subprocess.run(
            [peer, "-c", code], capture_output=True, text=True, check=False
        ).stdout.split()
        found |= dict(zip(("peer aihwkit", "peer torch"), told, strict=False))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
