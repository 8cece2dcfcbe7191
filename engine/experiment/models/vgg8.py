"""A small network in the manner of VGG: six 3 x 3 convolutions and two layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.settings import UserError

if TYPE_CHECKING:
    from torch import nn

    from engine.experiment.build import Maker
    from engine.experiment.data import Info

ABOUT = "Three pairs of 3 x 3 convolutions (48, 96, 144 channels), each pair with batch norm and pooling, then 384."
SOURCE = "in the manner of Simonyan & Zisserman, arXiv:1409.1556 (2014)"
CHANNELS = (48, 96, 144)
SMALLEST = 8


def build(make: Maker, info: Info, *, hidden: int = 384) -> nn.Module:
    """Layers conv1 to conv6, fc1 (`hidden`) and fc2 (classes); batch norm and activations are
    digital."""
    from torch import nn

    channels, height, width = info.shape
    if min(height, width) < SMALLEST:
        raise UserError(
            f"model vgg8: images must be {SMALLEST} x {SMALLEST} at least, not {height} x {width}"
        )
    if hidden < 1:
        raise UserError(f"model vgg8: hidden must be 1 at least, not {hidden}")
    layers: list[nn.Module] = []
    for pair, wide in enumerate(CHANNELS):
        first, second = f"conv{2 * pair + 1}", f"conv{2 * pair + 2}"
        layers += [
            make.conv2d(first, (channels, wide), kernel_size=3, padding=1),
            nn.ReLU(),
        ]
        layers += [
            make.conv2d(second, (wide, wide), kernel_size=3, padding=1),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
        ]
        layers.append(nn.MaxPool2d(2))
        channels, height, width = wide, height // 2, width // 2
    layers += [
        nn.Flatten(),
        make.linear("fc1", channels * height * width, rows=hidden),
        nn.ReLU(),
    ]
    return make.sequential(
        *layers, make.linear("fc2", hidden, rows=info.classes), make.output()
    )
