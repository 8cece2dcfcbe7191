"""Multi-head attention whose four projections lie on analog tiles."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.nn.layer import AnalogLayer, Matrix
from engine.tile.inputs import check_plain
from engine.tile.settings import TileSpec

ARGUMENTS = ("embed_dim", "num_heads", "dropout", "add_zero_attn", "kdim", "vdim", "batch_first")


class AnalogMultiheadAttention(AnalogLayer):
    """torch.nn.MultiheadAttention on analog tiles: one grid each for queries, keys, values and the
    output.

    Products of activations with each other (queries with keys, weights with values) stay digital.
    """

    digital = nn.MultiheadAttention
    # Encoders take a shortcut past their layers if these two look usual.
    in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(  # noqa: PLR0913, PLR0917
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        *, tile: TileSpec | str, seed: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(
                f"embed_dim must be a multiple of num_heads, not {embed_dim} and {num_heads}"
            )
        self.embed_dim, self.num_heads, self.dropout, self.bias = (
            embed_dim,
            num_heads,
            dropout,
            bias,
        )
        self.kdim, self.vdim, self.head_dim = (
            kdim or embed_dim,
            vdim or embed_dim,
            embed_dim // num_heads,
        )
        self.add_zero_attn, self.batch_first = add_zero_attn, batch_first
        same = self.kdim == self.vdim == embed_dim
        matrices = {}
        for name, inputs in (("q", embed_dim), ("k", self.kdim), ("v", self.vdim)):
            weight, rows = (
                ("in_proj_weight", 3 * embed_dim) if same else (f"{name}_proj_weight", embed_dim)
            )
            bound = (6 / (inputs + rows)) ** 0.5
            matrices[name] = Matrix((embed_dim, inputs), weight, "in_proj_bias", bound, 0.0)
        matrices["out"] = Matrix(
            (embed_dim, embed_dim), "out_proj.weight", "out_proj.bias", bias_bound=0.0
        )
        self.place(matrices, bias=bias, tile=tile, seed=seed)
        for name in ("bias_k", "bias_v"):
            start = (
                nn.init.xavier_normal_(torch.empty(1, 1, embed_dim, dtype=torch.float32))
                if add_bias_kv
                else None
            )
            self.register_parameter(name, None if start is None else nn.Parameter(start))

    bias_k: Tensor | None
    bias_v: Tensor | None

    def forward(  # noqa: PLR0913, PLR0917
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        given = {"q": (query, self.embed_dim), "k": (key, self.kdim), "v": (value, self.vdim)}
        for name, (x, size) in given.items():
            if x.dim() not in (2, 3) or x.shape[-1] != size:
                kind = {"q": "query", "k": "key", "v": "value"}[name]
                raise ValueError(
                    f"{type(self).__name__} takes x [.., {size}] as its {kind}, not {list(x.shape)}"
                )
            check_plain(x, type(self).__name__)
        turned = self.batch_first and query.dim() == 3
        parts = [self.get_submodule(name)(x.to(torch.float32)) for name, (x, _) in given.items()]
        parts = [part.transpose(0, 1) for part in parts] if turned else parts
        same = torch.eye(self.embed_dim, dtype=torch.float32, device=query.device)
        # All that follows the projections, masks above all, is torch's; its own projections change
        # nothing.
        with torch.autocast(query.device.type, enabled=False):
            attended, weights = functional.multi_head_attention_forward(
                parts[0], parts[1], parts[2], self.embed_dim, self.num_heads,
                None, None, _full(self.bias_k), _full(self.bias_v), self.add_zero_attn, self.dropout, same, None,
                training=self.training, key_padding_mask=_full(key_padding_mask), need_weights=need_weights,
                attn_mask=_full(attn_mask), use_separate_proj_weight=True, q_proj_weight=same, k_proj_weight=same,
                v_proj_weight=same, average_attn_weights=average_attn_weights, is_causal=is_causal,
            )  # fmt: skip
        y = self.get_submodule("out")(attended.transpose(0, 1) if turned else attended)
        return y.to(query.dtype), None if weights is None else weights.to(query.dtype)

    @classmethod
    def settings_of(cls, layer: Any) -> dict[str, Any]:
        own = {"bias": layer.in_proj_bias is not None, "add_bias_kv": layer.bias_k is not None}
        return {name: getattr(layer, name) for name in ARGUMENTS} | own

    def digital_settings(self) -> dict[str, Any]:
        own = {"bias": self.bias, "add_bias_kv": self.bias_k is not None}
        return {name: getattr(self, name) for name in ARGUMENTS} | own

    def extra_repr(self) -> str:
        return (
            f"{self.embed_dim}, {self.num_heads}, batch_first={self.batch_first}, bias={self.bias}"
        )


def _full(values: Tensor | None) -> Tensor | None:
    """A mask or bias in the type in which attention is computed here; masks may be of truth values
    as well."""
    return values.to(torch.float32) if values is not None and values.is_floating_point() else values
