"""Products in which every vector meets weights of its own agree with the slow version bit by
bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.algorithms.parts.modify import (
    TRAINING_STREAM,
    PerSampleNoise,
    WeightOverride,
)
from engine.config.hwa import WeightModifier
from engine.tile.mvm import STREAMS
from engine.tile.settings import IO, TileSpec
from engine.tile.tile import Tile
from tests.exact.algorithms.test_naive_modifier import CASES as MODIFIERS
from tests.exact.test_naive_mvm import CASES as PERIPHERIES
from tests.naive import modifier as naive
from tests.naive.draws import Source
from tests.naive.mvm import NaiveProduct

OUT, IN, BATCH, CALL = 35, 141, 3, 7
NOISE = {"type": "AddNormal", "std_dev": 0.1}
DIRECTIONS = ["forward", "backward"]


class Case:
    """A tile, its own weights for every vector, and the slow version of its reads."""

    def __init__(self, io: IO, modifier: WeightModifier, direction: str) -> None:
        self.io, self.modifier, self.direction = io, modifier, direction
        self.tile = Tile(OUT, IN, TileSpec(forward=io, backward=io), seed=3, tile_id=4)
        self.tile.array.set_weights(
            0.4 * torch.randn(OUT, IN, generator=torch.Generator().manual_seed(1))
        )
        noise = PerSampleNoise(
            self.tile.array, modifier, call=CALL, stream=TRAINING_STREAM
        )
        self.view = WeightOverride(self.tile.array, self.tile.weight.detach(), noise)
        self.tile.eval()

    def inputs(self, batch: int) -> torch.Tensor:
        size = IN if self.direction == "forward" else OUT
        return torch.randn(batch, size, generator=torch.Generator().manual_seed(2))

    def read(self, x: torch.Tensor) -> np.ndarray:
        read = self.tile.mvm if self.direction == "forward" else self.tile.mvm_t
        return read(x, self.view).numpy()

    def slow(self, x: torch.Tensor, sample: int) -> np.ndarray:
        """What vector number `sample` gives."""
        low, high = (int(v) & 0xFFFFFFFF for v in self.tile.array.control[0, :2])
        source, weight = Source((low, high), CALL), self.tile.weight.detach().numpy()
        own = naive.modify(weight, self.modifier, source, TRAINING_STREAM, sample)
        if self.io.is_perfect:
            return own @ x[sample].numpy()
        product = NaiveProduct(self.io, own, (low, high), self.direction == "forward")
        stream = STREAMS[self.direction, False]  # type: ignore[index]
        return product.read(
            x[sample : sample + 1].numpy(), self.tile.read_calls, stream, first=sample
        )[0]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    "name", [name for name in PERIPHERIES if name != "average"]
)  # vectors depend on earlier ones
def test_every_periphery(name: str, direction: str) -> None:
    case = Case(IO(**PERIPHERIES[name]), WeightModifier(**NOISE), direction)
    x = case.inputs(BATCH)
    found = case.read(x)
    for sample in range(BATCH):
        np.testing.assert_array_equal(found[sample], case.slow(x, sample))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", MODIFIERS)
def test_every_modifier(name: str, direction: str) -> None:
    case = Case(IO(out_noise=0.0), WeightModifier(**MODIFIERS[name]), direction)
    x = case.inputs(BATCH)
    found = case.read(x)
    for sample in range(BATCH):
        np.testing.assert_array_equal(found[sample], case.slow(x, sample))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("io", [IO(is_perfect=True), IO()], ids=["perfect", "default"])
def test_a_batch_in_parts_and_threads(io: IO, threads: int) -> None:
    case, before = Case(io, WeightModifier(**NOISE), "forward"), torch.get_num_threads()
    x = case.inputs(2000)
    torch.set_num_threads(threads)
    found = case.read(x)
    torch.set_num_threads(before)
    for sample in (0, 63, 1858, 1859, 1999):  # 2^18 / 141 vectors are converted at once
        if io.is_perfect:
            np.testing.assert_allclose(
                found[sample], case.slow(x, sample), rtol=1e-4, atol=1e-4
            )
        else:
            np.testing.assert_array_equal(found[sample], case.slow(x, sample))
