"""C: outputs of the analog product, forward or backward, for a few input vectors read again and
again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.golden.figures import Array, Measurement, Record, figures
from tests.golden.formula import evaluate
from tests.golden.setups import grid, settings

OUTPUTS = 6


def measure(setup: dict[str, Any], seed: int, ids: Sequence[str] = ()) -> Measurement:
    """Reads one batch, every vector repeated, on tiles whose frozen deviations differ."""
    tile = setup["tile"]
    weights = grid(setup["weights"], i=tile["out"], j=tile["in"]).astype(np.float64)
    if setup["direction"] == "backward":
        weights = weights.T
    vectors = np.stack([_vector(text, weights.shape[1]) for text in setup["inputs"]])
    exact = vectors.astype(np.float64) @ weights.T
    reads = [
        _read(setup, vectors, (seed, index + 1)) for index in range(tile["n_tiles"])
    ]
    outputs = outputs_of(ids, exact.shape[1])
    records: list[Record] = []
    for v in range(len(vectors)):
        for o in outputs:
            at = {"input": v, "output": o, "exact_product": float(f"{exact[v, o]:.6g}")}
            records.append(
                {"id": f"y/x{v}/out{o}", "at": at}
                | figures([y[v, :, o] for y in reads], floor=False)
            )
        at = {"input": v, "quantity": "y - exact product, over all outputs"}
        errors = [y[v] - exact[v] for y in reads]
        records.append(
            {"id": f"error/x{v}", "at": at}
            | figures(errors, floor=False, quantiles=True)
        )
    return Measurement(tile["n_tiles"], records)


def outputs_of(ids: Sequence[str], size: int) -> list[int]:
    """The outputs that are recorded one by one, from the ids of the records; without any, those of
    the public files."""
    found = {int(match[1]) for name in ids if (match := re.search(r"/out(\d+)$", name))}
    usual = set(np.linspace(0, size - 1, OUTPUTS).astype(int).tolist())
    return sorted(output for output in found or usual if output < size)


def _vector(text: str, size: int) -> Array:
    value = evaluate(text, k=np.arange(size), n=size)
    return np.broadcast_to(np.asarray(value, dtype=np.float32), (size,))


def _read(setup: dict[str, Any], vectors: Array, identity: tuple[int, int]) -> Array:
    """Outputs [vector, repeat, output] of one tile."""
    import torch

    from engine.tile.settings import IO, DeviceSpec, TileSpec
    from engine.tile.tile import Tile

    rows, columns, repeats = (setup["tile"][key] for key in ("out", "in", "repeats"))
    weights = torch.from_numpy(grid(setup["weights"], i=rows, j=columns))
    backward = setup["direction"] == "backward"
    periphery = settings(IO, setup["io"])
    # Only the periphery matters here: bounds far outside hold any weight exactly.
    wide = 2 * float(weights.abs().max()) + 1
    device = DeviceSpec(
        "constant_step",
        {"w_max": wide, "w_min": -wide, "w_max_dtod": 0.0, "w_min_dtod": 0.0},
    )
    spec = (
        TileSpec(device=device, backward=periphery)
        if backward
        else TileSpec(device=device, forward=periphery)
    )
    tile = Tile(rows, columns, spec, seed=identity[0], tile_id=identity[1])
    tile.array.set_weights(weights)
    tile.eval()
    batch = torch.from_numpy(np.repeat(vectors, repeats, axis=0)).to(tile.weight.device)
    outputs = tile.mvm_t(batch) if backward else tile.mvm(batch)
    return outputs.cpu().double().numpy().reshape(len(vectors), repeats, -1)
