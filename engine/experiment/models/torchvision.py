"""Networks of torchvision by their names there, converted layer by layer."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from engine.settings import UserError

if TYPE_CHECKING:
    from torch import nn

    from engine.experiment.build import Maker
    from engine.experiment.data import Info

ABOUT = "A network of torchvision for colour images, `arch` by name (resnet18, vgg11, ...); layers are named as there."
SOURCE = ""
COLOURS = 3
# What these give in training are several outputs, for which there is no loss here.
SEVERAL = ("googlenet", "inception_v3")


def build(make: Maker, info: Info, *, arch: str = "resnet18") -> nn.Module:
    """The network with its layers' own names; grey images get three equal channels."""
    from torchvision import models

    from engine.experiment.models._coloured import Coloured

    names = [name for name in models.list_models(module=models) if name not in SEVERAL]
    if arch not in names:
        near = difflib.get_close_matches(arch, names, 1)
        hint = f"nearest: {near[0]}" if near else f"there are {', '.join(names)}"
        raise UserError(f"model.arch: torchvision has no {arch!r}; {hint}")
    if info.shape[0] not in (1, COLOURS):
        raise UserError(
            f"model torchvision: images must have 1 or {COLOURS} channels, not {info.shape[0]}"
        )
    network = make.convert(models.get_model(arch, weights=None, num_classes=info.classes))
    return Coloured(network, make.output(), COLOURS)
