"""Peak memory of one layer's training step beside the bound of the design, each kind of layer in a
process of its own.

What layers and torch's products have in use is held against the bound: three equal layers are made,
trained and kept, and the largest growth counts. What is resident beside them and does not grow with
layers or steps is left out: torch's first product of a size leaves a workspace behind (0.3 MiB for
256 x 256, batch 64), so that torch multiplies matrices of that size before; code of libraries that
is read in is told apart; and memory that the C library would keep after it was freed (an ordinary
torch layer leaves as much) is given back at once."""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
LAYERS = ((256, 256, 64), (1024, 1024, 64), (2048, 2048, 64), (1024, 784, 1024))
FACTOR = 1.2
EQUAL_LAYERS = 3
# Blocks above this size go back to the system when they are freed, instead of leaving gaps in the
# heap.
GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def bound(rows: int, columns: int, *, batch: int, constants: int) -> float:
    """Bytes that a step may need: weights and constants of the cells, inputs and outputs with their
    gradients."""
    return FACTOR * (
        4 * (1 + constants) * rows * columns + 8 * batch * (rows + columns)
    )


def memory(kind: str) -> int:
    """Bytes resident now (`VmRSS`; `RssFile`: of files) or at most since the last reset
    (`VmHWM`)."""
    match = re.search(rf"{kind}:\s+(\d+) kB", STATUS.read_text())
    if match is None:
        raise OSError(f"{STATUS} has no {kind}")
    return 1024 * int(match.group(1))


def measure(preset: str, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Peak growth while each of some equal layers is made, trained for three steps and kept; the
    largest."""
    from engine.devices.base import BASE_CELLS, find_device
    from engine.presets import preset as find_preset

    spec = find_preset(preset, mapping={"max_input_size": 0, "max_output_size": 0})
    train(spec, (8, 8, 2))
    multiply(shape)
    kept, growths, codes = [], [], []
    for _ in range(EQUAL_LAYERS):
        gc.collect()
        before, code = memory("VmRSS"), memory("RssFile")
        CLEAR.write_text("5")
        kept.append(train(spec, shape))
        codes.append(memory("RssFile") - code)
        growths.append(memory("VmHWM") - before - codes[-1])
    device = find_device(spec.device.model)
    constants = len(BASE_CELLS) + len(device.cells) + len(device.states)
    allowed = bound(shape[0], shape[1], batch=shape[2], constants=constants)
    found = {
        "preset": preset,
        "shape": shape,
        "growth": max(growths),
        "growths": growths,
        "code": max(codes),
    }
    return {**found, "bound": round(allowed), "share": max(growths) / allowed}


def multiply(shape: tuple[int, int, int]) -> None:
    """The two products of a layer, by torch alone."""
    import torch

    rows, columns, batch = shape
    weight = torch.rand(rows, columns)
    torch.rand(batch, rows) @ weight
    torch.rand(batch, columns) @ weight.T


def train(spec: Any, shape: tuple[int, int, int]) -> Any:
    """Three steps of one layer; returns the layer with its optimizer and inputs."""
    import torch

    from engine.nn import AnalogLinear
    from engine.optim import AnalogSGD

    rows, columns, batch = shape
    layer = AnalogLinear(columns, rows, bias=False, tile=spec)
    optimizer = AnalogSGD(layer.parameters(), lr=0.01)
    # Inputs, outputs and the gradients of both are the four arrays that the bound counts.
    x, d = (
        torch.rand(batch, columns, requires_grad=True),
        torch.randn(batch, rows).mul_(0.01),
    )
    for _ in range(3):
        optimizer.zero_grad()
        x.grad = None  # the optimizer knows nothing of it, and a second one would be made beside it
        layer(x).backward(d)
        optimizer.step()
    return layer, optimizer, x


def main(arguments: list[str] | None = None) -> int:
    """A line for each preset and layer; exit code 1 if one is above its bound."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description=__doc__
    )
    parser.add_argument("--presets", default="gokmen_vlasov,ecram", metavar="NAME,NAME")
    parser.add_argument(
        "--one",
        nargs=4,
        metavar=("PRESET", "OUT", "IN", "BATCH"),
        help=argparse.SUPPRESS,
    )
    options = parser.parse_args(arguments)
    if options.one:
        rows, columns, batch = (int(value) for value in options.one[1:])
        print(json.dumps(measure(options.one[0], (rows, columns, batch))))
        return 0
    above = 0
    for preset in options.presets.split(","):
        for shape in LAYERS:
            told = [
                sys.executable,
                "-m",
                "benchmarks.memory",
                "--one",
                preset,
                *map(str, shape),
            ]
            environment = {**os.environ, **GIVEN_BACK}
            done = subprocess.run(
                told,
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                print(
                    f"{preset} {shape}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}"
                )
                above += 1
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            above += found["share"] > 1
            size = f"out {shape[0]} in {shape[1]} batch {shape[2]}"
            amounts = f"{found['growth'] / 2**20:.1f} MiB of {found['bound'] / 2**20:.1f} MiB allowed"
            code = f"and {found['code'] / 2**20:.1f} MiB of code"
            print(
                f"{preset:16} {size:28} {amounts} ({found['share']:.2f}), {code}",
                flush=True,
            )
    return 1 if above else 0


if __name__ == "__main__":
    raise SystemExit(main())
