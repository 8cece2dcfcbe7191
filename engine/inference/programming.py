"""Programmed tiles: what their devices hold, what time makes of it, and the factors that make up
for it.

Shapes: L lanes (left out for L = 1), O outputs, I inputs, K devices in a cell.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from engine.inference.base import find_noise_model
from engine.inference.conductance import Conductances
from engine.inference.readout import readout
from engine.inference.settings import InferenceSpec
from engine.inference.times import seconds
from engine.inference.wires import Ladder
from engine.settings import UserError
from engine.tile.keys import derive
from engine.tile.tile import Tile


class Programmed:
    """All tiles of a network with their weights on devices. Their old weights come back with
    `restore()`."""

    def __init__(
        self, where: nn.Module | Iterable[Tile], spec: InferenceSpec, *, seed: int = 0
    ) -> None:
        found = _tiles(where)
        self.spec, self.time = spec, 0.0
        if not found:
            raise UserError(
                "there is nothing to program: no analog tiles; engine.nn.convert_to_analog makes some"
            )
        for tile in found:
            tile.refuse_programmed(
                "programming them again would start from weights that drifted"
            )
        try:
            self.tiles = [ProgrammedTile(tile, spec, seed) for tile in found]
        except BaseException:
            restore(found)  # some are programmed, and nobody would hold them
            raise

    def drift_to(self, time: float | str) -> None:
        """The tiles compute with their weights at `time` (seconds, or `1h`) after programming, read
        anew.

        Every call starts from what was programmed. Raises UserError for a time that cannot be, and
        for tiles that were restored."""
        self.time = seconds(time)
        for tile in self.tiles:
            tile.drift_to(self.time)

    def compensate(self, on: bool = True) -> None:
        """Switches the drift compensation off and on again; nothing is drawn anew."""
        for tile in self.tiles:
            tile.compensate(on)

    @property
    def factors(self) -> list[Tensor | None]:
        """The compensation factor of each tile: [1], or [O] per column; None without
        compensation."""
        return [tile.factor for tile in self.tiles]

    def restore(self) -> None:
        """Puts the target weights back; once more changes nothing."""
        for tile in self.tiles:
            tile.restore()

    def __enter__(self) -> Programmed:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.restore()


class ProgrammedTile:
    """One tile: its target [.., O, I], its conductances, the baseline of its compensation."""

    def __init__(self, tile: Tile, spec: InferenceSpec, seed: int) -> None:
        array = tile.array
        self.tile, self.spec = tile, spec
        self.target = array.weight.detach().clone()
        self.factor: Tensor | None = None
        self.baseline: Tensor | None = None
        keys = [
            derive(seed, array.seed + lane, array.tile_id)
            for lane in range(array.lanes)
        ]
        model = find_noise_model(spec.noise_model)
        self.conductances = Conductances(model, spec, self.target, keys)
        self.ladder = (
            Ladder(tile, spec, self.conductances) if spec.wires.enabled else None
        )
        programmed = self.conductances.program(self.target)
        tile.target = self.target
        self._write(programmed)
        self._connect()
        if spec.compensation == "exact_reference":
            self.baseline = readout(tile, per_column=False, weight=self.target)
        elif spec.compensation != "none":
            self.baseline = readout(tile, per_column=spec.compensation == "per_column")

    def drift_to(self, time: float) -> None:
        """Writes the weights at `time` and measures their compensation factor."""
        self._check()
        self._write(self.conductances.drift(time))
        self._connect()
        if self.baseline is not None:
            self.factor = self.baseline / readout(
                self.tile, per_column=self.spec.compensation == "per_column"
            )
        self.compensate()

    def compensate(self, on: bool = True) -> None:
        """Whether the tile multiplies its outputs with the factor."""
        self.tile.compensation = self.factor if on else None

    def restore(self) -> None:
        """The target back on the tile, without a factor."""
        if self.tile.target is not None:
            self._check()
            restore_tile(self.tile)
            self.factor = None

    def _check(self) -> None:
        """Raises UserError where the tile no longer holds what was programmed here."""
        if self.tile.target is not self.target:
            raise UserError(
                "these tiles were restored, or programmed anew: call engine.inference.program again"
            )

    def _connect(self) -> None:
        """Reads the tile through its wires, with the conductances that it has now."""
        if self.ladder is not None:
            self.ladder.update()
            self.tile.forward_product.wires = self.ladder

    def _write(self, weight: Tensor) -> None:
        _write(self.tile, weight)
        self.factor = None


def restore(where: nn.Module | Iterable[Tile]) -> None:
    """Puts the target weights back on all tiles that are programmed."""
    for tile in _tiles(where):
        if tile.target is not None:
            restore_tile(tile)


def restore_tile(tile: Tile) -> None:
    """The weights of a programmed tile as they were before."""
    assert tile.target is not None
    _write(tile, tile.target)
    tile.target = None


def _write(tile: Tile, weight: Tensor) -> None:
    # Past the array's own way of setting weights, which draws the write noise of its training
    # device.
    tile.array.weight.data.copy_(weight)
    tile.compensation = None
    tile.forward_product.wires = None


def _tiles(where: nn.Module | Iterable[Tile]) -> list[Tile]:
    found = where.modules() if isinstance(where, nn.Module) else where
    return [tile for tile in found if isinstance(tile, Tile)]


def program(where: Any, spec: InferenceSpec, *, seed: int = 0) -> Programmed:
    """See `engine.inference.program`."""
    return Programmed(where, spec, seed=seed)
