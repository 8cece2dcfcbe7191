"""Samples as networks get them: transformed, normalised, and kept plain where they are augmented.

Shapes: N samples of C channels and their extents, or N rows of F numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.experiment.feeding.transforms import apply_to, make_transform
from engine.settings import UserError

if TYPE_CHECKING:
    import torch

    from engine.experiment.data import Data, Info
    from engine.experiment.feeding.transforms import Transform

# Samples that are transformed at a time: transforms make copies.
PORTION = 1000
IMAGE_DIMS = 3


class Augmented(NamedTuple):
    """Training samples x before normalisation, what augments them, and what normalises them then."""

    x: torch.Tensor
    transform: Transform
    normalize: Callable[[torch.Tensor], torch.Tensor]

    def only(self, kept: torch.Tensor) -> Augmented:
        """The same for some of the samples."""
        return self._replace(x=self.x[kept])


@dataclass(frozen=True)
class Normalize:
    """(x - mean) / std, a number for all values of [N, C, ...] or one for each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        import torch

        for values, apply in (
            (self.mean, torch.Tensor.sub),
            (self.std, torch.Tensor.div),
        ):
            if values:
                numbers = torch.tensor(values, dtype=torch.float32)
                x = apply(x, numbers.view(-1, *[1] * (x.dim() - 2)))
        return x


def check_transforms(settings: Mapping[str, Any]) -> None:
    """Raises UserError for a name, an argument or a value that no transform has."""
    for key in ("transforms", "augment"):
        make_transform(key, settings.get(key))
    given = [key for key in ("mean", "std") if settings.get(key)]
    if settings.get("normalize") and given:
        raise UserError(
            f"dataset.normalize computes mean and std; leave it out, or dataset.{given[0]}"
        )


def transformed_info(info: Info, settings: Mapping[str, Any]) -> Info:
    """What `dataset.transforms` makes of samples, without any data."""
    import torch

    transform = make_transform("transforms", settings.get("transforms"))
    if transform is None:
        return info
    _check_images(info.shape, settings)
    shape = apply_to(
        "transforms", transform, torch.zeros(info.shape, dtype=torch.float32)
    ).shape
    return replace(info, shape=tuple(shape))


def prepared(data: Data, settings: Mapping[str, Any]) -> Data:
    """A dataset transformed and normalised. Raises UserError for settings that do not fit it."""
    transform = make_transform("transforms", settings.get("transforms"))
    augment = make_transform("augment", settings.get("augment"))
    if transform or augment:
        _check_images(tuple(data.train_x.shape[1:]), settings)
    if transform is not None:
        data = _each(data, lambda x: _in_portions(transform, x))
    if settings.get("normalize") and data.train_y.dim() > 1:
        raise UserError(
            f"dataset.normalize: samples of {settings['name']} are no numbers but text"
        )
    statistics = _statistics(data.train_x) if settings.get("normalize") else None
    found = statistics or settings
    normalize = Normalize(tuple(found.get("mean") or ()), tuple(found.get("std") or ()))
    _check_channels(normalize, data, settings)
    plain, data = data.train_x, _each(data, normalize)
    if statistics is not None:
        data = replace(data, statistics=statistics)
    if augment is None:
        return data
    first = apply_to("augment", augment, plain[0].clone())
    if first.shape != plain[0].shape:
        shapes = [" x ".join(map(str, x.shape)) for x in (plain[0], first)]
        raise UserError(
            f"dataset.augment makes {shapes[1]} of samples of {shapes[0]}: it must keep their shape"
        )
    return replace(data, augmented=Augmented(plain, augment, normalize))


def _each(data: Data, function: Callable[[torch.Tensor], torch.Tensor]) -> Data:
    """A dataset with a function applied to the samples of every part."""
    parts = {key: getattr(data, key) for key in ("train_x", "test_x", "valid_x")}
    changed: dict[str, Any] = {
        key: function(x) for key, x in parts.items() if x is not None
    }
    return replace(data, **changed)


def _in_portions(transform: Transform, x: torch.Tensor) -> torch.Tensor:
    import torch

    done = [apply_to("transforms", transform, part) for part in x.split(PORTION)]
    return torch.cat(done) if done else x


def _statistics(x: torch.Tensor) -> dict[str, list[float]]:
    """Mean and standard deviation of each channel; a channel that never changes is only shifted."""
    import torch

    flat = x.to(torch.float64).movedim(1, 0).flatten(1)
    std = flat.std(1, correction=0)
    std[std == 0] = 1.0
    # As short as float32 needs it, since this is recorded.
    return {"mean": flat.mean(1).float().tolist(), "std": std.float().tolist()}


def _check_images(shape: tuple[int, ...], settings: Mapping[str, Any]) -> None:
    if len(shape) != IMAGE_DIMS:
        raise UserError(
            f"dataset.transforms and augment are for images; samples of {settings['name']} are not"
        )


def _check_channels(
    normalize: Normalize, data: Data, settings: Mapping[str, Any]
) -> None:
    channels = data.train_x.shape[1]
    for key in ("mean", "std"):
        given = len(getattr(normalize, key))
        if given not in (0, 1, channels):
            raise UserError(
                f"dataset.{key}: {settings['name']} has {channels} channels, so one number or "
                f"{channels}, not {given}"
            )
