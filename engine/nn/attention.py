"""Multi-head attention whose four projections lie on analog tiles.

It stands for `torch.nn.MultiheadAttention` in transformers: same arguments, inputs and outputs.
Shapes: T queries, S keys, B samples, E = embed_dim; [T, B, E], [B, T, E] with batch_first, or
[T, E]."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.nn.layer import AnalogLayer, Matrix
from engine.tile.inputs import check_plain
from engine.tile.settings import TileSpec

ARGUMENTS = (
    "embed_dim",
    "num_heads",
    "dropout",
    "add_zero_attn",
    "kdim",
    "vdim",
    "batch_first",
)
# Names of the grids of the three inputs, and what an error calls them.
INPUTS = {"q": "query", "k": "key", "v": "value"}


class AnalogMultiheadAttention(AnalogLayer):
    """torch.nn.MultiheadAttention on analog tiles: one grid each for queries, keys, values and the
    output.

    Products of activations with each other (queries with keys, weights with values) stay digital.
    """

    digital = nn.MultiheadAttention
    # Encoders take a shortcut past their layers if these two look as in torch's layer.
    in_proj_bias = None
    _qkv_same_embed_dim = False

    bias_k: Tensor | None
    bias_v: Tensor | None

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        tile: TileSpec | str,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(
                f"embed_dim must be a multiple of num_heads, not {embed_dim} and {num_heads}"
            )
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.kdim = kdim or embed_dim
        self.vdim = vdim or embed_dim
        self.dropout = dropout
        self.bias = bias
        self.add_zero_attn = add_zero_attn
        self.batch_first = batch_first
        self.place(self._matrices_as_torch(), bias=bias, tile=tile, seed=seed)
        for name in ("bias_k", "bias_v"):
            parameter = None
            if add_bias_kv:
                start = torch.empty(1, 1, embed_dim, dtype=torch.float32)
                parameter = nn.Parameter(nn.init.xavier_normal_(start))
            self.register_parameter(name, parameter)

    def _matrices_as_torch(self) -> dict[str, Matrix]:
        """The four matrices under torch's names: one parameter holds the first three where they
        have the same shape."""
        size = self.embed_dim
        same = self.kdim == self.vdim == size
        matrices = {}
        for name, inputs in {"q": size, "k": self.kdim, "v": self.vdim}.items():
            weight, rows = f"{name}_proj_weight", size
            if same:
                weight, rows = "in_proj_weight", 3 * size
            # Xavier's uniform distribution for the parameter that torch has, not for the part of it.
            bound = (6 / (inputs + rows)) ** 0.5
            matrices[name] = Matrix(
                (size, inputs),
                weight,
                "in_proj_bias",
                bound,
                bias_bound=0.0,
            )
        matrices["out"] = Matrix(
            (size, size),
            "out_proj.weight",
            "out_proj.bias",
            bias_bound=0.0,
        )
        return matrices

    def forward(  # noqa: PLR0913, PLR0917
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        inputs = {"q": query, "k": key, "v": value}
        self._check(inputs)
        batch_first = self.batch_first and query.dim() == 3
        projected = {}
        for name, x in inputs.items():
            part = self.get_submodule(name)(x.to(torch.float32))
            projected[name] = part.transpose(0, 1) if batch_first else part

        # All that follows the projections, masks above all, is torch's. Its own projections must
        # change nothing: products with 1 and sums with 0 are exact.
        identity = torch.eye(self.embed_dim, dtype=torch.float32, device=query.device)
        with torch.autocast(query.device.type, enabled=False):
            attended, weights = functional.multi_head_attention_forward(
                projected["q"],
                projected["k"],
                projected["v"],
                self.embed_dim,
                self.num_heads,
                in_proj_weight=None,
                in_proj_bias=None,
                bias_k=_in_float32(self.bias_k),
                bias_v=_in_float32(self.bias_v),
                add_zero_attn=self.add_zero_attn,
                dropout_p=self.dropout,
                out_proj_weight=identity,
                out_proj_bias=None,
                training=self.training,
                key_padding_mask=_in_float32(key_padding_mask),
                need_weights=need_weights,
                attn_mask=_in_float32(attn_mask),
                use_separate_proj_weight=True,
                q_proj_weight=identity,
                k_proj_weight=identity,
                v_proj_weight=identity,
                average_attn_weights=average_attn_weights,
                is_causal=is_causal,
            )
        if batch_first:
            attended = attended.transpose(0, 1)
        y = self.get_submodule("out")(attended).to(query.dtype)
        return y, None if weights is None else weights.to(query.dtype)

    def _check(self, inputs: dict[str, Tensor]) -> None:
        """Raises ValueError or TypeError for inputs of another shape or kind."""
        layer = type(self).__name__
        sizes = {"q": self.embed_dim, "k": self.kdim, "v": self.vdim}
        for name, x in inputs.items():
            size = sizes[name]
            if x.dim() not in (2, 3) or x.shape[-1] != size:
                raise ValueError(
                    f"{layer} takes x [.., {size}] as its {INPUTS[name]}, not {list(x.shape)}"
                )
            check_plain(x, layer)

    @classmethod
    def settings_of(cls, layer: Any) -> dict[str, Any]:
        settings = {name: getattr(layer, name) for name in ARGUMENTS}
        settings["bias"] = layer.in_proj_bias is not None
        settings["add_bias_kv"] = layer.bias_k is not None
        return settings

    def digital_settings(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in ARGUMENTS}
        settings["bias"] = self.bias
        settings["add_bias_kv"] = self.bias_k is not None
        return settings

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, {self.num_heads}, batch_first={self.batch_first}, bias={self.bias}"


def _in_float32(values: Tensor | None) -> Tensor | None:
    """A mask or bias in the type in which attention is computed; masks of truth values stay."""
    if values is None or not values.is_floating_point():
        return values
    return values.to(torch.float32)
