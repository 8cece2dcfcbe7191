"""Random numbers as engine/physics/random.cuh makes them: Philox4x32-10 of a key and a counter."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from tests.naive.maths import F32, Floats, Words, fma, log, turn

MASK = 0xFFFFFFFF


class Stream(IntEnum):
    """What a draw is for."""

    CONSTRUCT = 1
    CONSTRUCT_UNIFORM = 2
    TRAIN_X = 3
    TRAIN_D = 4
    ROUND_X = 5
    ROUND_D = 6
    PULSE = 7
    PULSE_UNIFORM = 8
    WRITE = 9
    DECAY = 10
    DIFFUSE = 11
    RESET = 12
    RESET_CHOICE = 13
    DRIFT = 14
    FROZEN = 15
    FORWARD = 16
    BACKWARD = 32
    EVALUATE = 48
    EVALUATE_BACK = 64
    ALGORITHM = 80


@dataclass(frozen=True)
class Source:
    """A key and the call that draws: all that a random number depends on beside its place."""

    key: tuple[int, int]
    call: int = 0
    step: int = 0

    def words(
        self, stream: int, at: npt.ArrayLike, block: npt.ArrayLike
    ) -> list[Words]:
        """Four words for every element of `at`, block `block` of its draws."""
        shape = np.broadcast_shapes(np.shape(at), np.shape(block))
        counter = [at, block, self.call, (stream << 24) | (self.step & 0xFFFFFF)]
        return philox(
            [np.broadcast_to(np.asarray(v, np.uint32), shape) for v in counter],
            self.key,
        )

    def normal(self, stream: int, at: npt.ArrayLike, n: npt.ArrayLike) -> Floats:
        """Draw number n of every element."""
        n = np.asarray(n, np.uint32)
        a, b, c, d = self.words(stream, at, n >> np.uint32(2))
        first, second = normal_pair(a, b), normal_pair(c, d)
        return np.choose(n & np.uint32(3), [*first, *second]).astype(F32)

    def uniform(self, stream: int, at: npt.ArrayLike, n: npt.ArrayLike) -> Floats:
        """Uniform draw number n of every element."""
        n = np.asarray(n, np.uint32)
        return uniform_of(
            np.choose(
                n & np.uint32(3), self.words(stream, at, n >> np.uint32(2))
            ).astype(np.uint32)
        )


def philox(counter: list[Words], key: tuple[int, int]) -> list[Words]:
    """Ten rounds on four words each."""
    a, b, c, d = (np.asarray(v, np.uint64) for v in counter)
    k0, k1 = key
    for _ in range(10):
        wide0, wide1 = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = (
            (wide1 >> np.uint64(32)) ^ b ^ np.uint64(k0),
            wide1 & np.uint64(MASK),
            (wide0 >> np.uint64(32)) ^ d ^ np.uint64(k1),
            wide0 & np.uint64(MASK),
        )
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return [v.astype(np.uint32) for v in (a, b, c, d)]


def uniform_of(word: Words) -> Floats:
    """Uniform in (0, 1), both ends excluded."""
    return fma((word >> np.uint32(9)).astype(F32), F32(1.1920929e-7), F32(5.9604645e-8))


def normal_pair(a: Words, b: Words) -> tuple[Floats, Floats]:
    """Two standard normals from two words (Box & Muller 1958)."""
    u = fma(
        (a >> np.uint32(1)).view(np.int32).astype(F32),
        F32(4.65661287e-10),
        F32(2.32830644e-10),
    )
    r = np.sqrt(F32(-2) * log(u))
    sine, cosine = turn(b)
    return r * cosine, r * sine
