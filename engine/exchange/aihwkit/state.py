"""The state of a tile under aihwkit's names: where each of its numbers lies in a tile of ours.

One table serves both directions: what comes from there is written into the slots, what goes there
is read from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.exchange.aihwkit import words
from engine.tile.cells import TURN, CellArray
from engine.tile.group import CellGroup, Cells
from engine.tile.mvm import Product
from engine.tile.settings import OneSided

if TYPE_CHECKING:
    from engine.nn.analog import AnalogTile
    from engine.tile.transfers.transfer import Transfer

HIDDEN, EXTRA = "hidden.", "extra."
DEVICE = "extra.rpu_device."
# Deviations of an output that are drawn once: their row (engine/kernels/mvm/args.cuh), and the
# setting without which aihwkit has none.
SPREADS = {
    "out_noise_values": (0, "out_noise_std"),
    "v_offset": (1, "v_offset_std"),
    "out_nonlinearity": (2, "out_nonlinearity"),
    "out_nonlinearity_factor": (3, ""),
}
COMMON = "out_nonlinearity_factor"
# The clock of a device that drifts: when it began, from which weight, and what was seen last.
DRIFT = {"t": "drift_from", "w0": "drift_w0", "previous_weights": "drift_seen"}
# The device whose slopes follow from its bounds.
SLOPED = "soft_bounds_reference"
# Counters of a transfer: samples seen, sweeps done, then the next slice of each array.
SAMPLES, SWEEPS, SLICES = 0, 1, 2


@dataclass(frozen=True)
class Slot:
    """A part of the state: how it is read, as a tensor, and how it is written."""

    read: Callable[[], Tensor]
    write: Callable[[Tensor], None]


Named = tuple[str, Slot]


def view(tensor: Tensor) -> Slot:
    """A slot that is a tensor, or a part of one."""

    def write(value: Tensor) -> None:
        tensor.copy_(value.reshape(tensor.shape))

    return Slot(lambda: tensor.detach().clone(), write)


def number(read: Callable[[], float], write: Callable[[float], None]) -> Slot:
    """A slot that is a single number."""
    return Slot(
        lambda: torch.tensor([read()], dtype=torch.float64), lambda v: write(float(v))
    )


def constant(value: float, like: Tensor, name: str) -> Slot:
    """What their devices store and ours need not: it can only have this value."""

    def write(given: Tensor) -> None:
        if not bool((given == value).all()):
            raise ValueError(
                f"{name} is not {value:g} everywhere, as it is without its setting"
            )

    return Slot(lambda: torch.full_like(like, value), write)


def slots(tile: AnalogTile, batch: int) -> dict[str, Slot]:
    """Every part of the state of a tile that aihwkit has as well, in the order of writing.

    aihwkit counts samples where this engine counts mini-batches of `batch` samples. Raises
    ValueError for a tile of which aihwkit has nothing like it."""
    return dict(_all(tile, batch))


def settle(tile: AnalogTile) -> None:
    """What follows from a state that was written."""
    for array in (tile.tile.array, *getattr(tile.state, "own", [])):
        if isinstance(array, CellGroup):
            for single in array.arrays:
                _derive(single)
            # The weight that a group shows is the sum of its devices.
            array._combine()
        else:
            _derive(array)
    learned = getattr(tile.state, "input_range", None)
    if learned is not None:
        learned.batches = int(learned.seen)


def _derive(array: CellArray) -> None:
    """Constants that follow from others, and that aihwkit does not store: the slopes of soft
    bounds, as the device's own text has them."""
    if array.spec.model != SLOPED:
        return
    for way, bound, sign in (("up", "max_bound", 1.0), ("down", "min_bound", -1.0)):
        end = array.parameter(bound)
        slope = -array.parameter(f"dwmin_{way}") / end
        # A bound on the wrong side of 0 has no slope; a bound at 0 would have an infinite one.
        slope = torch.where(sign * end > 0, slope, torch.zeros_like(slope))
        array.parameter(f"slope_{way}").copy_(slope)


