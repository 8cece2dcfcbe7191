"""Analog inference: weights programmed on noisy devices, read after some time, with or without
compensation.

programmed = program(network, InferenceSpec(noise_model="pcm"), seed=1)
programmed.drift_to("1h")
...
programmed.restore()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.inference.settings import Converter, InferenceSpec

if TYPE_CHECKING:
    from engine.inference.programming import Programmed

__all__ = ["Converter", "InferenceSpec", "program", "restore"]


def program(where: Any, spec: InferenceSpec, *, seed: int = 0) -> Programmed:
    """Programs the weights of all tiles of a network, or of an iterable of tiles; `seed` draws
    other devices.

    From then on the tiles compute with what was programmed, until `restore()`. Raises UserError if
    there is no tile, or if they are programmed already."""
    from engine.inference.programming import Programmed

    return Programmed(where, spec, seed=seed)


def restore(where: Any) -> None:
    """Puts the weights from before `program` back on all tiles of a network that are programmed."""
    from engine.inference.programming import restore

    restore(where)
