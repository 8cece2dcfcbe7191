"""Data in memory, its fingerprint, and the order of samples in an epoch. N samples, then the shape
of one sample."""

from __future__ import annotations

import functools
import gzip
import hashlib
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from engine.experiment.feeding.prepare import (
    Augmented,
    check_transforms,
    prepared,
    transformed_info,
)
from engine.experiment.members import find_member
from engine.settings import UserError

if TYPE_CHECKING:
    import torch

CHUNK = 1 << 20
IMAGES, TEXT = "images", "text"


@dataclass(frozen=True)
class Info:
    """What a model must know of a dataset."""

    shape: tuple[int, ...]
    classes: int
    kind: str = IMAGES

    @property
    def size(self) -> int:
        """Number of values in a sample."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Data:
    """A dataset: inputs [N, ...] as float32, labels [N] as int64; of text, numbers of signs [N, T]
    for both.

    The `valid` part, if there is one, is judged after each epoch like that for testing; whatever
    chooses between epochs or runs looks at it instead of the test part.
    """

    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor
    classes: int
    valid_x: torch.Tensor | None = None
    valid_y: torch.Tensor | None = None
    augmented: Augmented | None = None
    # What was computed of the training samples and applied to all, for the record.
    statistics: Mapping[str, list[float]] | None = None

    @property
    def info(self) -> Info:
        kind = TEXT if self.train_y.dim() > 1 else IMAGES
        return Info(tuple(self.train_x.shape[1:]), self.classes, kind)

    def to(self, device: torch.device) -> Data:
        """The same data on another device."""
        import torch

        here = {f.name: getattr(self, f.name) for f in fields(self)}
        # What is augmented is transformed on the CPU, batch by batch.
        moved: dict[str, Any] = {
            k: v.to(device) for k, v in here.items() if isinstance(v, torch.Tensor)
        }
        return replace(self, **moved)


def load_data(settings: Mapping[str, Any], *, seed: int = 0) -> Data:
    """The dataset that `settings` (the group `dataset`) names, cut to its first samples where asked
    for; `seed` decides which training samples are set aside for validation."""
    check_valid_part(settings)
    check_transforms(settings)
    member = find_member("datasets", settings["name"])
    data = member.load(settings)
    if data.train_x.dim() > 2 and data.train_x.shape[1:] != data.test_x.shape[1:]:
        shapes = [
            " x ".join(map(str, x.shape[1:])) for x in (data.train_x, data.test_x)
        ]
        raise UserError(
            f"dataset {settings['name']}: samples for testing are {shapes[1]}, for training {shapes[0]}"
        )
    train, test = (
        _count(settings, "train_samples", data.train_y),
        _count(settings, "test_samples", data.test_y),
    )
    cut = prepared(
        replace(
            data,
            train_x=data.train_x[:train],
            train_y=data.train_y[:train],
            test_x=data.test_x[:test],
            test_y=data.test_y[:test],
        ),
        # A member may have transformed its samples itself.
        {**settings, "transforms": []} if hasattr(member, "TRANSFORMS") else settings,
    )
    part = float(settings.get("valid_part") or 0.0)
    # A text is cut where it is read: its samples follow each other and cannot be drawn at random.
    return cut if part == 0 or cut.valid_x is not None else _set_aside(cut, part, seed)


def check_valid_part(settings: Mapping[str, Any]) -> None:
    """Raises UserError if nothing would be left to train on."""
    part = settings.get("valid_part") or 0.0
    if not 0 <= part < 1:
        raise UserError(f"dataset.valid_part must be >= 0 and < 1, not {part:g}")


def _set_aside(data: Data, part: float, seed: int) -> Data:
    """A share of the training samples, chosen by `seed` alone, becomes the validation part; the
    others keep their order."""
    import torch

    count = len(data.train_y)
    held = int(part * count)
    if not 0 < held < count:
        raise UserError(
            f"dataset.valid_part={part:g} of {count} training samples sets {held} aside: "
            "one sample at least must be on either side"
        )
    chosen = _permutation(f"validation split {seed}", count)[:held].sort().values
    kept = torch.ones(count, dtype=torch.bool)
    kept[chosen] = False
    return replace(
        data,
        train_x=data.train_x[kept],
        train_y=data.train_y[kept],
        valid_x=data.train_x[chosen],
        valid_y=data.train_y[chosen],
        augmented=data.augmented and data.augmented.only(kept),
    )


def dataset_info(settings: Mapping[str, Any]) -> Info:
    """What a model must know of the dataset, without its files where that does not depend on
    them."""
    member = find_member("datasets", settings["name"])
    if hasattr(member, "SHAPE"):
        return transformed_info(Info(member.SHAPE, member.CLASSES), settings)
    if hasattr(member, "info"):
        return transformed_info(member.info(settings), settings)
    return load_data(settings).info


def _count(settings: Mapping[str, Any], key: str, labels: torch.Tensor) -> int:
    wanted = int(settings.get(key) or 0)
    if wanted > len(labels):
        raise UserError(
            f"dataset.{key}: {settings['name']} has {len(labels)}, not {wanted}; 0 takes all"
        )
    return wanted or len(labels)


def fingerprint(settings: Mapping[str, Any]) -> str:
    """A short hash of the dataset's files: equal for a file and its gzipped form, different for
    different data."""
    member = find_member("datasets", settings["name"])
    if hasattr(member, "content"):
        return str(member.content(settings))
    digest = hashlib.sha256(str(settings["name"]).encode())
    for path in member.files(settings):
        digest.update(f"{path.name.removesuffix('.gz')} {checksum(path)}\n".encode())
    return digest.hexdigest()[:16]


def checksum(path: Path) -> str:
    """CRC-32 and length of the plain content, unpacked if need be."""
    try:
        found = path.stat()
        return _checksum_at(path, found.st_mtime_ns, found.st_size, found.st_ino)
    except OSError as problem:
        raise UserError(
            f"{path}: cannot be read: {problem.strerror or problem}"
        ) from problem


@functools.lru_cache(maxsize=256)
def _checksum_at(path: Path, *stamp: int) -> str:
    """The checksum of a file that has not changed since `stamp`: the points of a sweep share it.

    The last bytes of a gzip file hold a checksum as well, but of its last member alone, and files
    made by `cat` or `bgzip` have several."""
    with path.open("rb") as file:
        if path.suffix == ".gz":
            try:
                return _sum_of(gzip.open(file))
            except (EOFError, zlib.error, gzip.BadGzipFile):
                file.seek(0)  # reading the data will say what is wrong with the file
        return _sum_of(file)


def _sum_of(file: IO[bytes] | gzip.GzipFile) -> str:
    crc, size = 0, 0
    while block := file.read(CHUNK):
        crc, size = zlib.crc32(block, crc), size + len(block)
    return f"{crc:08x} {size & 0xFFFFFFFF}"


def sample_order(count: int, seed: int, epoch: int) -> torch.Tensor:
    """The permutation of `count` samples in one epoch: a pure function of seed and epoch."""
    return _permutation(f"sample order {seed} {epoch}", count)


def _permutation(text: str, count: int) -> torch.Tensor:
    """A permutation of `count` numbers that a text decides."""
    import torch

    key = hashlib.sha256(text.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)
    return torch.randperm(count, generator=generator)
