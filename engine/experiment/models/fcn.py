"""The fully connected network on which analog training is usually judged: 784-256-128-10 for
MNIST."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.experiment.models import mlp

if TYPE_CHECKING:
    from torch import nn

    from engine.experiment.build import Maker
    from engine.experiment.data import Info

ABOUT = "Fully connected 784-256-128-10 (for MNIST) with sigmoid."
TAKES_ROWS = True
SOURCE = "Gokmen & Vlasov, Front. Neurosci. 10:333 (2016), doi:10.3389/fnins.2016.00333"


def build(make: Maker, info: Info) -> nn.Module:
    """Layers fc1 (256), fc2 (128), fc3 (classes)."""
    return mlp.build(make, info, hidden=(256, 128), activation="sigmoid")
