"""The pulsed update of an array: plans, trains and pulses in one call of the kernels."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.devices.base import find_device
from engine.jit.programs import Program, fill
from engine.jit.struct import read_constant, read_struct
from engine.tile.settings import DeviceSpec, Update

if TYPE_CHECKING:
    from engine.tile.cells import CellArray
    from engine.tile.group import Cells

SLOTS = 31
MAX_WORDS = 128
TYPES = {
    "StochasticCompressed": 0,
    "Stochastic": 0,
    "MeanCount": 1,
    "DeterministicImplicit": 2,
    "NoneWithDevice": 3,
}
# Trains are kept from call to call while they are small; larger ones would add up over the tiles.
KEPT_WORDS = 1 << 16
KEPT_UPDATES = 8
# A GPU is busy with so many warps.
MANY_STRIPS = 1 << 15
# Cells look for their coincidences by sample masks if there are at least so many samples, in an
# array of at most so many cells and in any other; with few groups of 32 samples all are looked at,
# else those that are listed.
HIT_CELLS, HIT_SAMPLES, LISTED_GROUPS = 1 << 19, (256, 2048), 8
GROUP, SPAN = (read_constant("trains/trains.cuh", name) for name in ("GROUP", "HIT_SPAN"))
WARP, SPREAD_THREADS = 32, 1 << 15
LONG_LINES, MEASURED = 1024, read_constant("trains/trains.cu", "MEASURED")
LISTED_CELLS = read_constant("update/gpu/thread_per_pulsed_cell.cu", "LISTED_CELLS")
COUNTED_GROUPS = read_constant("trains/gpu/masks.cu", "COUNTED_GROUPS")


def update(
    array: CellArray, x: Tensor, d: Tensor, lr: float, settings: Update, *, lr_scale: float = 1.0
) -> None:
    """One update with x [.., B, I] and d [.., B, O]; `lr_scale` multiplies the learning rate inside
    the kernels."""
    if lr == 0.0 or x.numel() == 0:
        return
    if array.model.ideal or settings.pulse_type == "None":
        exact_update(array, x, d, lr * lr_scale)
        return
    x, d = _plain(x, array), _plain(d, array)
    array.set_lr(lr)
    key = (x.shape, x.device, lr, lr_scale, *vars(settings).values())
    prepared = array.prepared.get(key)
    if prepared is None:
        prepared = array.prepared.keep(
            key, PreparedUpdate(array, x.shape[-2], settings, lr * lr_scale)
        )
        prepared.args.lr_scale = lr_scale
    prepared.run(array, x, d)


class PreparedUpdate:
    """What updates of one shape with the same settings have in common."""

    def __init__(self, array: CellArray, batch: int, settings: Update, lr: float) -> None:
        self.plan = _plan(settings, array.granularity, lr, array.weight.device)
        self.kind = TYPES[settings.pulse_type]
        self.words = max(1, math.ceil(self.plan.max_bl / SLOTS)) if self.kind == 0 else 1
        self.args = _args(array, batch, self.words)
        self.args.type, self.args.plan = self.kind, self.plan.tensor.data_ptr()
        self.program = array.program()
        small = array.lanes * batch * self.words * (array.in_size + array.out_size) <= KEPT_WORDS
        self.space = (
            _space(array, batch, self.words) if small and self.program.backend == "cpu" else None
        )
        self.pointed: Any = None

    def run(self, array: CellArray, x: Tensor, d: Tensor) -> None:
        """Plans, trains and pulses for the samples x and d."""
        args, program, threads = self.args, self.program, torch.get_num_threads()
        space = self.space or _space(array, args.batch, self.words)
        # Past nn.Module's own search for attributes, which takes longer than filling in the
        # addresses.
        own = array._buffers
        args.w, args.cells = array._parameters["weight"].data_ptr(), own["cells"].data_ptr()  # type: ignore[union-attr]
        args.params, args.control = own["params"].data_ptr(), own["control"].data_ptr()  # type: ignore[union-attr]
        args.x, args.d, args.call = x.data_ptr(), d.data_ptr(), array.next_call()
        if space is not self.pointed:
            fill(args, _SPACE, space)
            self.pointed = self.space
        if program.backend == "cpu" and self.kind != 3:
            program.run("pulsed_update", args, threads=threads)
            return
        maxima = measure(program, args, array.weight.device)
        args.items = array.lanes * args.batch
        program.run("plan_samples", args, threads=threads, warp=True)
        del maxima
        if self.kind != 3 and by_hits(args):
            masks = make_masks(
                program, args, array.weight.device
            )  # lives until the kernels are launched
            args.spread = spread(array.weight.numel())
            args.items = array.weight.numel() * args.spread
            program.run("update_hits", args, threads=threads)
            del masks
            return
        if self.kind != 3:
            args.items *= (array.in_size + 31) // 32 + (array.out_size + 31) // 32
            program.run("make_trains", args, threads=threads, warp=True)
        pulse_cells(program, args, exact=self.kind == 3)


class PreparedUpdates:
    """The prepared updates of an array; they hold addresses, so a copy of the array starts without
    any."""

    def __init__(self) -> None:
        self._kept: dict[Any, PreparedUpdate] = {}

    def get(self, key: Any) -> PreparedUpdate | None:
        return self._kept.get(key)

    def keep(self, key: Any, prepared: PreparedUpdate) -> PreparedUpdate:
        """Keeps a few: shapes and learning rates change rarely."""
        if len(self._kept) >= KEPT_UPDATES:
            self._kept.clear()
        self._kept[key] = prepared
        return prepared

    def __deepcopy__(self, memo: dict[int, Any]) -> PreparedUpdates:
        return PreparedUpdates()

    def __reduce__(self) -> Any:
        return PreparedUpdates, ()


def measure(program: Program, args: Any, where: torch.device) -> Tensor | None:
    """The largest values of parts of the samples on a GPU, where their lines are long."""
    args.maxima = None
    if max(args.rows, args.cols) <= LONG_LINES:
        return None
    parts = -(-args.rows // MEASURED) - (-args.cols // MEASURED)
    maxima = torch.empty(args.replicas, args.batch, parts, device=where)
    args.maxima, args.items = maxima.data_ptr(), maxima.numel()
    program.run("measure_samples", args, threads=1, warp=True)
    return maxima


def by_hits(args: Any) -> bool:
    """Whether cells look for their coincidences by sample masks."""
    cells = args.replicas * args.rows * args.cols
    few, many = HIT_SAMPLES
    return bool(args.batch >= (few if cells <= HIT_CELLS else many))


def spread(cells: int) -> int:
    """Threads for each of so many cells, of which one works, so that cells of one warp wait less
    for each other while there are threads enough."""
    times = 1
    while times < WARP and 2 * times * cells <= SPREAD_THREADS:
        times *= 2
    return times


def make_masks(program: Program, args: Any, where: torch.device) -> list[Tensor]:
    """Sample masks, windows, and the groups in which cells have coincidences, for plans that are
    made. The tensors that `args` points to afterwards."""
    groups = -(-args.batch // GROUP)
    chunks = -(-groups // GROUP) if groups > LISTED_GROUPS else 0
    spans = -(-chunks // SPAN)
    cells = args.rows * args.cols
    words: dict[str, Any] = {"dtype": torch.int32, "device": where}
    made = [
        torch.empty(args.replicas, groups, args.cols, 2, **words),
        torch.empty(args.replicas, groups, args.rows, 2, **words),
        torch.empty(args.replicas, groups, 4, **words),
        torch.empty(args.replicas, chunks + spans, cells, **words),
    ]
    fill(args, ("x_masks", "d_masks", "groups", "hits"), made)
    args.items = args.replicas * groups * ((args.cols + 31) // 32 + (args.rows + 31) // 32)
    program.run("make_masks", args, threads=1, warp=True)
    if groups > COUNTED_GROUPS:
        args.items = args.replicas * -(-groups // GROUP)
        program.run("mark_windows", args, threads=1, warp=True)
    if chunks:
        args.items = args.replicas * spans * args.rows * ((args.cols + 31) // 32)
        program.run("mark_hits", args, threads=1, warp=True)
    return made


def pulse_cells(program: Program, args: Any, *, exact: bool = False) -> None:
    """The pulses of trains that are made, or the exact outer product, on all cells: by the kernel
    that a GPU takes."""
    kernel, args.items, warp = _gpu_kernel(args)
    if exact:
        kernel, args.items, warp = "update_exact", args.replicas * args.rows * args.cols, False
    program.run(kernel, args, threads=torch.get_num_threads(), warp=warp)


def _gpu_kernel(args: Any) -> tuple[str, int, bool]:
    """Kernel, items, and whether an item takes a warp: a cell, or 32 cells of a row."""
    if args.batch == 1:
        return "update_pulsed", args.replicas * args.rows * -(-args.cols // LISTED_CELLS), True
    strips = (args.cols + 31) // 32
    while strips % 2 == 0 and args.replicas * args.rows * strips > MANY_STRIPS:
        strips //= 2
    return "update_strips", args.replicas * args.rows * strips, True


def exact_update(array: CellArray, x: Tensor, d: Tensor, lr: float) -> None:
    """The exact outer product: weight -= lr d^T x."""
    with torch.no_grad():
        x, d = _plain(x, array), _plain(d, array)
        if array.lanes > 1:
            array.weight.baddbmm_(d.transpose(1, 2), x, alpha=-lr)
        else:
            array.weight.addmm_(d.t(), x, alpha=-lr)


_SPACE = ("plans", "frozen", "x_words", "d_words")


def _space(array: CellArray, batch: int, words: int) -> tuple[Tensor, ...]:
    where, lanes = array.weight.device, array.lanes
    return (
        torch.empty(lanes, batch, 4, dtype=torch.int32, device=where),
        torch.empty_like(array.control),
        torch.empty(lanes, batch, words, array.in_size, dtype=torch.int32, device=where),
        torch.empty(lanes, batch, words, array.out_size, dtype=torch.int32, device=where),
    )


def _args(array: CellArray, batch: int, words: int) -> Any:
    args = read_struct("update/args.cuh", "UpdateArgs")()
    args.replicas, args.rows, args.cols = array.lanes, array.out_size, array.in_size
    args.batch, args.words = batch, words
    args.noise_on = int(_noisy(array.model, array.spec.params))
    fill(
        args,
        ("w", "cells", "params", "control"),
        (array.weight, array.cells, array.params, array.control),
    )
    return args


def _noisy(model: Any, params: dict[str, Any]) -> bool:
    return not model.noise_scales or any(params[name] != 0 for name in model.noise_scales)


def _plain(v: Tensor, array: Cells) -> Tensor:
    """Float32, contiguous, where the array lives."""
    where = array._parameters["weight"].device  # type: ignore[union-attr]
    if v.dtype is torch.float32 and v.device == where and v.is_contiguous() and not v.requires_grad:
        return v
    return v.detach().to(device=where, dtype=torch.float32).contiguous()


class _Plan:
    """The settings of an update in the form that kernels read, kept on the device."""

    def __init__(self, struct: Any, where: torch.device) -> None:
        self.max_bl = int(struct.max_bl)
        self.tensor = torch.frombuffer(bytearray(struct), dtype=torch.uint8).to(where)


def _plan(u: Update, granularity: float, lr: float, where: torch.device) -> _Plan:
    longest = u.desired_bl
    if not u.fixed_bl and not u.update_bl_management and granularity * u.desired_bl < abs(lr):
        longest = math.ceil(abs(lr) / granularity)
    return _cached_plan(tuple(vars(u).items()), granularity, min(longest, MAX_WORDS * SLOTS), where)


@functools.lru_cache(maxsize=256)
def _cached_plan(
    items: tuple[tuple[str, Any], ...], granularity: float, longest: int, where: torch.device
) -> _Plan:
    u = dict(items)
    struct = read_struct("trains/trains.cuh", "PulsePlan")()
    struct.granularity, struct.desired_bl, struct.grad_scale = (
        granularity,
        u["desired_bl"],
        u["um_grad_scale"],
    )
    struct.res, struct.x_res, struct.d_res = u["res"], u["x_res_implicit"], u["d_res_implicit"]
    struct.type, struct.fixed_bl, struct.max_bl = TYPES[u["pulse_type"]], u["fixed_bl"], longest
    struct.manage_bl, struct.manage_update = u["update_bl_management"], u["update_management"]
    struct.sto_round = u["sto_round"]
    return _Plan(struct, where)


def probe(array: CellArray, weight: Tensor, *, up: bool) -> Tensor:
    """Weights [.., O, I] after one noiseless pulse on each `weight`, where neither bounds nor write
    noise act."""
    kept = array.weight.data.clone()
    array.weight.data.copy_(weight)
    array._array_call("probe_cells", amount=1.0 if up else -1.0)
    moved = array.weight.data.clone()
    array.weight.data.copy_(kept)
    return moved


@functools.lru_cache(maxsize=256)
def granularity(model: str, items: tuple[tuple[str, Any], ...]) -> float:
    """The expected step of a device: one pulse on a mean cell, noise off, at the weight and
    direction it names."""
    from engine.tile.cells import CellArray

    device = find_device(model)
    if device.ideal:
        return 1.0
    asked: dict[str, Any] = {k: list(v) if isinstance(v, tuple) else v for k, v in items}
    asked |= device.probe_values
    still = [
        k
        for k in asked
        if k.endswith(("_dtod", "_std")) or k in ("lifetime", "diffusion", "drift_nu")
    ]
    quiet = {k: [0.0] * len(asked[k]) if isinstance(asked[k], list) else 0.0 for k in still}
    asked |= quiet | {"corrupt_devices_prob": 0.0}
    if device.derive:
        asked = {k: v for k, v in asked.items() if k not in device.derive(asked)}
    array = CellArray(1, 1, DeviceSpec(model, asked), trains=False)
    start = _probe_weight(device, array.spec.params)
    sizes = {}
    for name, up in (("up", True), ("down", False)):
        sizes[name] = abs(float(probe(array, torch.full((1, 1), start), up=up)) - start)
    size = (
        max(sizes.values())
        if device.probe_direction == "stronger"
        else sizes[device.probe_direction]
    )
    return size or float(asked.get("dw_min", 1.0))


def _probe_weight(device: Any, params: dict[str, Any]) -> float:
    if callable(device.probe):
        return float(device.probe(params))
    return 0.5 * (params["w_min"] + params["w_max"]) if device.probe == "middle" else 0.0
