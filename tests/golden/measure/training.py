"""E: linear regression by an analog tile, its error over epochs. All seeds train side by side, each
in a lane.

Steps are folded normal numbers: with dw_min_dtod 0.3 one cell in 10,000 has less than a hundredth
of a mean step and never learns. A third of all samples of 40 seeds with 100 cells hold one, and its
squared error is most of the mean. Standard errors of a sample without one know nothing of it; those
of a sample with one cover both. So `SETS` times as many seeds train, and each record is that of the
set at the lower quartile by standard deviation: the figures of a real sample of the asked size, and
rarely of one that a single cell decides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.golden import quirks
from tests.golden.algorithms import tile_spec
from tests.golden.figures import Array, Measurement, Record, figures, sample_at
from tests.golden.formula import evaluate, right_hand_side
from tests.golden.setups import Object, grid

# Where a set-up without records is looked at: the first epochs, and these shares of the training.
FIRST, SHARES = 3, (0.05, 0.1, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85, 1.0)
SETS, PLACE = 11, 0.25


def measure(setup: Object, seed: int, ids: Sequence[str] = ()) -> Measurement:
    """MSE, its logarithm and the error of the weights over seeds, at the epochs of the records
    `ids`."""
    x, target = regression(setup)
    seeds, epochs = setup["seeds"], epochs_of(ids, setup["epochs"])
    weights = dict(_train(setup, seed, (x, x @ target.T), epochs))
    sets: list[list[Record]] = [[] for _ in range(SETS)]
    for epoch in epochs:
        errors = _errors(
            weights[epoch] - target.astype(np.float64), x.astype(np.float64)
        )
        for number, records in enumerate(sets):
            for name, values in errors.items():
                drawn = values[number * seeds : (number + 1) * seeds]
                record = figures(list(drawn), floor=True, quantiles=name == "mse")
                records.append(
                    {"id": f"{name}/epoch{epoch}", "at": {"epoch": epoch}} | record
                )
    return Measurement(seeds, sample_at(PLACE, sets))


def epochs_of(ids: Sequence[str], last: int) -> list[int]:
    """The epochs after which the weights are looked at, from the ids of the records; without any,
    those of the public files."""
    found = {
        int(match[1]) for name in ids if (match := re.search(r"/epoch(\d+)$", name))
    }
    usual = {*range(FIRST), *(round(share * last) for share in SHARES)}
    return sorted(epoch for epoch in found or usual if epoch <= last)


def _errors(error: Array, x: Array) -> dict[str, Array]:
    """For every seed, from the errors of its weights [seed, out, in]."""
    mse = ((x @ error.transpose(0, 2, 1)) ** 2).mean(axis=(1, 2))
    return {
        "mse": mse,
        "log10mse": np.log10(mse),
        "w_rmse": np.sqrt((error**2).mean(axis=(1, 2))),
    }


def regression(
    setup: Object,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Inputs [samples, in] and target weights [out, in] from the formulas of the set-up."""
    sizes, data = setup["sizes"], setup["data"]
    formulas = {key[0]: text for key, text in data.items()}
    _, formula = right_hand_side(formulas["X"])
    rows = np.arange(sizes["samples"], dtype=np.float64)[:, None]
    columns = np.array(primes(sizes["in"]), dtype=np.float64)[None, :]
    x = evaluate(
        formula.partition(", p_j")[0],
        k=rows,
        p_j=columns,
        j=np.arange(sizes["in"])[None, :],
    )
    return np.asarray(x, np.float32), grid(formulas["T"], i=sizes["out"], j=sizes["in"])


def primes(number: int) -> list[int]:
    """The first primes."""
    found: list[int] = []
    candidate = 2
    while len(found) < number:
        if all(candidate % p for p in found):
            found.append(candidate)
        candidate += 1
    return found


def _train(
    setup: Object, seed: int, data: tuple[Any, Any], epochs: Sequence[int]
) -> Any:
    """Pairs of epoch and weights [set and seed, out, in] as the tile shows them."""
    import torch

    from engine.algorithms import find_algorithm
    from engine.tile.tile import Tile

    x, y = data
    spec, sizes, lanes = tile_spec(setup), setup["sizes"], SETS * setup["seeds"]
    lr = setup["lr"] if quirks.learns(setup["device"], setup["update"]) else 0.0
    with torch.no_grad():
        tile = Tile(sizes["out"], sizes["in"], spec, seed=seed, tile_id=1, lanes=lanes)
        algorithm = find_algorithm(spec.algorithm.name)
        state = algorithm.init(tile, spec)
        write = getattr(
            algorithm,
            "set_weights",
            lambda tile, state, weight: tile.array.set_weights(weight),
        )
        write(tile, state, torch.zeros_like(tile.weight))
        x_BI, y_BO = (
            torch.from_numpy(v).to(torch.get_default_device()) for v in (x, y)
        )
        yield 0, tile.weight.cpu().double().numpy()
        for epoch in range(1, setup["epochs"] + 1):
            for start in range(0, len(x), setup["batch"]):
                part = x_BI[start : start + setup["batch"]].expand(lanes, -1, -1)
                d = tile.mvm(part) - y_BO[start : start + setup["batch"]]
                algorithm.update(tile, state, part, d, lr)
                algorithm.end_of_batch(tile, state)
            if epoch in epochs:
                yield epoch, tile.weight.cpu().double().numpy()
