"""F: weights as hardware-aware training meets them in a mini-batch, and weights after clip and
remap."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.exchange.aihwkit import released
from tests.golden.figures import Array, Measurement, Record, figures
from tests.golden.setups import grid, settings


def measure(setup: dict[str, Any], seed: int) -> Measurement:
    """The disturbed weights of every row, or the weights and scales that one end of a mini-batch
    leaves."""
    return _modified(setup, seed) if "modifier" in setup else _settled(setup, seed)


def _modified(setup: dict[str, Any], seed: int) -> Measurement:
    import torch

    from engine.config.hwa import WeightModifier

    torch_tile = setup["tile_type"] == "torch"
    values = setup["modifier"] if torch_tile else released.modifier(setup["modifier"])
    modifier = settings(WeightModifier, values)
    if torch_tile:
        modifier.convention, modifier.per_forward = "Torch", True
    rows = np.array(setup["rows"], dtype=np.float32)
    weights = torch.from_numpy(np.repeat(rows[:, None], setup["ncol"], axis=1))
    reads = []
    for number in range(setup["tile"]["n_tiles"]):
        tile = _tile(weights, seed, number + 1, modifier=modifier)
        reads.append(np.stack([_read(tile) for _ in range(setup["tile"]["repeats"])]))
        if not torch.equal(tile.get_weights().cpu(), weights):
            raise AssertionError("the stored weights changed")
    records = [
        {"id": f"w_mod/target{row:+.4f}", "at": {"row": k, "target_weight": float(row)}}
        | figures([read[:, k] for read in reads], floor=True, quantiles=True)
        for k, row in enumerate(setup["rows"])
    ]
    return Measurement(len(reads), records)


def _settled(setup: dict[str, Any], seed: int) -> Measurement:
    import torch

    from engine.config.hwa import WeightClip, WeightRemap

    clip, remap = (
        settings(WeightClip, setup["clip"]),
        settings(WeightRemap, setup["remap"]),
    )
    weights = torch.from_numpy(
        grid(setup["weights"], i=setup["tile"]["out"], j=setup["tile"]["in"])
    )
    tile = _tile(weights, seed, 1, clip=clip, remap=remap)
    tile.settle()
    analog = tile.tile.weight.detach().cpu().double().numpy()
    found = {
        "analog_weights": analog,
        "logical_weights": tile.get_weights().cpu().double().numpy(),
    }
    if remap.type != "None":
        found["scales"] = tile.scale.cpu().double().numpy()
    records: list[Record] = [
        {"id": "analog_weight_abs"} | figures([np.abs(analog)], floor=False)
    ]
    records += [
        {"id": name, "exact": _told(value.tolist()), "atol": 2e-6}
        for name, value in found.items()
    ]
    return Measurement(1, records)


def _told(values: Any) -> Any:
    """With six digits, as the reference files have them."""
    return (
        [_told(v) for v in values]
        if isinstance(values, list)
        else float(f"{values:.6g}")
    )


def _tile(weights: Any, seed: int, number: int, **parts: Any) -> Any:
    from engine.nn.analog import AnalogTile
    from engine.tile.settings import IO, AlgorithmSpec, DeviceSpec, TileSpec

    spec = TileSpec(
        DeviceSpec("ideal"), AlgorithmSpec("hwa"), forward=IO(is_perfect=True), **parts
    )
    rows, columns = weights.shape
    tile = AnalogTile(rows, columns, spec, seed=seed, tile_id=number)
    tile.set_weights(weights.to(tile.tile.weight.device))
    return tile


def _read(tile: Any) -> Array:
    """The weights [out, in] that the forward pass of the next mini-batch meets."""
    import torch

    tile.settle()
    with torch.no_grad():
        columns = tile(
            torch.eye(tile.tile.array.in_size, device=tile.tile.weight.device)
        )
    found: Array = columns.T.cpu().double().numpy()
    return found
