"""Rows that are compared with aihwkit's CUDA build: training steps replayed as one graph, as
`aihw train` does it, and dense pulsed updates as graphs.

`PEER` are aihwkit's milliseconds on an NVIDIA H200, measured beside ours in one process (five
blocks of steps each in turn, the median block); a ratio means something on that card only."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Row = dict[str, Any]
Step = Callable[[], Any]
BLOCKS, WARM_UP = 5, 6
# Seconds that a block of steps takes at most, and its most steps.
BLOCK_SECONDS, BLOCK_STEPS = 0.2, 50

# Name, model, batch size, learning rate, and how the loss is reduced.
NETWORKS = (
    ("fcn/b10", "fcn", 10, 0.01, "sum"),
    ("fcn/b64", "fcn", 64, 0.01, "sum"),
    ("lenet/b8", "lenet", 8, 0.01, "sum"),
    ("lenet/b64", "lenet", 64, 0.002, "sum"),
    ("lenet/b64/steep", "lenet", 64, 0.01, "sum"),
    ("vgg8/b128", "vgg8", 128, 0.02, "mean"),
)
PRESETS = ("fp", "gokmen_vlasov", "reram_es", "reram_sb", "ecram", "tiki_taka", "mixed_precision",
           "ttv2", "c_ttv2", "agad")  # fmt: skip
PEER_STEPS: dict[str, tuple[float | None, ...]] = {
    "fcn/b10": (1.55, 2.57, 2.75, 2.43, 2.36, 2.74, 2.32, 2.57, 2.86, 2.48),
    "fcn/b64": (1.66, 1.98, 2.33, 2.55, 2.34, 3.16, 2.24, 3.15, 3.59, 3.05),
    "lenet/b8": (2.17, 3.22, 3.34, 4.07, 3.53, 4.16, 3.01, 18.5, 18.6, 19.0),
    "lenet/b64": (None, 3.79, 4.09, 4.63, 4.59, 5.42, 3.50, 152, 151, 151),
    "lenet/b64/steep": (2.21, 4.53, 4.09, 3.96, 3.82, 6.53, 3.23, 135, 131, 136),
    "vgg8/b128": (9.24, 19.2, None, 19.6, None, 26.6, None, None, None, None),
}
# Size, batch, and whether each batch is taken back by the next one, so that cells keep away from
# their bounds.
UPDATES = (
    (1024, 1, True),
    (1024, 64, True),
    (4096, 1, True),
    (4096, 64, True),
    (1024, 1024, False),
)
UPDATED = ("gokmen_vlasov", "reram_es", "reram_sb", "ecram")
PEER_UPDATES = {
    "gokmen_vlasov": (0.056, 0.551, 0.222, 8.20, 10.2),
    "reram_es": (0.077, 1.62, 0.534, 26.0, 31.6),
    "reram_sb": (0.077, 1.22, 0.436, 19.4, 25.1),
    "ecram": (0.072, 1.04, 0.363, 16.1, 15.4),
}
UPDATE_RATE = 0.01
# Products of 256 vectors without gradients, launched one by one, with matrices of these sizes.
PRODUCT_SIZES, PRODUCT_BATCH = (512, 1024, 2048, 4096), 256
PEER_PRODUCTS = {
    "default": (0.179, 0.168, 0.185, 0.324),
    "standard_hwa": (0.240, 0.299, 0.462, 1.09),
}


def milliseconds(step: Step, before: Step | None = None) -> float:
    """Time of a step: the median of five blocks of steps, each between two synchronisations and
    after `before`."""
    import torch

    begin = time.perf_counter()
    for _ in range(WARM_UP):
        step()
    torch.cuda.synchronize()
    one = (time.perf_counter() - begin) / WARM_UP
    steps = max(3, min(BLOCK_STEPS, int(BLOCK_SECONDS / one)))
    times = []
    for _ in range(BLOCKS):
        if before is not None:
            before()
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) / steps)
    return 1e3 * statistics.median(times)


def training_step(name: str, preset: str, root: Path, *, replay: bool = True) -> Step:
    """A step of a network on images in order; `name` is one of NETWORKS. After the steps that
    precede a graph, it is replayed."""
    import torch
    from torch.nn.functional import nll_loss

    from benchmarks.tasks import PRESETS as NAMES
    from benchmarks.tasks import one_tile_config
    from engine.experiment.build import build
    from engine.experiment.data import Info
    from engine.optim.replay import Replayed, obstacle

    _, model, batch, lr, reduction = next(row for row in NETWORKS if row[0] == name)
    x, y = images(model, root)
    config = one_tile_config(NAMES[preset]) | {
        "model": {"name": model},
        "loss": {"name": "nll"},
    }
    config |= {"run": {"seed": 0}, "optimizer": {"name": "analog_sgd", "lr": lr}}
    network, optimizer = build(
        config, Info(tuple(x.shape[1:]), 10), torch.device("cuda")
    )

    def counted(index: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = nll_loss(network(x[index]), y[index], reduction=reduction)
        loss.backward()
        optimizer.step()
        return loss

    captures = replay and not obstacle(network)
    replayed = Replayed(network, optimizer, counted, replay=captures)
    order = torch.arange(len(x) // batch * batch, device="cuda").view(-1, batch)
    at = 0

    def step() -> Tensor:
        nonlocal at
        at = (at + 1) % len(order)
        return replayed.step(order[at], lr)

    return step


@functools.lru_cache(maxsize=2)
def images(model: str, root: Path) -> tuple[Tensor, Tensor]:
    """MNIST on the card; for vgg8, random images that belong to ten classes."""
    import torch

    if model == "vgg8":
        draw = torch.Generator().manual_seed(0)
        centres, y = (
            torch.randn(10, 3, 32, 32, generator=draw),
            torch.randint(10, (4096,), generator=draw),
        )
        return (
            centres[y] + 0.5 * torch.randn(4096, 3, 32, 32, generator=draw)
        ).cuda(), y.cuda()
    from engine.experiment.datasets import mnist

    data = mnist.load({"root": str(root)})
    return data.train_x.cuda(), data.train_y.cuda()


def steps(
    root: Path, wanted: Callable[[str], bool], *, launched: bool = False
) -> Iterator[Row]:
    """A row for each network and preset whose name is wanted; the last losses say whether it
    learns."""
    for name, *_ in NETWORKS:
        for preset, peer in zip(PRESETS, PEER_STEPS[name], strict=True):
            task = f"train/{name}/{preset}"
            if not wanted(task):
                continue
            step = training_step(name, preset, root, replay=not launched)
            time = milliseconds(step)
            row: Row = {"task": task, "ms": time, "loss": float(step().detach())}
            yield row | ({"peer_ms": peer, "ratio": peer / time} if peer else {})


def updates(wanted: Callable[[str], bool]) -> Iterator[Row]:
    """A row for each size, batch and device whose name is wanted."""
    import torch

    from benchmarks.tasks import one_tile_config
    from engine.tile.cells import CellArray
    from engine.tile.settings import TileSpec

    for preset in UPDATED:
        spec = TileSpec.from_config(one_tile_config(preset))
        for (size, batch, back), peer in zip(
            UPDATES, PEER_UPDATES[preset], strict=True
        ):
            task = f"update/{size}/b{batch}/{preset}"
            if not wanted(task):
                continue
            torch.manual_seed(0)
            with torch.device("cuda"):
                cells = CellArray(size, size, spec.device, seed=0)
                start = (torch.rand(size, size) * 2 - 1) / size**0.5
                cells.set_weights(start)
                x, d = torch.rand(batch, size) * 2 - 1, torch.rand(batch, size) * 2 - 1
            signs = (1.0, -1.0) if back else (1.0,)

            def change(
                cells: CellArray = cells, x: Tensor = x, signs: tuple[float, ...] = signs,
                samples: tuple[Tensor, ...] = tuple(sign * d for sign in signs), spec: TileSpec = spec,
            ) -> None:  # fmt: skip
                for d_k in samples:
                    cells.update(x, d_k, UPDATE_RATE, spec.update)

            again = functools.partial(cells.set_weights, start) if back else None
            time = milliseconds(captured(change), again) / len(signs)
            yield {"task": task, "ms": time, "peer_ms": peer, "ratio": peer / time}


def products(wanted: Callable[[str], bool]) -> Iterator[Row]:
    """A row for each periphery and size whose name is wanted, with the milliseconds in which the
    card is busy: the rest is spent on the host."""
    import torch

    from benchmarks.tasks import ONE_TILE, one_tile_config
    from engine.nn import AnalogLinear
    from engine.tile.settings import TileSpec

    for preset, peers in PEER_PRODUCTS.items():
        config: Any = {"tile": {"mapping": ONE_TILE}}
        if preset != "default":
            config = one_tile_config(preset)
        for size, peer in zip(PRODUCT_SIZES, peers, strict=True):
            task = f"product/{size}/{preset}"
            if not wanted(task):
                continue
            torch.manual_seed(0)
            spec = TileSpec.from_config(config)
            layer = AnalogLinear(size, size, bias=False, tile=spec, seed=0)
            layer = layer.cuda().eval()
            x = torch.randn(PRODUCT_BATCH, size, device="cuda")
            multiply = functools.partial(torch.no_grad()(layer), x)
            time = milliseconds(multiply)
            busy, kernels = busy_time(multiply)
            yield {
                "task": task,
                "ms": time,
                "busy_ms": busy,
                "kernels": kernels,
                "peer_ms": peer,
                "ratio": peer / time,
            }


def busy_time(step: Step, steps: int = 20) -> tuple[float, dict[str, float]]:
    """Milliseconds of a step in which kernels run, and those of each of them, the longest first."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    step()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
    times: dict[str, float] = {}
    for event in found.key_averages():
        name = event.key[:60]
        times[name] = times.get(name, 0.0) + event.self_device_time_total / 1e3 / steps
    ordered = sorted(times.items(), key=lambda item: -item[1])
    kernels = {name: round(time, 5) for name, time in ordered if time > 0}
    return sum(kernels.values()), kernels


def captured(step: Step) -> Step:
    """The step as a CUDA graph; replays draw new noise, since steps are counted in device
    memory."""
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def table(rows: list[Row]) -> str:
    """The rows as text: milliseconds, and how many times as fast as aihwkit."""
    lines = []
    for row in rows:
        ratio = f"{row['ratio']:6.2f}" if "ratio" in row else "      "
        rest = f"  loss {row['loss']:.4f}" if "loss" in row else ""
        rest += f"  busy {row['busy_ms']:.4f} ms" if "busy_ms" in row else ""
        lines.append(f"{row['task']:40s} {row['ms']:9.4f} ms {ratio}{rest}")
    return "\n".join(lines)
