"""Residual networks for small images: three stages of blocks, 6 n + 2 layers deep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.settings import UserError

if TYPE_CHECKING:
    from torch import nn

    from engine.experiment.build import Maker
    from engine.experiment.data import Info

ABOUT = "Residual network of three stages with `blocks` blocks each, 6 blocks + 2 layers deep (8: 1, 20: 3, 32: 5)."
SOURCE = "He, Zhang, Ren & Sun, CVPR 2016, section 4.2, doi:10.1109/CVPR.2016.90"
SMALLEST = 8


def build(
    make: Maker,
    info: Info,
    *,
    blocks: int = 1,
    width: int = 16,
    growth: tuple[float, ...] = (1.0, 2.0, 4.0),
    project: bool = False,
) -> nn.Module:
    """Layers conv1, block1_conv1, block1_conv2, block2_conv1, ... and fc; the stages have `width` x
    `growth` channels.

    With `project`, shortcuts to more channels are 1 x 1 convolutions block.._short; else new
    channels are 0."""
    from torch import nn

    from engine.experiment.models._residual import Residual

    channels, stages = info.shape[0], _stages(info, blocks, width=width, growth=growth)
    width = stages[0]
    first = make.conv2d(
        "conv1", (channels, width), kernel_size=3, padding=1, bias=False
    )
    layers: list[nn.Module] = [first, nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for number in range(3 * blocks):
        wide, stride = (
            stages[number // blocks],
            2 if number in (blocks, 2 * blocks) else 1,
        )
        name, short = f"block{number + 1}", None
        one = make.conv2d(
            f"{name}_conv1",
            (channels, wide),
            kernel_size=3,
            stride=stride,
            padding=1,
            bias=False,
        )
        two = make.conv2d(
            f"{name}_conv2", (wide, wide), kernel_size=3, padding=1, bias=False
        )
        if project and channels != wide:
            short = make.conv2d(
                f"{name}_short",
                (channels, wide),
                kernel_size=1,
                stride=stride,
                bias=False,
            )
        layers.append(Residual((one, two, short), wide, stride=stride))
        channels = wide
    layers += [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        make.linear("fc", channels, rows=info.classes),
    ]
    return make.sequential(*layers, make.output())


def _stages(
    info: Info, blocks: int, *, width: int, growth: tuple[float, ...]
) -> list[int]:
    """Channels of the three stages. Raises UserError for what makes no network."""
    _, *extents = info.shape
    if min(extents) < SMALLEST:
        size = " x ".join(map(str, extents))
        raise UserError(
            f"model resnet: images must be {SMALLEST} x {SMALLEST} at least, not {size}"
        )
    if min(blocks, width) < 1:
        raise UserError(
            f"model resnet: blocks and width must be 1 at least, not {blocks} and {width}"
        )
    stages = [round(width * factor) for factor in growth]
    if len(stages) != 3 or sorted(stages) != stages or stages[0] < 1:
        raise UserError(
            f"model resnet: growth must be three factors, none below the last, not {list(growth)}"
        )
    return stages