def _all(tile: AnalogTile, batch: int) -> Iterator[Named]:
    # The weights come first: what is written after them may replace what they imply.
    yield "weights", view(tile.tile.weight.data)
    if tile.scale is not None:
        yield "mapping_scales", view(tile.scale.data)
    if tile.out_scale is not None:
        yield "out_scaling_alpha", view(tile.out_scale.data)
    yield from _learning(tile, batch)
    yield from _deviations(tile.tile.forward_product, f"{EXTRA}fb_pass.fwd.")
    yield from _deviations(tile.tile.backward_product, f"{EXTRA}fb_pass.bwd.")


def _learning(tile: AnalogTile, batch: int) -> Iterator[Named]:
    """The cells, and what the algorithm of a tile keeps beside them."""
    state: Any = tile.state
    array = tile.tile.array
    if tile.algorithm == "hwa":
        if state.input_range is not None:
            yield "input_range", view(state.input_range.value.data)
            yield "input_range_update_idx", view(state.input_range.seen)
    elif tile.algorithm == "mixed_precision":
        # The pulsed device is one level deeper: the compound is a device, too.
        inner = f"{DEVICE}rpu_device."
        yield from _cells(array, "", inner)
        yield from _chi(state, batch)
        yield from _group(array, inner, batch)
    elif tile.algorithm in words.TRANSFERS.values():
        yield from _transfer(tile, state)
    elif tile.algorithm == "sgd":
        yield from _cells(array, "", DEVICE)
        yield from _group(array, DEVICE, batch)
    else:
        raise ValueError(f"aihwkit has no algorithm like {tile.algorithm}")


def _cells(array: Cells, end: str, prefix: str) -> Iterator[Named]:
    """Constants and hidden weights of the cells of an array; `end` is how their names end, and
    `prefix` how those of the device's clock begin."""
    if isinstance(array, CellGroup):
        # Of a one-sided pair, aihwkit counts the device that lowers the weight first.
        sided = isinstance(array.settings, OneSided)
        for index, single in enumerate(
            reversed(array.arrays) if sided else array.arrays
        ):
            yield from _cells(single, f"_{index}", f"{prefix}{index}.")
            yield f"{HIDDEN}hidden_weights_{index}", view(single.weight.data)
        return
    yield from _drift(array, f"{prefix}wdrifter.")
    if array.model.ideal:
        return
    layout, theirs = array.layout, {ours: name for name, ours in words.CELLS.items()}
    kept = [name for name in layout.states if name == "persistent"]
    derived = ("slope_up", "slope_down") if array.spec.model == SLOPED else ()
    for name in (*layout.cells, *kept):
        if name not in derived:
            yield f"{HIDDEN}{theirs.get(name, name)}{end}", view(array.parameter(name))
    for name, value in words.UNUSED_CELLS.items():
        if words.CELLS.get(name, name) not in layout.cells:
            full = f"{name}{end}"
            yield f"{HIDDEN}{full}", constant(value, array.weight.data, full)


def _drift(array: CellArray, prefix: str) -> Iterator[Named]:
    """The clock of a device that drifts, and where each cell stands in its course."""
    if "drift_w0" not in array.layout.states:
        return
    calls = array.parameter("drift_calls")

    # Theirs drifts all cells of an array or none; ours marks each.
    def begin(active: float) -> None:
        calls.fill_(float(active > 0))

    def set_clock(value: float) -> None:
        array.clock = value

    yield f"{prefix}active", number(lambda: float(calls.max()), begin)
    yield f"{prefix}current_t", number(lambda: array.clock, set_clock)
    for name, ours in DRIFT.items():
        yield f"{prefix}{name}", view(array.parameter(ours))


def _group(array: Cells, prefix: str, batch: int) -> Iterator[Named]:
    """Counters of cells of several devices: whose turn it is, and when a refresh is due."""
    if not isinstance(array, CellGroup):
        return
    devices, control = len(array.arrays), array.control[0]
    if array.policy == "sequential":
        # Theirs names the device that was pulsed last, ours counts from the first one.
        def last() -> float:
            return (int(control[TURN]) + array.first) % devices

        def set_last(device: float) -> None:
            control[TURN] = (int(device) - array.first) % devices

        yield f"{prefix}current_device_idx", number(last, set_last)

    def count(samples: float) -> None:
        array.samples, array.updates = int(samples), int(samples) // batch

    yield f"{prefix}current_update_idx", number(lambda: array.samples, count)


