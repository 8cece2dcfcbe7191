"""Input ranges of tiles from data, for networks that were not trained with them.

`calibrate` runs batches through a network while each tile notes the inputs that it meets, then sets
its input range. Only tiles of hardware-aware training (algorithm hwa) have one.
Shapes: B samples, I inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.nn.analog import AnalogTile

MODES = ("quantile", "max", "moving_quantile", "moving_std")


@dataclass(frozen=True)
class Calibration:
    """How a range follows from the inputs that a tile meets; rows that are all 0 never count.

    `quantile` of the magnitudes in at most `rows` rows drawn from all batches; `max` of them all;
    `moving_quantile`, the mean over all reads of the quantile in each; `moving_std`, the mean over
    the first `rows` reads of `std_alpha` standard deviations.

    With an `output_quantile` above 0 the range is then raised until that share of the outputs of
    `rows` rows is within the bound of the ADC: smaller inputs, and no more than noise and steps let
    through, against outputs cut off. Raises ValueError for settings outside their limits."""

    mode: str = "quantile"
    quantile: float = 0.99995
    rows: int = 1000
    std_alpha: float = 3.0
    seed: int = 0
    output_quantile: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(
                f"mode must be one of {', '.join(MODES)}, not {self.mode!r}"
            )
        if not 0 < self.quantile <= 1:
            raise ValueError(
                f"quantile must be above 0 and at most 1, not {self.quantile:g}"
            )
        if self.rows < 1:
            raise ValueError(f"rows must be 1 at least, not {self.rows}")
        if self.std_alpha <= 0:
            raise ValueError(f"std_alpha must be > 0, not {self.std_alpha:g}")
        if not 0 <= self.output_quantile <= 1:
            raise ValueError(
                f"output_quantile must be 0 (off) or at most 1, not {self.output_quantile:g}"
            )


@dataclass
class _Sample:
    """Rows sampled from all that come by, each with the same probability.

    Every row gets a random number, and those with the smallest numbers are kept: so the sample does
    not depend on how rows are divided into batches."""

    size: int
    generator: torch.Generator
    rows: Tensor | None = None
    order: Tensor | None = None

    def add(self, x: Tensor) -> None:
        """Lets the rows x [B, I] take part."""
        x = x.cpu()
        order = torch.rand(
            len(x),
            dtype=torch.float32,
            device="cpu",
            generator=self.generator,
        )
        if self.rows is not None and self.order is not None:
            x = torch.cat([self.rows, x])
            order = torch.cat([self.order, order])
        chosen = order.argsort()[: self.size]
        self.rows = x[chosen]
        self.order = order[chosen]


class _InputStatistics:
    """What one tile has met so far, as its calibration needs it."""

    def __init__(self, how: Calibration, tile: AnalogTile, seed: int) -> None:
        self.how = how
        self.tile = tile
        self.parts: list[float] = []  # one number a read, whose mean is the range
        # The same seed for both: the outputs are those of the rows in the sample of inputs.
        self.inputs = _Sample(how.rows, torch.Generator().manual_seed(seed))
        self.outputs = _Sample(how.rows, torch.Generator().manual_seed(seed))

    def add(self, x: Tensor) -> None:
        """Includes the inputs x [B, I] of one read."""
        x = x.detach().to(torch.float32)
        # Rows of zeros are padding: they would pull quantiles and deviations down.
        x = x[x.any(1)]
        if not len(x):
            return
        how = self.how
        if how.mode == "max":
            largest = float(x.abs().max())
            self.parts = [max([largest, *self.parts])]
        elif how.mode == "moving_quantile":
            self.parts.append(_quantile(x, how.quantile))
        elif how.mode == "moving_std" and len(self.parts) < how.rows and x.numel() > 1:
            self.parts.append(how.std_alpha * float(x.std()))
        elif how.mode == "quantile":
            self.inputs.add(x)
        if how.output_quantile > 0:
            weight = self.tile.tile.weight.detach()
            self.outputs.add(x @ weight.T)

    def range(self) -> float:
        """The range, or 0 if nothing was met."""
        positive = [part for part in self.parts if part > 0]
        found = sum(positive) / len(positive) if positive else 0.0
        if self.inputs.rows is not None:
            found = _quantile(self.inputs.rows, self.how.quantile)
        if found <= 0:
            return 0.0
        return max(found, self._range_for_outputs())

    def _range_for_outputs(self) -> float:
        """The range at which the ADC cuts off no more outputs than allowed, or 0 where none are cut
        off."""
        io = self.tile.tile.spec.forward
        saturates = not io.is_perfect and 0 < io.out_bound < float("inf")
        if self.outputs.rows is None or not saturates:
            return 0.0
        # Constant noise management divides inputs by a constant after the range has.
        constant = 1.0
        if io.noise_management == "Constant" and io.nm_thres > 0:
            constant = io.nm_thres
        largest = _quantile(self.outputs.rows, self.how.output_quantile)
        return largest / (io.out_bound * constant)


def calibrate(
    model: nn.Module,
    batches: Iterable[Any],
    how: Calibration | None = None,
) -> dict[str, float]:
    """Sets the input range of every tile below `model` that has one, and returns them by the tiles'
    names.

    A batch is an input, a tuple that begins with it, or a mapping of arguments. While it runs all
    tiles compute exact products, so that the range of one does not depend on that of another; no
    noise is drawn. Tiles that meet nothing but 0 keep theirs. Raises ValueError in one line if
    there is no data, or no tile with an input range."""
    how = how or Calibration()
    tiles = {
        name: part
        for name, part in model.named_modules()
        if isinstance(part, AnalogTile)
    }
    ranged = {
        name: tile for name, tile in tiles.items() if _input_range(tile) is not None
    }
    if not ranged:
        raise ValueError(
            "no tile has an input range: tile.input_range.enable=true (with algorithm hwa) gives them one"
        )
    statistics = {
        name: _InputStatistics(how, tile, how.seed + number)
        for number, (name, tile) in enumerate(ranged.items())
    }
    count = _run_batches(model, batches, tiles, statistics)
    if not count:
        raise ValueError("calibration needs data: no batch was given")

    found = {}
    for name, met in statistics.items():
        value = met.range()
        if value > 0:
            found[name] = value
            _set(_input_range(ranged[name]), value)
    return found


def _input_range(tile: AnalogTile) -> Any:
    return getattr(tile.state, "input_range", None)


def _run_batches(
    model: nn.Module,
    batches: Iterable[Any],
    tiles: Mapping[str, AnalogTile],
    statistics: Mapping[str, _InputStatistics],
) -> int:
    """Runs all batches in evaluation mode, and counts them. Modes are restored afterwards."""
    modes = {part: part.training for part in model.modules()}
    model.eval()
    count = 0
    try:
        with torch.no_grad(), _exact_products(tiles, statistics):
            for batch in batches:
                _run(model, batch)
                count += 1
    finally:
        for part, mode in modes.items():
            part.training = mode
    return count


def _set(limit: Any, value: float) -> None:
    """Writes a range, which the first batches of a training then leave as it is."""
    # As if the batches that initialise a range had already been seen; the count lives on the host
    # for decisions and in a tensor for checkpoints.
    batches = limit.settings.init_from_data
    limit.value.data.fill_(value)
    limit.batches = batches
    limit.seen.fill_(batches)


def _run(model: nn.Module, batch: Any) -> None:
    if isinstance(batch, Mapping):
        model(**batch)
    elif isinstance(batch, list | tuple):
        model(batch[0])
    else:
        model(batch)


@contextmanager
def _exact_products(
    tiles: Mapping[str, AnalogTile],
    statistics: Mapping[str, _InputStatistics],
) -> Iterator[None]:
    """Within it, tiles give exact products of their logical weights, and note their inputs."""
    try:
        for name, tile in tiles.items():
            # An attribute of the object hides the method of its class; nn.Module would not set it.
            tile.__dict__["forward"] = _exact_product(tile, statistics.get(name))
        yield
    finally:
        for tile in tiles.values():
            tile.__dict__.pop("forward", None)


def _exact_product(tile: AnalogTile, statistics: _InputStatistics | None) -> Any:
    """A function in place of the tile's `forward`."""
    weight = tile.get_weights()

    def product(x: Tensor, bias: Tensor | None = None) -> Tensor:
        if statistics is not None:
            statistics.add(x)
        y = x.to(torch.float32) @ weight.T
        y = y.to(x.dtype)
        return y if bias is None else y + bias

    return product


def _quantile(x: Tensor, share: float) -> float:
    """The quantile of magnitudes, interpolated linearly as torch does it.

    torch.quantile itself refuses more than 2^24 numbers."""
    values = x.abs().flatten().sort().values
    last = len(values) - 1
    position = share * last
    low = int(position)
    high = min(low + 1, last)
    return float(torch.lerp(values[low], values[high], position - low))
