"""Input ranges of tiles from data, for networks that were not trained with them. B samples, I
inputs."""

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
    through, against outputs cut off."""

    mode: str = "quantile"
    quantile: float = 0.99995
    rows: int = 1000
    std_alpha: float = 3.0
    seed: int = 0
    output_quantile: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, not {self.mode!r}")
        if not 0 < self.quantile <= 1:
            raise ValueError(f"quantile must be above 0 and at most 1, not {self.quantile:g}")
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
    """Rows drawn from all that come by, each with the same probability: those that drew the least
    numbers."""

    most: int
    generator: torch.Generator
    rows: Tensor | None = None
    order: Tensor | None = None

    def add(self, x: Tensor) -> None:
        """Draws numbers for the rows x [B, I]."""
        x = x.cpu()
        order = torch.rand(len(x), dtype=torch.float32, device="cpu", generator=self.generator)
        if self.rows is not None and self.order is not None:
            x, order = torch.cat([self.rows, x]), torch.cat([self.order, order])
        chosen = order.argsort()[: self.most]
        self.rows, self.order = x[chosen], order[chosen]


class _Seen:
    """What one tile has met so far."""

    def __init__(self, how: Calibration, tile: AnalogTile, seed: int) -> None:
        self.how, self.tile, self.parts = how, tile, list[float]()
        self.inputs, self.outputs = (
            _Sample(how.rows, torch.Generator().manual_seed(seed)) for _ in range(2)
        )

    def add(self, x: Tensor) -> None:
        """Takes note of the inputs x [B, I] of one read."""
        x = x.detach().to(torch.float32)
        x = x[x.any(1)]
        if not len(x):
            return
        how = self.how
        if how.mode == "max":
            self.parts = [max([float(x.abs().max()), *self.parts])]
        elif how.mode == "moving_quantile":
            self.parts.append(_quantile(x, how.quantile))
        elif how.mode == "moving_std" and len(self.parts) < how.rows and x.numel() > 1:
            self.parts.append(how.std_alpha * float(x.std()))
        elif how.mode == "quantile":
            self.inputs.add(x)
        if how.output_quantile > 0:
            self.outputs.add(x @ self.tile.tile.weight.detach().T)

    def range(self) -> float:
        """The range, or 0 if nothing was met."""
        positive = [part for part in self.parts if part > 0]
        found = sum(positive) / len(positive) if positive else 0.0
        if self.inputs.rows is not None:
            found = _quantile(self.inputs.rows, self.how.quantile)
        return max(found, self._of_outputs()) if found > 0 else 0.0

    def _of_outputs(self) -> float:
        """The range at which the ADC cuts off no more outputs than allowed, or 0 where none are cut
        off."""
        io = self.tile.tile.spec.forward
        if self.outputs.rows is None or io.is_perfect or not 0 < io.out_bound < float("inf"):
            return 0.0
        constant = io.nm_thres if io.noise_management == "Constant" and io.nm_thres > 0 else 1.0
        return _quantile(self.outputs.rows, self.how.output_quantile) / (io.out_bound * constant)


def calibrate(
    model: nn.Module, batches: Iterable[Any], how: Calibration | None = None
) -> dict[str, float]:
    """Sets the input range of every tile below `model` that has one, and returns them by the tiles'
    names.

    A batch is an input, a tuple that begins with it, or a mapping of arguments. While it runs all
    tiles compute exact products, so that the range of one does not depend on that of another; no
    noise is drawn. Tiles that meet nothing but 0 keep theirs. Raises ValueError in one line if
    there is no data, or no tile with an input range."""
    how = how or Calibration()
    tiles = {name: part for name, part in model.named_modules() if isinstance(part, AnalogTile)}
    ranged = {
        name: tile
        for name, tile in tiles.items()
        if getattr(tile.state, "input_range", None) is not None
    }
    if not ranged:
        raise ValueError(
            "no tile has an input range: tile.input_range.enable=true (with algorithm hwa) gives them one"
        )
    seen = {name: _Seen(how, tile, how.seed + k) for k, (name, tile) in enumerate(ranged.items())}
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), _exact(tiles, seen):
            count = sum(_run(model, batch) for batch in batches)
    finally:
        for part, mode in modes.items():
            part.training = mode
    if not count:
        raise ValueError("calibration needs data: no batch was given")
    found = {name: part.range() for name, part in seen.items()}
    for name, value in found.items():
        if value > 0:
            _set(ranged[name].state.input_range, value)
    return {name: value for name, value in found.items() if value > 0}


def _set(limit: Any, value: float) -> None:
    """Writes a range, which the first batches of a training then leave as it is."""
    limit.value.data.fill_(value)
    limit.batches = limit.settings.init_from_data
    limit.seen.fill_(limit.settings.init_from_data)


def _run(model: nn.Module, batch: Any) -> int:
    """Runs one batch, and counts it."""
    if isinstance(batch, Mapping):
        model(**batch)
    else:
        model(batch[0] if isinstance(batch, list | tuple) else batch)
    return 1


@contextmanager
def _exact(tiles: Mapping[str, AnalogTile], seen: Mapping[str, _Seen]) -> Iterator[None]:
    """Within it, tiles give exact products of their logical weights, and those of `seen` note their
    inputs."""
    try:
        for name, tile in tiles.items():
            tile.__dict__["forward"] = _product(tile, seen.get(name))
        yield
    finally:
        for tile in tiles.values():
            tile.__dict__.pop("forward", None)


def _product(tile: AnalogTile, seen: _Seen | None) -> Any:
    weight = tile.get_weights()

    def product(x: Tensor, bias: Tensor | None = None) -> Tensor:
        if seen is not None:
            seen.add(x)
        y = (x.to(torch.float32) @ weight.T).to(x.dtype)
        return y if bias is None else y + bias

    return product


def _quantile(x: Tensor, share: float) -> float:
    """The quantile of magnitudes, as torch has it, whose own function takes no more than 2^24
    numbers."""
    values = x.abs().flatten().sort().values
    place = share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return float(torch.lerp(values[low], values[high], place - low))
