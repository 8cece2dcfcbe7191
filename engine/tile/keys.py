"""Keys of random streams: every array draws from its own, made from the seed of the run and the id
of the tile."""

from __future__ import annotations

import hashlib

MASK = (1 << 64) - 1


def derive(*parts: int) -> int:
    """A 64-bit number that depends on all `parts` (64-bit integers) and their order."""
    data = b"".join((part & MASK).to_bytes(8, "little") for part in parts)
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def halves(key: int) -> tuple[int, int]:
    """Both 32-bit halves as signed numbers, as an int32 tensor holds them."""
    low, high = key & 0xFFFFFFFF, (key >> 32) & 0xFFFFFFFF
    return (low - (1 << 32) if low >> 31 else low, high - (1 << 32) if high >> 31 else high)
