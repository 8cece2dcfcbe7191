"""Reads through wires against a simulation that solves every column anew at every moment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from engine.inference import Converter, InferenceSpec, program
from engine.inference.settings import Wires
from engine.settings import UserError
from engine.tile.settings import IO, DeviceSpec, TileSpec
from engine.tile.tile import Tile

OUT, IN, BATCH = 5, 22, 3
QUIET: dict[str, Any] = {
    "out_noise": 0.0,
    "out_res": -1.0,
    "out_bound": 100.0,
    "bound_management": "None",
}
PAIRS = Converter("dual_pair", significance=[1.0, 3.0], g_min=0.5)


def tile_of(**io: Any) -> Tile:
    tile = Tile(
        OUT,
        IN,
        TileSpec(
            device=DeviceSpec("ideal"), forward=IO(**QUIET | {"inp_res": 1 / 62} | io)
        ),
    )
    generator = np.random.default_rng(1)
    tile.array.set_weights(
        torch.from_numpy(generator.normal(0, 0.3, (OUT, IN)).astype(np.float32))
    )
    return tile.eval()


def vectors() -> np.ndarray:
    x = np.random.default_rng(2).uniform(-1, 1, (BATCH, IN))
    x[:, 0] = 1.0  # the scale of the inputs is 1, so that their steps are known
    return x.astype(np.float32)


def column(g: np.ndarray, x: np.ndarray, times: np.ndarray, wires: Wires) -> np.ndarray:
    """Currents at all times of one column of cells g [rows, 2] in the order from its far end to its
    ADC."""
    length = len(g) // wires.segments
    wire = 1e-6 * wires.resistance * length
    on = (np.abs(x) > times[:, None] + 1e-6) * np.sign(x)  # [T, rows]
    driven = 0.4 * g.sum(1) + 0.2 * on * (g[:, 0] - g[:, 1])
    current = driven.reshape(len(times), wires.segments, length).sum(2)
    total = g.sum(1).reshape(wires.segments, length).sum(1)
    # Nodes in a chain: the far end first; the last one is held at v_read behind half a wire.
    n = wires.segments
    between = 1 / max(wire, 1e-12)
    matrix = np.diag(total)
    for k in range(n - 1):
        matrix[k, k] += between
        matrix[k + 1, k + 1] += between
        matrix[k, k + 1] -= between
        matrix[k + 1, k] -= between
    end = 2 * between
    matrix[-1, -1] += end
    source = current.copy()
    source[:, -1] += end * wires.v_read
    voltage = np.linalg.solve(matrix, source.T).T
    return (voltage[:, -1] - wires.v_read) * end


def simulated(
    tile: Tile, x: np.ndarray, wires: Wires, seen: np.ndarray, gain: float
) -> np.ndarray:
    """y [B, O] of inputs on the steps of the DAC."""
    steps = int(32 * wires.time_scale)
    times = np.linspace(0, 1, steps)
    rows = wires.rows or -(-IN // wires.segments) * wires.segments
    before = (rows - IN) // 2
    y = np.zeros((len(x), OUT))
    for b in range(len(x)):
        inputs = np.zeros(rows)
        inputs[before : before + IN] = np.round(x[b] * 31) / 31
        for o in range(OUT):
            for pair, factor in enumerate(PAIRS.significance):
                g = np.full((rows, 2), PAIRS.g_min)
                g[before : before + IN] = seen[2 * pair : 2 * pair + 2, o].T
                order = slice(None, None, -1) if o % 2 else slice(None)
                i = column(g[order].astype(np.float64), inputs[order], times, wires)
                charge = (
                    i.sum()
                    if wires.integration == "sum"
                    else i.sum() + (i[0] - i[-1]) / 2
                )
                if wires.adc_quantized:
                    charge = (
                        np.trunc(charge / 100 * wires.adc_frequency)
                        * 100
                        / wires.adc_frequency
                    )
                y[b, o] += factor * charge / (steps - 1) / 0.2 / gain
    return y


CASES: dict[str, dict[str, Any]] = {
    "as published": {"adc_quantized": False},
    "thin wires": {"resistance": 30.0, "adc_quantized": False},
    "trapezium": {
        "resistance": 30.0,
        "adc_quantized": False,
        "integration": "trapezium",
    },
    "finer time": {"resistance": 30.0, "adc_quantized": False, "time_scale": 3.0},
    "few segments": {"resistance": 30.0, "segments": 2, "adc_quantized": False},
    "as few rows as there can be": {
        "resistance": 30.0,
        "segments": 4,
        "rows": 0,
        "adc_quantized": False,
    },
    "ticks": {"resistance": 30.0, "adc_frequency": 0.7},
}


@pytest.mark.parametrize("name", CASES)
def test_reads(name: str) -> None:
    tile, x, wires = (
        tile_of(),
        vectors(),
        Wires(enabled=True, **{"rows": 32, **CASES[name]}),
    )
    programmed = program(
        [tile], InferenceSpec("none", converter=PAIRS, wires=wires, compensation="none")
    )
    conductances = programmed.tiles[0].conductances
    assert conductances.seen is not None
    expected = simulated(tile, x, wires, conductances.seen.numpy(), conductances.gain)
    found = tile.mvm(torch.from_numpy(x)).numpy()
    near = np.abs(found - expected) < 1e-4
    # A charge at the edge of a tick may fall on either side.
    assert near.all() if not wires.adc_quantized else near.mean() > 0.8


def test_passes_add_up_to_one_read() -> None:
    def read(mode: str, **wires: Any) -> torch.Tensor:
        tile = tile_of(mv_type=mode)
        spec = Wires(enabled=True, rows=32, adc_quantized=False, v_read=0.4, **wires)
        program([tile], InferenceSpec("none", converter=PAIRS, wires=spec))
        return tile.mvm(torch.from_numpy(vectors()))

    # Held at the voltage of a cell without input, a column draws nothing for those; then passes
    # differ by rounding.
    for resistance in (0.15, 30.0):
        whole = read("OnePass", resistance=resistance)
        for mode in ("SplitMode", "BitWise"):
            torch.testing.assert_close(
                read(mode, resistance=resistance), whole, atol=2e-4, rtol=1e-4
            )


def test_drift_reaches_the_wires_and_restore_takes_them_away() -> None:
    tile, x = tile_of(), torch.from_numpy(vectors())
    plain = tile.mvm(x)
    with program(
        [tile],
        InferenceSpec("pcm", wires=Wires(enabled=True, rows=32), compensation="none"),
    ) as programmed:
        early = tile.mvm(x)
        programmed.drift_to("1y")
        assert float(tile.mvm(x).abs().mean()) < 0.8 * float(early.abs().mean())
    assert torch.equal(tile.mvm(x), plain)


def test_what_cannot_be_read_through_wires() -> None:
    wires = Wires(enabled=True, rows=32)
    cases: list[tuple[dict[str, Any], InferenceSpec, str]] = [
        (
            {"bound_management": "Iterative"},
            InferenceSpec(wires=wires),
            "bound_management=None",
        ),
        ({"ir_drop": 1.0}, InferenceSpec(wires=wires), "ir_drop=0"),
        ({"is_perfect": True}, InferenceSpec(wires=wires), "mv_type"),
        ({"inp_res": 0.0}, InferenceSpec(wires=wires), "DAC with steps"),
        ({}, InferenceSpec("reram_cmo", wires=wires), "pairs of devices"),
        (
            {},
            InferenceSpec(wires=Wires(enabled=True, rows=16)),
            "at least as many rows",
        ),
        ({}, InferenceSpec(wires=Wires(enabled=True, rows=30)), "multiple of segments"),
    ]
    for io, spec, message in cases:
        with pytest.raises(UserError, match=message):
            program([tile_of(**io)], spec)


def expected_noise(g: np.ndarray, lasts: np.ndarray) -> np.ndarray:
    """Standard deviations [O] of the charges of cells g [O, I] in uS, read with inputs that last so
    many steps [I]."""
    rise = [0.00021926, -0.00187352, 0.00655714, -0.0146159, 0.02578764]
    level = [
        1.11906167e-9,
        -9.08576764e-9,
        3.07015063e-8,
        -6.77079241e-8,
        1.17763144e-7,
    ]
    of_mean = np.log10(lasts.mean())
    sigma = np.where(
        g == 0,
        0,
        np.polyval(rise, of_mean) * np.abs(g) + 1e6 * np.polyval(level, of_mean),
    )
    return np.asarray(np.sqrt((sigma**2 * lasts**2).sum(1)))


@pytest.mark.parametrize("converter", [Converter(), PAIRS])
@pytest.mark.parametrize("mode", ["OnePass", "SplitMode", "BitWise"])
def test_read_noise_is_that_of_each_vector(mode: str, converter: Converter) -> None:
    many, scale = 4000, 2.0
    tile = tile_of(mv_type=mode, noise_management="None")
    with torch.no_grad():
        tile.array.weight[0, :4] = 0.0
    spec = Wires(enabled=True, resistance=0.0, adc_quantized=False, read_noise=scale)
    programmed = program(
        [tile],
        InferenceSpec("none", converter=converter, wires=spec, compensation="none"),
    )
    conductances = programmed.tiles[0].conductances
    assert conductances.seen is not None
    seen = conductances.seen.numpy().astype(np.float64)
    x = torch.from_numpy(
        np.stack([np.full(IN, 1 / 31), np.linspace(-1, 1, IN)]).astype(np.float32)
    )
    y = tile.mvm(x.repeat_interleave(many, 0)).view(2, many, OUT)
    for vector, found in zip(x.numpy(), y.std(1).numpy(), strict=True):
        lasts = np.abs(np.round(vector * 31))
        if mode == "OnePass":
            parts = [(1, lasts)]
        elif mode == "SplitMode":
            parts = [(1, lasts % 8), (8, lasts // 8)]
        else:
            parts = [(2**k, lasts // 2**k % 2) for k in range(5)]
        pairs = [
            (f, seen[2 * k] - seen[2 * k + 1])
            for k, f in enumerate(converter.significance or [1.0])
        ]
        square = sum(
            (f * w * expected_noise(g, p)) ** 2
            for f, g in pairs
            for w, p in parts
            if p.any()
        )
        np.testing.assert_allclose(
            found, scale * np.sqrt(square) / 31 / conductances.gain, rtol=0.05
        )


def test_read_noise_of_a_vector_is_its_own() -> None:
    def tile_with(read_noise: float) -> Tile:
        tile, wires = (
            tile_of(noise_management="None"),
            Wires(enabled=True, rows=32, read_noise=read_noise),
        )
        program(
            [tile],
            InferenceSpec("none", converter=PAIRS, wires=wires, compensation="none"),
        )
        return tile

    x = torch.from_numpy(vectors())
    x[1] = 0.0
    noisy = tile_with(1.0)
    first = noisy.mvm(x)
    assert torch.equal(tile_with(1.0).mvm(x[:1]), first[:1])
    assert torch.equal(tile_with(0.0).mvm(x)[1], first[1])
    assert not torch.equal(noisy.mvm(x), first)
