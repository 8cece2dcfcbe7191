"""A fully connected network of any widths."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from engine.settings import UserError

if TYPE_CHECKING:
    from torch import nn

    from engine.experiment.build import Maker
    from engine.experiment.data import Info

ABOUT = "Fully connected network; `hidden` gives the widths between input and classes."
TAKES_ROWS = True
SOURCE = ""


def build(
    make: Maker,
    info: Info,
    *,
    hidden: Sequence[int] = (64,),
    activation: str = "sigmoid",
) -> nn.Module:
    """Layers fc1, fc2, ... with `activation` between them."""
    from torch import nn

    if min(hidden, default=1) < 1:
        raise UserError(
            f"model mlp: hidden must be 1 at least in each place, not {list(hidden)}"
        )
    widths = [info.size, *hidden, info.classes]
    layers: list[nn.Module] = [nn.Flatten()]
    for number, (columns, rows) in enumerate(pairwise(widths), 1):
        if number > 1:
            layers.append(make.activation(activation))
        layers.append(make.linear(f"fc{number}", columns, rows=rows))
    return make.sequential(*layers, make.output())
