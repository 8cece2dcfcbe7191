"""Keys of random streams: every array draws from its own, made from the seed of the run and the id
of the tile."""

from __future__ import annotations

import hashlib

MASK = (1 << 64) - 1


def derive(*parts: int) -> int:
    """A 64-bit number that depends on all `parts` (64-bit integers) and their order."""
    data = b"".join((part & MASK).to_bytes(8, "little") for part in parts)
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


class TileId(int):
    """The number that tells an array from the others with its seed.

    `place` is the same without any seed in it: which tile of a layer, and which array of the tile.
    Devices with a construction seed of their own are drawn by it, so that they stay what they are
    whatever the seed of the run. A plain integer stands for both.
    """

    place: int

    @classmethod
    def of_layer(cls, seed: int, row: int, column: int) -> TileId:
        """The tile at a place of the grid of a layer that has the seed `seed`."""
        made = cls(derive(seed, row, column))
        made.place = derive(row, column)
        return made

    @classmethod
    def inside(cls, outer: int, number: int) -> TileId:
        """A further array of the tile, or of the group of devices, that has the id `outer`."""
        made = cls(derive(outer, number))
        made.place = derive(place_of(outer), number)
        return made


def place_of(tile_id: int) -> int:
    """The part of a tile's id that no seed decides."""
    return tile_id.place if isinstance(tile_id, TileId) else tile_id


def halves(key: int) -> tuple[int, int]:
    """Both 32-bit halves as signed numbers, as an int32 tensor holds them."""
    low, high = key & 0xFFFFFFFF, (key >> 32) & 0xFFFFFFFF
    return (
        low - (1 << 32) if low >> 31 else low,
        high - (1 << 32) if high >> 31 else high,
    )
