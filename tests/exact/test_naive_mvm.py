"""The analog product agrees with the slow version in tests/naive bit by bit, and with torch's
product closely."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from engine.tile.mvm import STREAMS
from engine.tile.settings import IO, TileSpec
from engine.tile.tile import Tile
from tests.naive.mvm import NaiveProduct

OUT, IN, BATCH = 133, 70, 4  # more than a block of 128 outputs, and no multiple of 32
EIGHT_BITS: dict[str, Any] = {"inp_res": 1 / 254}
EVERYTHING: dict[str, Any] = {
    "w_noise": 0.02, "w_noise_type": "PCMRead", "ir_drop": 1.0, "ir_drop_g_ratio": 2e3, "v_offset_std": 0.05,
    "r_series": 0.02, "out_nonlinearity": 0.3, "out_nonlinearity_std": 0.4, "slope_calibration": 0.5,
    "out_noise_std": 0.3, "inp_noise": 0.02, "inp_asymmetry": 0.05, "out_asymmetry": 0.1, "w_read_asymmetry_dtod": 0.2,
}  # fmt: skip
ONE_PASS = {k: v for k, v in EVERYTHING.items() if k != "w_read_asymmetry_dtod"}
SPLIT = {
    k: v for k, v in ONE_PASS.items() if k not in ("inp_noise", "inp_asymmetry")
} | EIGHT_BITS

CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "retried": {"out_bound": 0.6},
    "worst_case": {"out_bound": 0.6, "bound_management": "IterativeWorstCase"},
    "worst_case_unmanaged": {
        "out_bound": 0.6,
        "bound_management": "IterativeWorstCase",
        "noise_management": "None",
    },
    "one_sided_test": {"out_bound": 0.6, "bm_test_negative_bound": False},
    "clearing": {
        "out_bound": 0.4,
        "bm_test_negative_bound": False,
        "bm_negative_hit_clears": True,
    },
    "no_start": {"out_bound": 0.6, "max_bm_res": 0.0},
    "few_rounds": {"out_bound": 0.1, "max_bm_factor": 2},
    "unmanaged": {
        "noise_management": "None",
        "bound_management": "None",
        "out_bound": 0.8,
    },
    "no_bounds": {
        "out_bound": -1.0,
        "out_res": -1.0,
        "noise_management": "None",
        "inp_bound": 0.0,
        "inp_res": 0.0,
    },
    "sums": {"noise_management": "AbsMaxNPSum", "out_bound": 2.0, "nm_thres": 1.5},
    "signed": {"noise_management": "Max"},
    "constant": {"noise_management": "Constant", "nm_thres": 0.7},
    "average": {"noise_management": "AverageAbsMax"},
    "stochastic": {
        "inp_sto_round": True,
        "out_sto_round": True,
        "inp_res": 20.0,
        "out_res": 30.0,
        "inp_noise": 0.1,
    },
    "additive": {"w_noise": 0.02, "w_noise_type": "AdditiveConstant"},
    "pcm_read": {"w_noise": 0.0175, "w_noise_type": "PCMRead"},
    "ir_drop": {"ir_drop": 1.0, "ir_drop_g_ratio": 3e3},
    "offsets": {"v_offset_std": 0.1, "v_offset_w_min": -0.4, "v_offset_positive": True},
    "no_reference": {"v_offset_std": 0.1, "v_offset_w_min": 0.0},
    "series": {"r_series": 0.05, "slope_calibration": 0.3},
    "curve": {
        "out_nonlinearity": 0.5,
        "out_nonlinearity_std": 0.3,
        "slope_calibration": 0.5,
    },
    "spread_noise": {"out_noise_std": 0.5, "out_scale": 0.5},
    "one_pass": ONE_PASS,
    "pos_neg": EVERYTHING | {"mv_type": "PosNegSeparate", "out_bound": 1.0},
    "pos_neg_digital": EVERYTHING
    | {"mv_type": "PosNegSeparateDigitalSum", "out_bound": 1.0},
    "split": SPLIT
    | {"mv_type": "SplitMode", "out_bound": 0.3, "split_mode_bit_shift": 4},
    "bit_wise": SPLIT | {"mv_type": "BitWise", "out_sto_round": True},
}


def vectors(size: int, seed: int) -> np.ndarray:
    """Normal numbers; one vector of zeros, one of negative numbers."""
    x = np.random.default_rng(seed).normal(size=(BATCH, size)).astype(np.float32)
    x[1], x[2] = 0, -np.abs(x[2])
    return x


def tile_of(io: IO, lanes: int = 1) -> Tile:
    tile = Tile(
        OUT, IN, TileSpec(forward=io, backward=io), seed=3, tile_id=4, lanes=lanes
    )
    weights = 0.4 * np.random.default_rng(1).normal(size=(OUT, IN)).astype(np.float32)
    tile.array.set_weights(torch.from_numpy(weights))
    return tile


def slow_of(tile: Tile, io: IO, direction: str) -> NaiveProduct:
    low, high = (int(v) & 0xFFFFFFFF for v in tile.array.control[0, :2])
    return NaiveProduct(
        io, tile.weight.detach().numpy(), (low, high), direction == "forward"
    )


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("name", CASES)
def test_reads(name: str, direction: str) -> None:
    io = IO(**CASES[name])
    tile = tile_of(io)
    tile.set_exact(True)
    slow = slow_of(tile, io, direction)
    for training in (True, False):
        tile.train(training)
        x = vectors(IN if direction == "forward" else OUT, seed=int(training))
        read = tile.mvm if direction == "forward" else tile.mvm_t
        call = 1 + (
            tile.array.get_extra_state()[0].item() if training else tile.read_calls
        )
        fast = read(torch.from_numpy(x)).numpy()
        np.testing.assert_array_equal(
            fast, slow.read(x, int(call), STREAMS[direction, training])
        )


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_a_gpu_reads_the_same_bits(name: str) -> None:
    tiles = []
    for where in ("cpu", "cuda"):
        with torch.device(where):
            tiles.append(tile_of(IO(**CASES[name])))
        tiles[-1].set_exact(True)
    for read, size in (("mvm", IN), ("mvm_t", OUT)):
        x = torch.from_numpy(vectors(size, 8))
        ours, theirs = (
            getattr(tile, read)(x.to(tile.weight.device)).cpu() for tile in tiles
        )
        assert torch.equal(ours.view(torch.int32), theirs.view(torch.int32)), read


@pytest.mark.parametrize("name", CASES)
def test_the_product_of_torch_gives_nearly_the_same(name: str) -> None:
    # Without converters a rounding error stays one; a retry would read with other noise.
    io = IO(
        **(
            CASES[name]
            | {
                "inp_res": CASES[name].get("inp_res", 0.0),
                "out_res": 0.0,
                "bound_management": "None",
            }
        )
    )
    exact, quick = tile_of(io), tile_of(io)
    exact.set_exact(True)
    x = torch.from_numpy(np.repeat(vectors(IN, 5), 40, axis=0))
    torch.testing.assert_close(quick.mvm(x), exact.mvm(x), rtol=1e-4, atol=2e-4)
    d = torch.from_numpy(np.repeat(vectors(OUT, 6), 40, axis=0))
    torch.testing.assert_close(quick.mvm_t(d), exact.mvm_t(d), rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("exact", [True, False])
def test_lanes_read_like_tiles_of_their_own(exact: bool) -> None:
    """A lane has a key of its own; with the key and spreads of a single tile it gives that tile's
    numbers."""
    io = IO(
        **(EVERYTHING | {"mv_type": "PosNegSeparate", "out_res": 0.0, "inp_res": 0.0})
    )
    pair, single = tile_of(io, lanes=2), tile_of(io)
    pair.set_exact(exact)
    single.set_exact(exact)
    x = torch.from_numpy(vectors(IN, 2))
    y = pair.mvm(torch.stack([x, x]))
    torch.testing.assert_close(y[0], single.mvm(x), rtol=1e-4, atol=2e-4)
    assert (y[0] - y[1]).abs().max() > 0.01


def test_frozen_spreads_are_state_only_where_they_are_used() -> None:
    plain, spread = (
        tile_of(IO()),
        tile_of(IO(**(EVERYTHING | {"mv_type": "PosNegSeparate"}))),
    )
    assert not [
        name for name in plain.state_dict() if "product" in name and "extra" not in name
    ]
    kept = spread.state_dict()
    assert kept["forward_product.frozen"].shape == (1, 4, OUT)
    assert kept["backward_product.frozen"].shape == (1, 4, IN)
    assert kept["backward_product.asymmetry"].shape == (OUT, IN)
    assert (
        kept["forward_product.asymmetry"] - kept["backward_product.asymmetry"]
    ).abs().max() > 0.1
    other = copy.deepcopy(spread)
    for name, value in other.state_dict().items():
        if "frozen" in name or "asymmetry" in name:
            assert torch.equal(value, kept[name])


REFUSED: dict[str, dict[str, Any]] = {
    "inp_bound": {"inp_bound": 0.5},
    "out_bound": {"out_bound": 0.0},
    "w_noise_type": {"w_noise": 0.1},
    "mv_type=PosNegSeparate": {"w_read_asymmetry_dtod": 0.1},
    "inp_res": {"mv_type": "BitWise", "inp_res": 1 / 100},
    "inp_noise": {"mv_type": "SplitMode", "inp_noise": 0.1},
    "split_mode_bit_shift": {"mv_type": "SplitMode", "split_mode_bit_shift": 6},
}


@pytest.mark.parametrize("word", REFUSED)
def test_contradictions_are_refused_in_one_line(word: str) -> None:
    with pytest.raises(ValueError, match=word) as refusal:
        TileSpec.from_config({"tile": {"backward": REFUSED[word]}})
    assert "tile.backward" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    TileSpec.from_config({"tile": {"backward": REFUSED[word] | {"is_perfect": True}}})
