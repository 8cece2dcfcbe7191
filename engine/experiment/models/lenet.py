"""A convolutional network in the manner of LeNet-5."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.settings import UserError

if TYPE_CHECKING:
    from torch import nn

    from engine.experiment.build import Maker
    from engine.experiment.data import Info

ABOUT = "Two 5 x 5 convolutions (16 and 32 channels) with tanh and 2 x 2 max pooling, then 128 and the classes."
SOURCE = "Gokmen, Onen & Haensch, Front. Neurosci. 11:538 (2017), doi:10.3389/fnins.2017.00538"
SMALLEST = 16


def build(make: Maker, info: Info) -> nn.Module:
    """Layers conv1, conv2, fc1 and fc2."""
    from torch import nn

    channels, height, width = info.shape
    if min(height, width) < SMALLEST:
        raise UserError(
            f"model lenet: images must be {SMALLEST} x {SMALLEST} at least, not {height} x {width}"
        )
    rows, columns = (((extent - 4) // 2 - 4) // 2 for extent in (height, width))
    return make.sequential(
        make.conv2d("conv1", (channels, 16), kernel_size=5),
        nn.Tanh(),
        nn.MaxPool2d(2),
        make.conv2d("conv2", (16, 32), kernel_size=5),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        make.linear("fc1", 32 * rows * columns, rows=128),
        nn.Tanh(),
        make.linear("fc2", 128, rows=info.classes),
        make.output(),
    )