def _chi(state: Any, batch: int) -> Iterator[Named]:
    """The digital matrix of mixed precision, and where its transfers are."""
    yield f"{HIDDEN}hidden_weights_chi", view(state.chi)

    def row(value: float) -> None:
        state.row = int(value)

    def count(samples: float) -> None:
        state.updates = int(samples) // batch

    yield f"{DEVICE}current_row_index", number(lambda: state.row, row)
    yield f"{DEVICE}current_update_index", number(lambda: state.updates * batch, count)


def _transfer(tile: AnalogTile, state: Transfer) -> Iterator[Named]:
    """Arrays, buffers, choppers and counters of a transfer."""
    wiring, last = state.wiring, tile.tile.array
    arrays = [*state.own, last]
    for index, array in enumerate(arrays):
        if not isinstance(array, CellArray):
            raise ValueError("cells of several devices within an array of a transfer")
        yield from _cells(array, f"_{index}", f"{DEVICE}{index}.")
        # Where the tile shows a sum, the last array keeps its weights beside it.
        shown = (
            state.last
            if array is last and state.last is not None
            else array.weight.data
        )
        yield f"{HIDDEN}hidden_weights_{index}", view(shown)
    yield from _buffers(state)
    counters = state.counters[0]
    yield (
        f"{DEVICE}current_slice_indices",
        view(counters[SLICES : SLICES + len(arrays)]),
    )
    yield f"{DEVICE}current_update_idx", view(counters[SAMPLES])
    if wiring.rule not in ("chopped", "dynamic"):
        return
    yield f"{DEVICE}transfer_counter", view(counters[SWEEPS])
    yield f"{DEVICE}m_x", view(state.maxima[0, 0])
    yield f"{DEVICE}m_d", view(state.maxima[0, 1])
    # One number here holds two flags of theirs: the sign, and whether it has just switched.
    yield f"{DEVICE}in_chopper", _bit(state.in_chop, 0)
    yield f"{DEVICE}out_chopper", _bit(state.out_chop, 0)
    if wiring.rule == "dynamic":
        yield f"{DEVICE}in_chopper_switched", _bit(state.in_chop, 1)


def _buffers(state: Transfer) -> Iterator[Named]:
    """Digital matrices between the arrays."""
    if state.mean is not None and state.past is not None:
        yield f"{HIDDEN}buffered_FP_weight", view(state.buffer[0])
        yield f"{HIDDEN}running_mean_weight", view(state.mean)
        yield f"{HIDDEN}past_mean_weight", view(state.past)
        return
    for index in range(state.buffer.shape[0]):
        yield f"{HIDDEN}buffered_FP_weight_{index}", view(state.buffer[index])


def _bit(flags: Tensor, index: int) -> Slot:
    """One bit of a vector of whole numbers, which aihwkit keeps by itself."""

    def write(value: Tensor) -> None:
        bits = (value.reshape(flags.shape) != 0).to(flags.dtype) << index
        flags.copy_((flags & ~(1 << index)) | bits)

    return Slot(lambda: ((flags >> index) & 1).to(torch.float64), write)


def _deviations(product: Product, prefix: str) -> Iterator[Named]:
    """How outputs, and weights read by negative inputs, differ from each other for good; and the
    running average of the inputs' scale, of which aihwkit has one."""
    if product.average is not None and product.direction == "forward":
        yield f"{EXTRA}fb_pass.aux_nm_value", view(product.average)
    if product.frozen is not None:
        for name, (index, setting) in SPREADS.items():
            if not setting or getattr(product.io, setting) > 0:
                yield prefix + name, _row(product.frozen[0, index], name == COMMON)
    if product.asymmetry is not None:
        yield f"{prefix}w_asymmetry", view(product.asymmetry)


def _row(row: Tensor, common: bool) -> Slot:
    """A number for each output, or one for all of them (`common` of aihwkit)."""

    def write(value: Tensor) -> None:
        row.copy_(
            value.expand(row.shape) if value.numel() == 1 else value.reshape(row.shape)
        )

    return Slot(
        lambda: row[:1].detach().clone() if common else row.detach().clone(), write
    )
