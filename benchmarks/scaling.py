"""How the time and the memory of a training step grow: with the tile, the batch, the pulses of an
update, the threads.

`python -m benchmarks.scaling [--curves REGEX]` trains one layer for some steps at each point, in a
process of its own, the points of a curve in turn for some rounds, prints medians, and writes them
to benchmarks/out/scaling.json, with a plot beside it."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.run import machine

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "out" / "scaling.json"
POINT: dict[str, int] = {"size": 512, "batch": 64, "desired_bl": 0, "threads": 2}
# What varies along each curve; desired_bl 0 is the preset's own, with its management.
CURVES: dict[str, tuple[int, ...]] = {
    "size": (64, 128, 256, 512, 1024, 2048, 4096),
    "batch": (1, 4, 16, 64, 256, 1024),
    "desired_bl": (1, 3, 7, 15, 31, 63, 127),
    "threads": (1, 2),
}
LARGE = {"threads": {"size": 1024}}
# What the work grows with: cells with the square of the size, pulses with the length of trains at
# most.
POWERS = {"size": 2, "threads": -1}
COMMANDS = {"aihw --help": ["--help"], "aihw ls": ["ls"]}
Row = dict[str, Any]


def measure(preset: str, point: dict[str, int], seconds: float) -> Row:
    """Median time of a step of one layer, its update alone, and the most memory that the process
    and the layer had."""
    import torch

    from benchmarks.memory import memory, train
    from engine.nn import AnalogLinear
    from engine.optim import AnalogSGD
    from engine.presets import preset as find_preset

    torch.set_num_threads(point["threads"])
    torch.manual_seed(0)
    update = (
        {"desired_bl": point["desired_bl"], "update_bl_management": False}
        if point["desired_bl"]
        else {}
    )
    spec = find_preset(
        preset, mapping={"max_input_size": 0, "max_output_size": 0}, update=update
    )
    train(spec, (8, 8, 2))  # what the process takes in at first use is not the layer's
    before = memory("VmRSS")
    layer = AnalogLinear(point["size"], point["size"], bias=False, tile=spec)
    optimizer = AnalogSGD(layer.parameters(), lr=0.01)
    x = torch.rand(point["batch"], point["size"]) * 2 - 1
    d = torch.randn(point["batch"], point["size"]) * 0.1
    steps: list[float] = []
    updates: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(steps) < 5:
        begin = time.perf_counter()
        layer(x).backward(d)
        middle = time.perf_counter()
        optimizer.step()
        steps.append(time.perf_counter() - begin)
        updates.append(time.perf_counter() - middle)
        # Weights that one gradient pushes on and on make outputs that bound management reads
        # several times.
        d.neg_()
    half = len(steps) // 2
    times = {
        "step_ms": statistics.median(steps[half:]) * 1e3,
        "update_ms": statistics.median(updates[half:]) * 1e3,
    }
    peak = memory("VmHWM")
    return times | {"layer_MiB": (peak - before) / 2**20, "peak_MiB": peak / 2**20}


def point_of(name: str, value: int, preset: str, seconds: float) -> Row:
    """What a fresh process measures at one point of a curve."""
    point = POINT | LARGE.get(name, {}) | {name: value}
    told = ["--one", json.dumps(point), "--preset", preset, "--seconds", str(seconds)]
    command = [sys.executable, "-m", "benchmarks.scaling", *told]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(
            f"{name}={value}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}"
        )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def curve(name: str, preset: str, seconds: float, rounds: int) -> list[Row]:
    """The points of a curve, one after another in each round; medians of the rounds.

    `growth` is how much longer a step takes than at the point before, over how much more work there
    is."""
    found = [
        [point_of(name, value, preset, seconds) for value in CURVES[name]]
        for _ in range(rounds)
    ]
    rows: list[Row] = []
    for value, measured in zip(CURVES[name], zip(*found, strict=True), strict=True):
        row: Row = {name: value} | {
            key: statistics.median(one[key] for one in measured) for key in measured[0]
        }
        if rows:
            more = (value / rows[-1][name]) ** POWERS.get(name, 1)
            row["growth"] = row["step_ms"] / rows[-1]["step_ms"] / more
        rows.append(row)
        print(
            " ".join(f"{key}={number:.5g}" for key, number in row.items()), flush=True
        )
    return rows


def start_up(rounds: int = 5) -> Row:
    """Seconds of the commands that must answer at once, medians."""
    found = {}
    for name, words in COMMANDS.items():
        times = []
        for _ in range(rounds):
            begin = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "aihw_cli", *words],
                cwd=ROOT,
                capture_output=True,
                check=True,
            )
            times.append(time.perf_counter() - begin)
        found[name] = statistics.median(times)
        print(f"{name}: {found[name]:.3f} s", flush=True)
    return found


def plot(found: dict[str, list[Row]], path: Path) -> None:
    """A panel for each curve, on logarithmic axes; dotted: proportional to the work beyond its
    middle."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(found), figsize=(4 * len(found), 3.2), squeeze=False
    )
    for panel, (name, rows) in zip(panels[0], found.items(), strict=True):
        at = [row[name] for row in rows]
        for key, style in (("step_ms", "o-"), ("update_ms", "s--")):
            panel.plot(
                at, [row[key] for row in rows], style, label=key.removesuffix("_ms")
            )
        middle, power = rows[len(rows) // 2], POWERS.get(name, 1)
        panel.plot(
            at,
            [middle["step_ms"] * (v / middle[name]) ** power for v in at],
            "k:",
            label="proportional",
        )
        panel.set(xscale="log", yscale="log", xlabel=name, ylabel="milliseconds")
        panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(arguments: list[str] | None = None) -> int:
    """Prints, writes and draws the curves."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__
    )
    parser.add_argument(
        "--curves", default=".", metavar="REGEX", help=f"of {', '.join(CURVES)}"
    )
    parser.add_argument("--preset", default="gokmen_vlasov")
    parser.add_argument(
        "--seconds", type=float, default=2, help="time for one point in a round"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often each point is measured"
    )
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE.json")
    parser.add_argument("--one", metavar="JSON", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        print(
            json.dumps(
                measure(options.preset, json.loads(options.one), options.seconds)
            )
        )
        return 0
    names = [name for name in CURVES if re.search(options.curves, name)]
    if not names:
        parser.error(
            f"no curve matches {options.curves!r}; there are {', '.join(CURVES)}"
        )
    found = {
        name: curve(name, options.preset, options.seconds, options.rounds)
        for name in names
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    told = {"preset": options.preset, "point": POINT, "rounds": options.rounds}
    head = {"machine": machine(POINT["threads"])} | told | {"start_s": start_up()}
    options.out.write_text(json.dumps(head | {"curves": found}, indent=1) + "\n")
    plot(found, options.out.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
