"""Images in folders, one folder for each class: ROOT/CLASS/*.png, or ROOT/train/CLASS/*.png with
test and val beside train, as ImageNet has them.

Without a test folder, val is for testing; without either, `dataset.test_part` of each class is. With
both, val is what is judged after each epoch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.experiment.feeding.images import COLOUR, ENDINGS, GREY, read_image
from engine.experiment.feeding.split import held_out
from engine.memory import require_memory
from engine.readers.wording import listed
from engine.settings import UserError, user_path

if TYPE_CHECKING:
    import torch

    from engine.experiment.data import Data, Info

ABOUT = "Images of your own in folders named by their class, with or without train, val and test."
SOURCE = ""
# Images of many sizes are transformed one by one, as they are read.
TRANSFORMS = True
TRAIN, TEST, VALID = (
    ("train", "training"),
    ("test", "testing"),
    ("val", "valid", "validation"),
)
Paths = list[tuple[Path, int]]


def files(settings: Mapping[str, Any]) -> list[Path]:
    """All images, part by part."""
    parts, _ = _found(settings)
    return [path for part in parts.values() for path, _ in part]


def content(settings: Mapping[str, Any]) -> str:
    """A digest of the images with the names of their classes and parts."""
    import hashlib

    from engine.experiment.data import checksum

    parts, classes = _found(settings)
    digest = hashlib.sha256(f"folder {classes}".encode())
    for name, part in parts.items():
        for path, label in part:
            digest.update(f"{name} {label} {checksum(path)}\n".encode())
    return digest.hexdigest()[:16]


def info(settings: Mapping[str, Any]) -> Info:
    """Shape of the first image, before any transform, and the number of classes."""
    from engine.experiment.data import Info

    parts, classes = _found(settings)
    first = _read(parts["train"][0][0], settings)
    return Info(tuple(first.shape), len(classes))


def load(settings: Mapping[str, Any]) -> Data:
    """Images [N, C, H, W] in 0 to 1 and the numbers of their classes, which are in alphabetical
    order."""
    import torch

    from engine.experiment.data import Data

    parts, classes = _found(settings)
    images = {
        name: _images(part, settings, name) for name, part in parts.items() if part
    }
    labels = {
        name: torch.tensor([label for _, label in part], dtype=torch.int64)
        for name, part in parts.items()
        if part
    }
    if "test" not in images:
        test = held_out(labels["train"], settings)
        images["test"], labels["test"] = images["train"][test], labels["train"][test]
        images["train"], labels["train"] = (
            images["train"][~test],
            labels["train"][~test],
        )
    return Data(
        images["train"],
        labels["train"],
        images["test"],
        labels["test"],
        len(classes),
        images.get("valid"),
        labels.get("valid"),
    )


def _found(settings: Mapping[str, Any]) -> tuple[dict[str, Paths], list[str]]:
    """The images of each part, and the classes. Raises UserError."""
    root = user_path(str(settings.get("root") or "data"))
    if not root.is_dir():
        raise UserError(f"dataset.root: no folder {root}")
    homes = {
        "train": _first(root, TRAIN),
        "valid": _first(root, VALID),
        "test": _first(root, TEST),
    }
    if homes["train"] is None:
        homes = {"train": root, "valid": None, "test": None}
    elif homes["test"] is None:
        homes |= {"test": homes["valid"], "valid": None}
    home = homes["train"]
    assert home is not None
    classes = [place.name for place in _folders(home)]
    if len(classes) < 2:
        raise UserError(
            f"dataset.root: {home} holds {len(classes)} class folders ({listed(classes)}); "
            "put the images of each class into a folder of its own"
        )
    return {
        n: _listed(p, home, classes) for n, p in homes.items() if p is not None
    }, classes


def _listed(home: Path, first: Path, classes: list[str]) -> Paths:
    """Images of a part with their labels, in the order of their names. Raises UserError for
    classes that training does not have, and for classes without images."""
    found: Paths = []
    for place in _folders(home):
        if place.name not in classes:
            raise UserError(
                f"dataset.root: {home} has a class {place.name}, which {first} lacks"
            )
        label = classes.index(place.name)
        images = sorted(p for p in place.rglob("*") if p.suffix.lower() in ENDINGS)
        if not images and home == first:
            raise UserError(
                f"dataset.root: {place} holds no images ({', '.join(ENDINGS)})"
            )
        found += [(path, label) for path in images]
    if not found:
        raise UserError(f"dataset.root: {home} holds no images")
    return found


def _folders(home: Path) -> list[Path]:
    return sorted(
        p for p in home.iterdir() if p.is_dir() and not p.name.startswith(".")
    )


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _images(part: Paths, settings: Mapping[str, Any], name: str) -> torch.Tensor:
    """The images of a part, as many of them as are asked for."""
    import torch

    from engine.experiment.feeding.transforms import apply_to, make_transform

    transform = make_transform("transforms", settings.get("transforms"))
    first = _read(part[0][0], settings)
    shape = (
        first.shape
        if transform is None
        else apply_to("transforms", transform, first).shape
    )
    require_memory(
        4 * len(part) * shape.numel(), f"{len(part)} images of {_size(shape)}"
    )

    def one(path: Path) -> torch.Tensor:
        image = _read(path, settings)
        # Images of different sizes have one size only after this.
        image = image if transform is None else apply_to("transforms", transform, image)
        if image.shape != shape:
            raise UserError(
                f"{path}: {_size(image.shape)}, the first image for {name} has {_size(shape)}; "
                "dataset.transforms=[{name: Resize, size: [32, 32]}] makes them equal"
            )
        return image

    workers = max(1, int(settings.get("workers") or 0) or min(4, os.cpu_count() or 1))
    with ThreadPoolExecutor(workers) as pool:
        return torch.stack(list(pool.map(one, (path for path, _ in part))))


def _read(path: Path, settings: Mapping[str, Any]) -> torch.Tensor:
    """An image with the channels that `dataset.channels` asks for; 0 = those of the file."""
    image = read_image(path)
    wanted = int(settings.get("channels") or 0)
    if wanted == 0 or wanted == image.shape[0]:
        return image
    if wanted == COLOUR:
        return image.expand(COLOUR, -1, -1).contiguous()
    if wanted == GREY:
        from torchvision.transforms.v2.functional import rgb_to_grayscale

        return rgb_to_grayscale(image)
    raise UserError(f"dataset.channels must be 0, 1 or 3, not {wanted}")


def _size(shape: Any) -> str:
    return " x ".join(map(str, shape))
