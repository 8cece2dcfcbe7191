"""Augmented batches of an epoch: every sample draws from a stream of its own.

What a sample becomes is a function of seed, epoch and its number alone, so that neither the number
of workers nor an interruption changes a bit. B samples of C x H x W."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from engine.experiment.feeding.transforms import apply_to

if TYPE_CHECKING:
    from engine.experiment.data import Data
    from engine.experiment.feeding.transforms import Transform

AUGMENT = "augment"


@dataclass
class Samples(Dataset[Tensor]):
    """The training samples of one epoch, transformed when they are asked for."""

    x: Tensor
    transform: Transform
    key: tuple[int, int]

    def __getitem__(self, index: int) -> Tensor:
        text = f"augmentation {self.key[0]} {self.key[1]} {index}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
        # The network's own randomness goes on as if nothing had been drawn here.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return apply_to(AUGMENT, self.transform, self.x[index].clone())

    def __len__(self) -> int:
        return len(self.x)


class Batches:
    """Batches of augmented training samples. Raises UserError at once for transforms that do not
    take the samples, or change their shape."""

    def __init__(self, data: Data, *, seed: int, workers: int) -> None:
        assert data.augmented is not None
        self.data, self.seed, self.workers = data, seed, workers
        self.x, self.transform, self.normalize = data.augmented

    def epoch(self, epoch: int, parts: list[Tensor]) -> Iterator[Tensor]:
        """The inputs x [B, C, H, W] of each of the lists of sample numbers, in their order."""
        samples = Samples(self.x, self.transform, (self.seed, epoch))
        batches = [part.tolist() for part in parts]
        settings: dict[str, Any] = {
            "num_workers": self.workers,
            "batch_sampler": batches,
        }
        if self.workers:
            # The loader itself draws a seed for its workers, which nothing here uses.
            settings["generator"] = torch.Generator().manual_seed(self.seed)
        with torch.random.fork_rng(devices=[]):
            loader = iter(DataLoader(samples, **settings))
        for batch in loader:
            yield self.normalize(batch)
