"""Programming, drift, compensation and reads through wires give the same bits on a GPU as on a
CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.inference import Converter, InferenceSpec, program
from engine.inference.base import noise_model_names
from engine.inference.settings import Wires
from engine.tile.settings import IO, DeviceSpec, TileSpec
from engine.tile.tile import Tile

pytestmark = pytest.mark.gpu
OUT, IN = 9, 44


def steps(where: str, spec: InferenceSpec, io: IO, **tile: Any) -> list[torch.Tensor]:
    """Weights after programming and at two times, factors, and a read in a fixed order."""
    with torch.device(where):
        made = Tile(
            OUT,
            IN,
            TileSpec(device=DeviceSpec("ideal"), forward=io),
            seed=3,
            tile_id=5,
            **tile,
        )
    weights = torch.randn(OUT, IN, generator=torch.Generator().manual_seed(1)).to(where)
    made.array.set_weights(weights)
    made.eval().set_exact(True)
    programmed = program([made], spec, seed=2)
    found = [made.weight.detach().clone()]
    for time in ("10s", "1d"):
        programmed.drift_to(time)
        found += [
            made.weight.detach().clone(),
            *(f for f in programmed.factors if f is not None),
        ]
    x = torch.randn(3, IN, generator=torch.Generator().manual_seed(4)).to(where)
    found.append(
        made.mvm(
            x.expand(made.array.lanes, 3, IN).contiguous()
            if made.array.lanes > 1
            else x
        )
    )
    return [v.cpu() for v in found]


def assert_same(spec: InferenceSpec, io: IO, **tile: Any) -> None:
    for k, (ours, theirs) in enumerate(
        zip(
            steps("cpu", spec, io, **tile), steps("cuda", spec, io, **tile), strict=True
        )
    ):
        assert torch.equal(ours.view(torch.int32), theirs.view(torch.int32)), k


@pytest.mark.parametrize("reconvert", [False, True])
@pytest.mark.parametrize("model", noise_model_names())
def test_noise_models(model: str, reconvert: bool) -> None:
    assert_same(InferenceSpec(model, reconvert=reconvert), IO())


@pytest.mark.parametrize("compensation", ["exact_reference", "per_column", "none"])
def test_compensations_and_lanes(compensation: str) -> None:
    spec = InferenceSpec(
        compensation=compensation, programming="write_verify", verify_rounds=4
    )
    assert_same(spec, IO(), lanes=3)


def test_converters() -> None:
    pairs = Converter("n_pair", significance=[1.0, 2.0, 4.0], g_min=0.5)
    tables = [[0.0, 5.0, 15.0], [15.0, 5.0, 0.0]]
    for converter in (
        pairs,
        Converter("custom_pair", significance=[1.0], tables=tables),
    ):
        assert_same(InferenceSpec(converter=converter), IO())


@pytest.mark.parametrize("read_noise", [0.0, 1.0])
def test_wires(read_noise: float) -> None:
    io = IO(bound_management="None", inp_res=1 / 62)
    spec = InferenceSpec(wires=Wires(enabled=True, rows=48, read_noise=read_noise))
    for ours, theirs in zip(
        steps("cpu", spec, io), steps("cuda", spec, io), strict=True
    ):
        torch.testing.assert_close(
            ours, theirs, atol=0.05, rtol=1e-4
        )  # torch's product; ticks of the ADC may differ
