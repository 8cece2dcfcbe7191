"""Times on a GPU: update and product kernels against their ceilings, whole training steps and dense
updates beside aihwkit's.

`python -m benchmarks.gpu_speed [--out FILE.json] [--only REGEX]` prints a line for each
measurement, and at the end a table of the rows that are compared with aihwkit (gpu_rows.py). Times of
kernels are medians by CUDA events; the ceilings are measured in the same run: bytes of a
device-to-device copy a second, and normal numbers a second of a kernel that does nothing but draw
them."""

from __future__ import annotations

import argparse
import ctypes
import functools
import json
import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import gpu_rows
from benchmarks.tasks import DATA

Row = dict[str, Any]
LEARNING_RATE = 0.01
SIZES, BATCHES = (1024, 4096), (1, 64, 1024)


# Each thread draws 4 x DRAWS numbers as the update kernels do, and keeps their sum so that none is
# left out.
DRAWS = 256
NORMALS = """
struct NormalsArgs { i64 items; float* sums; };
KERNEL(draw_normals, NormalsArgs) {
    Key key = {1u, 2u};
    Draw draw = {3u, 4u, PULSE};
    float sum = 0.0f, z[4];
    for (u32 n = 0; n < 256u; ++n) {
        normals4(key, draw, (u32)item, n, z[0], z[1], z[2], z[3]);
        sum = sum + z[0] + z[1] + z[2] + z[3];
    }
    a.sums[item] = sum;
}
"""


class NormalsArgs(ctypes.Structure):
    """What `draw_normals` takes."""

    _fields_ = (("items", ctypes.c_longlong), ("sums", ctypes.c_void_p))


def milliseconds(work: Callable[[], Any], rounds: int = 20) -> float:
    """Median time of `work` on the current stream."""
    import torch

    for _ in range(3):
        work()
    times = []
    for _ in range(rounds):
        start, end = (
            torch.cuda.Event(enable_timing=True),
            torch.cuda.Event(enable_timing=True),
        )
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def copy_bandwidth() -> float:
    """Bytes a second, read and written, of a large copy."""
    import torch

    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    return 2 * 4 * 2**28 / (milliseconds(lambda: target.copy_(source)) * 1e-3)


def normals_rate() -> float:
    """Normal numbers a second."""
    import torch

    from engine.jit.programs import Program
    from engine.jit.unit import unit_text

    items = 1 << 20
    sums = torch.empty(items, device="cuda")
    text = unit_text("portable.cuh", "maths.cuh", "random.cuh") + "\n" + NORMALS
    program, args = Program(text, "cuda"), NormalsArgs(items, sums.data_ptr())
    time = milliseconds(lambda: program.run("draw_normals", args, threads=1))
    return items * 4 * DRAWS / (time * 1e-3)


def updates(preset: str, bandwidth: float, normals: float) -> Iterator[Row]:
    """One pulsed update of a dense batch, with the pulses it makes and the bytes it has to move."""
    import torch

    from benchmarks.tasks import one_tile_config
    from engine.tile.cells import CellArray
    from engine.tile.settings import TileSpec

    spec = TileSpec.from_config(one_tile_config(preset))
    for size in SIZES:
        with torch.device("cuda"):
            cells = CellArray(size, size, spec.device, seed=0)
        for batch in BATCHES:
            x, d = (torch.rand(batch, size, device="cuda") * 2 - 1 for _ in range(2))
            time = milliseconds(
                functools.partial(cells.update, x, d, LEARNING_RATE, spec.update), 10
            )
            pulses = (
                LEARNING_RATE
                / cells.granularity
                * float((x.abs().sum(1) * d.abs().sum(1)).sum())
            )
            moved = 4 * size * size * (2 + cells.layout.size + len(cells.layout.states))
            yield {
                "task": f"update/{size}/b{batch}/{preset}", "ms": time, "pulses_per_s": pulses / time * 1e3,
                "share_of_bandwidth": moved / (time * 1e-3) / bandwidth,
                "pulses_per_normal_rate": pulses / (time * 1e-3) / normals,
            }  # fmt: skip


def products() -> Iterator[Row]:
    """Forward products with the default periphery, beside torch's own product."""
    import torch

    from engine.tile.settings import TileSpec
    from engine.tile.tile import Tile

    for size in SIZES:
        with torch.device("cuda"):
            tile = Tile(size, size, TileSpec(), seed=0)
        for batch in BATCHES:
            x = torch.randn(batch, size, device="cuda")
            ours = milliseconds(functools.partial(tile.mvm, x))
            digital = milliseconds(
                functools.partial(torch.matmul, x, tile.weight.detach().t())
            )
            yield {"task": f"mvm/{size}/b{batch}", "ms": ours, "digital_ms": digital}


def rows(wanted: Callable[[str], bool], data: Path) -> Iterator[Row]:
    """All measurements whose name is wanted."""
    bandwidth = copy_bandwidth()
    yield {"task": "copy", "bytes_per_s": bandwidth}
    normals = normals_rate()
    yield {"task": "normals", "per_s": normals}
    yield from gpu_rows.steps(data, wanted)
    yield from gpu_rows.updates(wanted)
    yield from gpu_rows.products(wanted)
    for preset in ("gokmen_vlasov", "reram_es", "reram_sb"):
        if wanted(f"kernels/update/{preset}"):
            yield from updates(preset, bandwidth, normals)
    if wanted("kernels/mvm"):
        yield from products()


def main(arguments: list[str] | None = None) -> int:
    """Prints every measurement as a JSON line and writes them all."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_speed", description=__doc__
    )
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    parser.add_argument(
        "--only", default="", metavar="REGEX", help="measure tasks of this name"
    )
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="FOLDER", help="where MNIST is"
    )
    options = parser.parse_args(arguments)
    pattern, found = re.compile(options.only), []
    for row in rows(lambda name: pattern.search(name) is not None, options.data):
        found.append(row)
        print(json.dumps(row), flush=True)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(gpu_rows.table([row for row in found if "ms" in row]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
