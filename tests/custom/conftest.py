"""A working folder with a network of the user's, and the command line called in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import aihw, folder, write

__all__ = ["aihw", "folder"]
NETWORKS = '''"""Networks of a user's."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from blocks import Block


class TinyViT(nn.Module):
    """A small vision transformer."""

    def __init__(
        self,
        width: int = 8,
        depth: int = 1,
        patch: int = 4,
        drop: float = 0.0,
        act: Literal["gelu", "relu"] = "gelu",
        hidden: int | None = None,
        scales: tuple[float, ...] = (1.0, 2.0),
        norm: type = nn.LayerNorm,
        num_classes: int = 7,
        in_channels: int = 3,
        image_size: int = 224,
    ) -> None:
        super().__init__()
        assert isinstance(scales, tuple) and all(type(value) is float for value in scales)
        # Many networks do this, and tensors without memory cannot.
        rates = [rate.item() for rate in torch.linspace(0, drop, depth)]
        self.patches = nn.Conv2d(in_channels, width, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, (image_size // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, hidden or 2 * width) for _ in rates))
        self.norm = norm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


class Needs(nn.Module):
    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, classes)

    def forward(self, x):
        return self.fc(x.flatten(1))


class Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(widht, 3)


class Later(nn.Module):
    """Fails in the third step of training."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc, self.calls = nn.Linear(64, num_classes), 0

    def forward(self, x):
        self.calls += self.training
        if self.calls > 3:
            raise RuntimeError("too many calls\\nand a second line")
        return self.fc(x.flatten(1))


class Pair(Needs):
    def forward(self, x):
        return super().forward(x), x


def number(size: int = 3):
    return size
'''
BLOCKS = """from torch import nn


class Block(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x):
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return x + self.mlp(x)
"""


@pytest.fixture
def networks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file `nets.py` and what it imports, in the current folder."""
    import sys

    monkeypatch.delitem(sys.modules, "blocks", raising=False)
    write(folder / "blocks.py", BLOCKS)
    return write(folder / "nets.py", NETWORKS)
