"""Networks of torchvision by their names there, converted layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.readers.wording import unknown
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
# These are made for one size of images.
SIZED = "vit_"


def build(make: Maker, info: Info, *, arch: str = "resnet18") -> nn.Module:
    """The network with its layers' own names; grey images get three equal channels."""
    from torchvision import models

    from engine.experiment.models._coloured import Coloured

    names = [name for name in models.list_models(module=models) if name not in SEVERAL]
    if arch not in names:
        raise UserError(
            f"model.arch: torchvision has no {arch!r}; {unknown(arch, names)}"
        )
    if info.shape[0] not in (1, COLOURS):
        raise UserError(
            f"model torchvision: images must have 1 or {COLOURS} channels, not {info.shape[0]}"
        )
    settings = {"image_size": info.shape[1]} if arch.startswith(SIZED) else {}
    try:
        network = models.get_model(
            arch, weights=None, num_classes=info.classes, **settings
        )
        _try(network, info)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        size = " x ".join(map(str, info.shape[1:]))
        raise UserError(
            f"model.arch: {arch} does not take images of {size}: {reason}"
        ) from error
    return Coloured(make.convert(network), make.output(), COLOURS)


def _try(network: nn.Module, info: Info) -> None:
    """Runs one image of zeros through a network whose layers are still torch's.

    Pooling and patches ask for images of some size, which a run should not find out later."""
    import torch

    with torch.no_grad():
        network.eval()(torch.zeros(1, COLOURS, *info.shape[1:], dtype=torch.float32))
    network.train()
