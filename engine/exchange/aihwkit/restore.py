"""States of aihwkit's tiles onto tiles of this engine, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.exchange.aihwkit import state
from engine.exchange.aihwkit.lost import Losses

if TYPE_CHECKING:
    from engine.exchange.aihwkit.file import SourceTile
    from engine.nn.analog import AnalogTile

# Room to work in, statistics, and what follows from settings: nothing of it is a state.
SCRATCH = re.compile(
    r"(^|\.)(pwu|transfer_pwu|refresh_pwu|transfer_fb_pass|refresh_fb_pass|fb_weight_modifier)\."
    r"|(^|\.)(num_states|weight_granularity|granularity|reduce_weightening|transfer_every|"
    r"transfer_tmp|avg_sparsity|d_sparsity|tmp_count_lr|count_lr_scale|feedback_data|"
    r"feedback_data_idx|fwd_alpha|bwd_alpha|learning_rate|last_update_m_batch|flicker_probs|"
    r"flicker_states|use_delayed_update|containers_allocated|aux_nm_value|fb_weights|nu)$"
)
# Names of a part of the state where it does nothing: it is 0 or 1 there, and not carried.
IDLE = ("current_device_idx", "current_update_idx", "current_slice_indices", "in_chopper",
        "out_chopper", "input_range_update_idx", "out_nonlinearity_factor")  # fmt: skip
SCALES = ("mapping_scales", "out_scaling_alpha")


class Misfit(ValueError):
    """A state that does not fit the tile; the message is one line."""


def values_of(tile: SourceTile) -> dict[str, Tensor]:
    """All of a tile's state by name, single numbers as tensors of one."""
    scalars = {
        f"{state.EXTRA}{name}": torch.tensor([value], dtype=torch.float64)
        for name, value in tile.scalars.items()
    }
    return {**tile.tensors, **scalars}


def batch_of(tile: SourceTile) -> int:
    """The samples of the last mini-batch, of which aihwkit counts every one."""
    return max(1, int(tile.scalars.get("last_update_m_batch", 1)))


@torch.no_grad()
def restore(tile: AnalogTile, source: SourceTile, losses: Losses) -> None:
    """Give a tile the state of one of aihwkit's. Raises Misfit if its cells, arrays or scales are
    of another kind; what has no place here, and is not idle, is noted."""
    values = values_of(source)
    try:
        places = state.slots(tile, batch_of(source))
    except ValueError as problem:
        raise Misfit(str(problem)) from problem
    if values["weights"].shape != tile.tile.weight.shape:
        found, wanted = (
            "x".join(map(str, shape))
            for shape in (values["weights"].shape, tile.tile.weight.shape)
        )
        raise Misfit(f"its weights are {found}, not {wanted}")
    # Kinds are compared first, so that other devices are told before any weight has changed.
    _check_cells(places, values)
    _fill_scales(tile, places, values)
    for name, slot in places.items():
        if name in values:
            try:
                slot.write(values[name].to(tile.tile.weight.device))
            except (RuntimeError, ValueError) as problem:
                raise Misfit(
                    f"{name} does not fit: {str(problem).splitlines()[0]}"
                ) from problem
    state.settle(tile)
    _note_rest(places, values, source, losses)


@torch.no_grad()
def collect(tile: AnalogTile, batch: int = 1) -> dict[str, Tensor]:
    """The state of a tile by aihwkit's names. Raises ValueError for what aihwkit does not have."""
    return {name: slot.read() for name, slot in state.slots(tile, batch).items()}


def _check_cells(
    places: Mapping[str, state.Slot], values: Mapping[str, Tensor]
) -> None:
    """Raises Misfit unless both sides have the same constants and hidden weights."""
    ours = {name for name in places if name.startswith(state.HIDDEN)}
    theirs = {name for name in values if name.startswith(state.HIDDEN)}
    for name in sorted(ours - theirs):
        raise Misfit(
            f"it has no {name.removeprefix(state.HIDDEN)}: other devices or algorithm"
        )
    for name in sorted(theirs - ours):
        raise Misfit(
            f"{name.removeprefix(state.HIDDEN)} has no place: other devices or algorithm"
        )


def _fill_scales(
    tile: AnalogTile, places: Mapping[str, state.Slot], values: dict[str, Tensor]
) -> None:
    """Scales of 1 where one side has none; one scale for all outputs where the other has each."""
    for name, scale in (
        ("mapping_scales", tile.scale),
        ("out_scaling_alpha", tile.out_scale),
    ):
        given = values.get(name)
        if scale is None and given is not None:
            if not bool((given == 1).all()):
                setting = "tile.mapping.weight_scaling_omega or learn_out_scaling"
                raise Misfit(
                    f"{name} is not 1, and the tile has no such scale ({setting})"
                )
            del values[name]
        # A model that learned without scales computes the same with scales of 1.
        elif scale is not None and given is None:
            values[name] = torch.ones_like(scale)
        elif (
            scale is not None
            and given is not None
            and given.numel() == 1 < scale.numel()
        ):
            values[name] = given.reshape(1).expand(scale.shape)


def _note_rest(
    places: Mapping[str, state.Slot],
    values: Mapping[str, Tensor],
    source: SourceTile,
    losses: Losses,
) -> None:
    for name, value in values.items():
        short = name.removeprefix(state.EXTRA)
        if name in places or SCRATCH.search(short) or short == "learning_rate":
            continue
        # Counters that never moved, of algorithms that here have none.
        if short.rpartition(".")[2] in IDLE and bool(
            ((value == 0) | (value == 1)).all()
        ):
            continue
        losses.add(
            f"{source.grid}: {short}", "a state of which there is nothing like it here"
        )


def logical_weights(tile: SourceTile) -> Tensor:
    """What a layer computes with [O, I]: the weights of the tile times its scales."""
    weight = tile.weights.to(torch.float32).clone()
    for name in SCALES:
        scale = tile.tensors.get(name)
        if scale is not None:
            weight *= scale.to(torch.float32).reshape(-1, 1)
    return weight
