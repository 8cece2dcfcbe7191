"""A small example of every layer that stands for one of torch's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.nn import (
    AnalogConv1d,
    AnalogConv2d,
    AnalogConv3d,
    AnalogGRU,
    AnalogLayer,
    AnalogLinear,
    AnalogLSTM,
    AnalogMultiheadAttention,
    AnalogRNN,
    layer_types,
)
from engine.optim import AnalogSGD
from engine.tile.settings import TileSpec


@dataclass(frozen=True)
class Example:
    """Arguments of a layer, and the shape of one sample."""

    settings: dict[str, Any]
    sample: tuple[int, ...]


STACKED = {"num_layers": 2, "bidirectional": True, "batch_first": True}
EXAMPLES: dict[type[AnalogLayer], Example] = {
    AnalogLinear: Example({"in_features": 7, "out_features": 5}, (7,)),
    AnalogConv1d: Example(
        {
            "in_channels": 4,
            "out_channels": 6,
            "kernel_size": 3,
            "stride": 2,
            "padding": 1,
            "groups": 2,
        },
        (4, 9),
    ),
    AnalogConv2d: Example(
        {"in_channels": 3, "out_channels": 4, "kernel_size": (3, 2), "padding": 1},
        (3, 6, 5),
    ),
    AnalogConv3d: Example(
        {"in_channels": 2, "out_channels": 3, "kernel_size": 2, "dilation": (1, 2, 1)},
        (2, 4, 5, 3),
    ),
    AnalogRNN: Example({"input_size": 4, "hidden_size": 3, **STACKED}, (5, 4)),
    AnalogLSTM: Example({"input_size": 4, "hidden_size": 3, **STACKED}, (3, 4)),
    AnalogGRU: Example({"input_size": 4, "hidden_size": 3, **STACKED}, (4, 4)),
    AnalogMultiheadAttention: Example(
        {"embed_dim": 8, "num_heads": 2, "batch_first": True}, (3, 8)
    ),
}
LAYERS = layer_types()
NOISY = {
    "device": {
        "model": "soft_bounds",
        "dw_min": 0.01,
        "lifetime": 100.0,
        "diffusion": 0.001,
        "write_noise_std": 0.5,
    },
    "tile": {"mapping": {"weight_scaling_omega": 0.6, "learn_out_scaling": True}},
}
PERFECT = {
    "device": {"model": "ideal"},
    "tile": {
        "forward": {"is_perfect": True},
        "backward": {"is_perfect": True},
        "update": {"pulse_type": "None"},
    },
}


def spec(base: dict[str, Any], **mapping: Any) -> TileSpec:
    """Settings of tiles, with changes of the mapping."""
    tile = base.get("tile", {})
    return TileSpec.from_config(
        {**base, "tile": {**tile, "mapping": {**tile.get("mapping", {}), **mapping}}}
    )


def make(
    kind: type[AnalogLayer], base: dict[str, Any], *, seed: int = 3, **mapping: Any
) -> AnalogLayer:
    """The example of a layer; torch's generator decides its start."""
    torch.manual_seed(seed)
    return kind(**EXAMPLES[kind].settings, tile=spec(base, **mapping))  # type: ignore[call-arg]


def batch(kind: type[AnalogLayer], size: int = 4, *, seed: int = 5) -> Tensor:
    """Samples for the example of a layer."""
    return torch.randn(
        size, *EXAMPLES[kind].sample, generator=torch.Generator().manual_seed(seed)
    )


def call(layer: nn.Module, x: Tensor) -> Tensor:
    """The output of a layer, or of torch's, for x alone."""
    if isinstance(layer, AnalogMultiheadAttention | nn.MultiheadAttention):
        return layer(x, x, x, need_weights=False)[0]
    y = layer(x)
    return y[0] if isinstance(y, tuple) else y


def twin_of(layer: AnalogLayer) -> nn.Module:
    """Torch's layer with the same weights."""
    twin = layer.digital(**EXAMPLES[type(layer)].settings)
    twin.load_state_dict(layer.logical_weights())
    return twin


def step(layer: nn.Module, *inputs: Tensor, lr: float = 0.1) -> Tensor:
    """One step with a loss over all inputs; returns the outputs, one after another."""
    optimizer = AnalogSGD(layer.parameters(), lr=lr)
    optimizer.zero_grad()
    outputs = [call(layer, x) for x in inputs]
    sum((y.float() ** 2).sum() for y in outputs).backward()  # type: ignore[union-attr]
    optimizer.step()
    return torch.cat([y.detach() for y in outputs])


def weights(layer: AnalogLayer) -> Tensor:
    """All weights and biases in one row."""
    return torch.cat([value.flatten() for value in layer.logical_weights().values()])
