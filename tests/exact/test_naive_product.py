"""The analog product agrees with the slow version in tests/naive, bit by bit, with all its noise
on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from engine.tile.cells import CellArray
from engine.tile.mvm import STREAMS, Product
from engine.tile.settings import IO, DeviceSpec
from tests.naive.draws import Source
from tests.naive.product import NaiveProduct

OUT, IN, SAMPLES = 35, 150, 4  # more than a block of 128 inputs, more than 32 outputs
# Without the steps of the ADC every bit of what comes before shows.
FINE = {"out_res": -1.0}
TIGHT = {"out_bound": 1.5, "out_noise": 0.02}

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "converters": {
        "inp_sto_round": True,
        "out_sto_round": True,
        "inp_noise": 0.05,
        "inp_asymmetry": 0.1,
    },
    "continuous": {"inp_res": -1.0, "out_res": -1.0, "out_asymmetry": 0.1},
    "unbounded": {
        "out_bound": -1.0,
        "out_res": -1.0,
        "inp_bound": -1.0,
        "inp_res": -1.0,
        "noise_management": "None",
    },
    "bound_management": TIGHT,
    "worst_case": TIGHT | {"bound_management": "IterativeWorstCase"},
    "worst_case_unmanaged": TIGHT
    | {"bound_management": "IterativeWorstCase", "noise_management": "None"},
    "unmanaged": TIGHT | {"bound_management": "None", "noise_management": "None"},
    "np_sum": {"noise_management": "AbsMaxNPSum"},
    "max": {"noise_management": "Max", "nm_thres": 1.5},
    "constant": {"noise_management": "Constant", "nm_thres": 2.0},
    "average": {"noise_management": "AverageAbsMax"},
    "negative_ignored": TIGHT | {"bm_test_negative_bound": False},
    "negative_clears": TIGHT
    | {"bm_test_negative_bound": False, "bm_negative_hit_clears": True},
    "spread_noise": FINE | {"out_noise_std": 0.4},
    "additive_noise": FINE | {"w_noise": 0.02, "w_noise_type": "AdditiveConstant"},
    "pcm_noise": FINE
    | {
        "w_noise": 0.0175,
        "w_noise_type": "PCMRead",
        "ir_drop": 1.0,
        "ir_drop_g_ratio": 1e3,
    },
    "offsets": FINE | {"v_offset_std": 0.1, "r_series": 0.01},
    "one_sign": FINE
    | {"v_offset_std": 0.1, "v_offset_positive": True, "v_offset_w_min": -0.5},
    "curve": FINE
    | {"out_nonlinearity": 0.3, "out_nonlinearity_std": 0.2, "slope_calibration": 0.5},
    "two_signs": FINE
    | {
        "mv_type": "PosNegSeparate",
        "w_read_asymmetry_dtod": 0.1,
        "ir_drop": 1.0,
        "ir_drop_g_ratio": 1e3,
    },
    "two_digital": FINE
    | {
        "mv_type": "PosNegSeparateDigitalSum",
        "w_noise": 0.02,
        "w_noise_type": "PCMRead",
    },
    "split": FINE | {"mv_type": "SplitMode", "inp_res": 1 / 126},
    "bits": FINE | {"mv_type": "BitWise", "inp_res": 1 / 30, "out_noise": 0.01},
}


def inputs() -> np.ndarray:
    """Vectors of different size, one of them zero, one negative throughout."""
    x = np.random.default_rng(3).normal(size=(SAMPLES, IN)).astype(np.float32)
    x[1] = 0.0
    x[2] = -np.abs(x[2]) * np.float32(0.1)
    return x


@pytest.mark.parametrize("forward", [True, False], ids=["forward", "backward"])
@pytest.mark.parametrize("name", SETTINGS)
def test_reads_equal_the_slow_version(name: str, forward: bool) -> None:
    shape = (OUT, IN) if forward else (IN, OUT)
    array = CellArray(*shape, DeviceSpec("constant_step"), seed=8)
    start = np.random.default_rng(4).normal(scale=0.3, size=shape)
    array.set_weights(torch.from_numpy(start.astype(np.float32)))
    key = (int(array.control[0, 0]) & 0xFFFFFFFF, int(array.control[0, 1]) & 0xFFFFFFFF)
    weight, direction = (
        array.weight.detach().numpy(),
        "forward" if forward else "backward",
    )
    fast = Product(IO(**SETTINGS[name]), direction, array)
    fast.exact = True
    slow = NaiveProduct(
        IO(**SETTINGS[name]), weight if forward else weight.T, key, forward
    )
    for call in (1, 2):
        x = inputs() * np.float32(call)
        y = fast.read(torch.from_numpy(x), array, call=call, training=True).numpy()
        expected = [
            slow.read(row, Source(key, call), STREAMS[direction, True], sample)
            for sample, row in enumerate(x)
        ]
        np.testing.assert_array_equal(y, np.stack(expected))


@pytest.mark.parametrize("forward", [True, False], ids=["forward", "backward"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (5, 31), (67, 33), (10, 160), (130, 64), (700, 760), (7, 2085)]
)
def test_vectors_of_a_batch_are_multiplied_as_alone(
    shape: tuple[int, int], forward: bool
) -> None:
    array = CellArray(*shape, DeviceSpec("constant_step"), seed=8)
    array.set_weights(
        torch.from_numpy(
            np.random.default_rng(4).normal(scale=0.3, size=shape).astype(np.float32)
        )
    )
    direction = "forward" if forward else "backward"
    still = Product(IO(out_noise=0.0, out_res=-1.0, out_bound=-1.0), direction, array)
    exact = Product(IO(is_perfect=True), direction, array)
    exact.exact = True
    x = torch.from_numpy(
        np.random.default_rng(5)
        .integers(-63, 64, (70, shape[forward]))
        .astype(np.float32)
        / 64
    )
    for size in (*range(1, 10), 64):
        together = still.read(x[:size], array, call=1, training=True)
        alone = torch.cat(
            [still.read(row[None], array, call=1, training=True) for row in x[:size]]
        )
        assert torch.equal(together, alone)
    # Without noise management and rounding what is left is the product itself, by the kernel that
    # takes vectors singly.
    plain = Product(
        IO(out_noise=0.0, out_res=-1.0, out_bound=-1.0, inp_res=-1.0, noise_management="None", bound_management="None"),
        direction, array,
    )  # fmt: skip
    plain.exact = True
    assert torch.equal(
        plain.read(x, array, call=1, training=True),
        exact.read(x, array, call=1, training=True),
    )


WIRES = FINE | {"ir_drop": 1.0, "ir_drop_g_ratio": 1e3}
SECTIONS: dict[str, dict[str, Any]] = {
    "one_pass": WIRES | {"w_noise": 0.0175, "w_noise_type": "PCMRead"},
    "two_passes": WIRES | {"mv_type": "PosNegSeparate"},
    "split": FINE | {"mv_type": "SplitMode", "inp_res": 1 / 126},
}


@pytest.mark.parametrize("forward", [True, False], ids=["forward", "backward"])
@pytest.mark.parametrize(
    ("size", "batch", "lanes"),
    [
        ((70, 141), 400, 1),
        ((64, 300), 67, 2),
        ((1300, 5), 65, 1),
        ((16, 30), 83, 1),
        ((32, 16), 77, 2),
    ],
)
@pytest.mark.parametrize("name", SECTIONS)
def test_panels_make_the_same_products(
    name: str, size: tuple[int, int], batch: int, lanes: int, forward: bool
) -> None:
    array = CellArray(*size, DeviceSpec("constant_step"), seed=8, lanes=lanes)
    lead = (lanes,) if lanes > 1 else ()
    draw = np.random.default_rng(4)
    array.set_weights(
        torch.from_numpy(draw.normal(scale=0.3, size=(*lead, *size)).astype(np.float32))
    )
    x = torch.from_numpy(
        draw.normal(size=(*lead, batch, size[forward])).astype(np.float32)
    )
    read = Product(IO(**SECTIONS[name]), "forward" if forward else "backward", array)
    found, before = [], torch.get_num_threads()
    for number in (1, 3):
        torch.set_num_threads(number)
        found.append(read.read(x, array, call=1, training=True))
    torch.set_num_threads(before)
    assert torch.equal(*found)
    read.exact = True
    expected = read.read(x, array, call=1, training=True)
    if forward:
        torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-4)
    else:
        assert torch.equal(found[0], expected)  # there both add up in the same order
