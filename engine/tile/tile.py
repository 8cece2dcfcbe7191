"""One crossbar: an array of cells and the periphery of both directions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from engine.settings import UserError
from engine.tile.group import make_array
from engine.tile.launch import Readable
from engine.tile.mvm import Product
from engine.tile.settings import TileSpec


class Tile(nn.Module):
    """O x I cells with DACs and ADCs on both sides. x [.., B, I] gives y [.., B, O]; gradients
    travel back."""

    def __init__(
        self,
        out: int,
        inputs: int,
        spec: TileSpec,
        *,
        seed: int = 0,
        tile_id: int = 0,
        lanes: int = 1,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.array = make_array(
            out, inputs, spec.device, seed=seed, tile_id=tile_id, lanes=lanes
        )
        self.forward_product = Product(spec.forward, "forward", self.array)
        self.backward_product = Product(spec.backward, "backward", self.array)
        self.read_calls = 0
        # Digital factor of the outputs, set while drifted weights are compensated for; not part of
        # a checkpoint.
        self.register_buffer("compensation", None, persistent=False)
        # The weights before they were programmed on other devices, while they are.
        self.target: Tensor | None = None

    compensation: Tensor | None

    @property
    def weight(self) -> nn.Parameter:
        return self.array.weight

    def mvm(self, x: Tensor, other: Readable | None = None) -> Tensor:
        """The analog product with the weights, or with those of `other`: x [.., B, I] to [.., B,
        O]."""
        y = self._read(self._modules["forward_product"], x, other)
        factor = self._buffers["compensation"]
        return y if factor is None else y * factor

    def mvm_t(self, d: Tensor, other: Readable | None = None) -> Tensor:
        """The analog product with the transposed weights, or with those of `other`: d [.., B, O] to
        [.., B, I]."""
        return self._read(self._modules["backward_product"], d, other)

    def set_exact(self, on: bool) -> None:
        """Fixed-order products, equal at any number of threads, instead of torch's faster ones."""
        self.forward_product.exact = self.backward_product.exact = on

    def refuse_programmed(self, why: str) -> None:
        """Raises UserError if the weights lie on other devices at the moment."""
        if self.target is not None:
            raise UserError(
                f"these tiles are programmed already: {why}; call restore() on what program() "
                "returned, or engine.inference.restore(network)"
            )

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.read_calls], dtype=torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        self.read_calls = int(state[0])

    def _read(self, product: Any, v: Tensor, other: Readable | None) -> Tensor:
        array: Any = self._modules["array"]
        # Reading for evaluation has noise of its own, so that testing a network does not change how
        # it trains.
        if self.training:
            call = array.next_call()
        else:
            # Past nn.Module, whose own way of setting takes longer than a small product.
            call = self.__dict__["read_calls"] = self.read_calls + 1
        y: Tensor = product.read(
            v, array if other is None else other, call=call, training=self.training
        )
        return y
