"""Learning algorithms: which array gets which pulses when. One file each, found by its name.

A module defines ABOUT, FORMULA, SOURCE, ARRAYS (further arrays by name and meaning), a dataclass
`Settings`, and

    KERNELS                           optional: units of kernels that it needs beside those of every
                                      tile, by their names in engine.experiment.identity.kernels;
                                      without it, all of them count
    init(tile, spec) -> nn.Module     explicit state: every tensor in it is part of a checkpoint
    update(tile, state, x, d, lr)     x [B, I] and d [B, O] of one mini-batch
    end_of_batch(tile, state)         once in an optimizer step, with or without an update
    check_tile(spec, rows, columns)   optional: refuses, in one line, what cannot be built
    forward(tile, state, x)           optional, with backward(tile, state, d): the product where
                                      several arrays have a share; [.., B, I] to [.., B, O] and back
    set_weights(tile, state, weight)  optional: how weights are written where the visible array
                                      does not hold all of them
    replays(state) -> bool            optional: whether the host does the same in each further
                                      step, so that a GPU may replay one as a graph; without it,
                                      never
    replayed(state)                   optional: what the host counts in a step that was replayed
"""

from __future__ import annotations

import difflib
import functools
import importlib
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent


def algorithm_names() -> list[str]:
    """Names of the algorithms, from the files of this folder."""
    return sorted(p.stem for p in FOLDER.glob("[a-z]*.py"))


@functools.cache
def find_algorithm(name: str) -> ModuleType:
    """The module of an algorithm. Raises ValueError with the nearest name."""
    names = algorithm_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        raise ValueError(
            f"no algorithm {name!r}; "
            + (f"nearest: {near[0]}" if near else f"there are {', '.join(names)}")
        )
    return importlib.import_module(f"engine.algorithms.{name}")
