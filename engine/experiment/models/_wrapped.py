"""A network of the user's own code, between our inputs and our losses."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from engine.settings import UserError
from engine.trust.load import user_code


class Wrapped(nn.Module):
    """Gives x to the network, and its result to `output`; errors are told in the user's lines."""

    def __init__(
        self, network: nn.Module, output: nn.Module, *, path: Path, what: str
    ) -> None:
        super().__init__()
        self.network, self.output = network, output
        self.path, self.what = path, what

    def forward(self, x: Tensor) -> Tensor:
        with user_code(self.path, self.what):
            y = self.network(x)
        if not isinstance(y, Tensor):
            raise UserError(f"{self.what} returns a {type(y).__name__}, not a tensor")
        return self.output(y)
