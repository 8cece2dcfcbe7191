"""B: the weight change of one pulsed update, over cells of alike products of x and d, and its
common part."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.exchange.aihwkit.released import without_pulses
from tests.golden.figures import Array, Measurement, Record, figures, from_sums, sums
from tests.golden.setups import device_spec, grid, settings

Vectors = npt.NDArray[np.float32]


def measure(setup: dict[str, Any], seed: int) -> Measurement:
    """Repeats set-to-zero and one update call; every tile has devices of its own."""
    tile = setup["tile"]
    x, d = vectors(setup)
    product = d.astype(np.float64).T @ x.astype(np.float64)
    bins = np.searchsorted(setup["bin_edges"], product.ravel(), side="right") - 1
    # Judged by the first vector: later ones of the batch lie elsewhere.
    row = int(np.abs(d[0]).argmax())
    sign = np.sign(product).ravel()
    in_row = np.arange(product.size) // product.shape[1] == row
    per_bin: list[list[Array]] = [[] for _ in setup["bin_edges"][1:]]
    whole, rows = [], []
    for index in range(tile["n_tiles"]):
        change = _changes(setup, x, d, (seed, index + 1))
        for number, values in enumerate(per_bin):
            values.append(change[:, bins == number])
        whole.append((change * sign).mean(axis=1))
        rows.append((change * sign)[:, in_row].mean(axis=1))
    records = [
        _bin_record(setup, product, number, values)
        for number, values in enumerate(per_bin)
    ]
    records += [
        {
            "id": "tile_mean_signed",
            "at": {
                "quantity": "mean of dw*sign(product) over all devices, per update call"
            },
        }
        | figures(whole, floor=False),
        {
            "id": "row_mean_signed",
            "at": {"row": row, "quantity": "the same over one output row"},
        }
        | figures(rows, floor=False),
    ]
    return Measurement(tile["n_tiles"], records)


def vectors(setup: dict[str, Any]) -> tuple[Vectors, Vectors]:
    """x [batch, in] and d [batch, out] from the formulas of the set-up."""
    sizes = {"x": ("j", setup["tile"]["in"]), "d": ("i", setup["tile"]["out"])}
    found: dict[str, Vectors] = {}
    for key, formula in setup["x_d_formulas"].items():
        index, size = sizes[key[0]]
        found[key[0]] = grid(formula, **{"b": setup["batch"], index: size})
    return found["x"], found["d"]


def _changes(
    setup: dict[str, Any], x: Vectors, d: Vectors, identity: tuple[int, int]
) -> Array:
    """Weight change [repeat, cell] of one tile."""
    import torch

    from engine.tile.cells import CellArray
    from engine.tile.settings import Update

    tile, update = setup["tile"], settings(Update, setup["update"])
    lr = 0.0 if without_pulses(setup["update"]) else setup["lr"]
    rows, columns = tile["out"], tile["in"]
    cells = CellArray(
        rows,
        columns,
        device_spec(setup["device"]),
        seed=identity[0],
        tile_id=identity[1],
    )
    zero, x_BI, d_BO = (
        torch.zeros(rows, columns),
        torch.from_numpy(x),
        torch.from_numpy(d),
    )
    changes = torch.empty(tile["repeats_per_tile"], rows, columns)
    for repeat in range(tile["repeats_per_tile"]):
        cells.set_weights(zero)
        cells.update(x_BI, d_BO, lr, update)
        changes[repeat] = cells.weight.detach()
    return changes.cpu().double().reshape(len(changes), -1).numpy()


def _bin_record(
    setup: dict[str, Any], product: Array, number: int, values: list[Array]
) -> Record:
    low, high = setup["bin_edges"][number : number + 2]
    at = {
        "bin": number,
        "product_from": low,
        "product_to": high,
        "devices_in_bin": values[0].shape[1],
    }
    if values[0].size:
        inside = product[(product >= low) & (product < high)]
        at["expected_ideal_mean"] = float(f"{-setup['lr'] * inside.mean():.6g}")
    return {"id": f"dw/bin{number}", "at": at} | from_sums(sums(values), floor=False)
