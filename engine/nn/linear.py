"""A fully connected layer on analog tiles."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from engine.nn.layer import AnalogLayer, Matrix
from engine.tile.settings import TileSpec


class AnalogLinear(AnalogLayer):
    """y = x W^T + b on analog tiles: x [.., in_features] gives y [.., out_features].

    `tile` says what the tiles are made of (`engine.presets.preset`); `seed` fixes devices and
    noise."""

    digital = nn.Linear

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        tile: TileSpec | str,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.place(
            {"grid": Matrix((out_features, in_features))},
            bias=bias,
            tile=tile,
            seed=seed,
        )

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"AnalogLinear takes x [.., {self.in_features}], not {list(x.shape)}"
            )
        # Past nn.Module's own search for attributes, which takes longer than a small product.
        y: Tensor = self._modules["grid"](x)  # type: ignore[misc]
        return y

    @classmethod
    def settings_of(cls, layer: nn.Linear) -> dict[str, Any]:
        return {
            "in_features": layer.in_features,
            "out_features": layer.out_features,
            "bias": layer.bias is not None,
        }

    def digital_settings(self) -> dict[str, Any]:
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": self.grid.has_bias,
        }

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.grid.has_bias}"
