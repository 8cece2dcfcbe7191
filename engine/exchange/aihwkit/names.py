"""Names of layers and parameters of aihwkit's networks, as torch and this engine call them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.settings import UserError

# aihwkit's recurrent layers are modules of modules; torch's have numbered parameters.
RECURRENT = re.compile(
    r"^(?P<layer>.*?)(?:^|\.)rnn\.layers\.(?P<number>\d+)"
    r"(?:\.directions\.(?P<way>[01]))?\.cell\.weight_(?P<kind>ih|hh)$"
)
COMBINED = re.compile(r"(?:^|\.)rnn\.layers\.\d+(?:\.directions\.[01])?\.cell\.weight$")
SHOWN = 3


@dataclass(frozen=True)
class GridName:
    """A matrix of a network: the layer that has it, its grid there, and its torch parameters."""

    layer: str
    grid: str
    weight: str
    bias: str

    @property
    def path(self) -> str:
        """Where the grid lies in a network of this engine."""
        return _join(self.layer, self.grid)


def grid_name(theirs: str) -> GridName:
    """What a grid of aihwkit is called here. Raises UserError for a matrix that no layer has."""
    if COMBINED.search(theirs):
        raise UserError(
            f"{theirs}: one matrix for inputs and state; the recurrent layers here have two"
        )
    found = RECURRENT.match(theirs)
    if found is None:
        return GridName(theirs, "grid", _join(theirs, "weight"), _join(theirs, "bias"))
    # Only a layer in both directions tells which one it is.
    layer, kind = found["layer"], found["kind"]
    part = f"l{found['number']}" + ("_reverse" if found["way"] == "1" else "")
    names = (f"weight_{kind}_{part}", f"bias_{kind}_{part}")
    return GridName(layer, f"{kind}_{part}", *(_join(layer, name) for name in names))


def combined_parts(theirs: str) -> tuple[GridName, GridName] | None:
    """The matrices of inputs and of the state that a cell of aihwkit holds side by side in one; None
    for any other grid."""
    if COMBINED.search(theirs) is None:
        return None
    return grid_name(f"{theirs}_ih"), grid_name(f"{theirs}_hh")


def layer_name(theirs: str) -> str:
    """The layer that a grid of aihwkit belongs to."""
    parts = combined_parts(theirs) or (grid_name(theirs),)
    return parts[0].layer or theirs


def digital_name(theirs: str) -> str:
    """A digital parameter or buffer, by the name that torch's layer gives it."""
    layer, _, last = theirs.rpartition(".")
    found = RECURRENT.match(layer)
    if found is None or last not in ("weight", "bias"):
        return theirs
    name = grid_name(layer)
    return name.weight if last == "weight" else name.bias


Shapes = Mapping[str, tuple[int, ...]]


def match(ours: Shapes, theirs: Shapes, what: str) -> dict[str, str]:
    """For each of our names that of theirs: the same one, apart from a start that all of one side
    have, or, where names differ, the one in the same place of a list with the same shapes. Raises
    UserError in one line."""
    # Equal names decide, even if an order of equal shapes would fit otherwise.
    named = _by_name(ours, theirs)
    if named is not None:
        for name, shape in ours.items():
            found = theirs[named[name]]
            if shape != found:
                raise UserError(f"{what} {name} is {_text(found)}, not {_text(shape)}")
        return named
    # Networks of the same make, written with other names: modules are listed as they are made.
    if list(ours.values()) == list(theirs.values()):
        return dict(zip(ours, theirs, strict=True))
    here, there = (
        _named(ours, set(ours) - set(theirs)),
        _named(theirs, set(theirs) - set(ours)),
    )
    raise UserError(f"{what}s differ: the network has {here}, the file {there}")


def _by_name(ours: Shapes, theirs: Shapes) -> dict[str, str] | None:
    """Their names for ours, if they are the same: a network may lie in another one, whose name then
    stands before all of its own."""
    start = _start(ours, theirs)
    if start is not None:
        return {name: name.removeprefix(start) for name in ours}
    start = _start(theirs, ours)
    return None if start is None else {name: start + name for name in ours}


def _start(longer: Iterable[str], shorter: Iterable[str]) -> str | None:
    """What stands before all longer names and before none of the shorter ones; None if names differ
    otherwise."""
    wanted = set(longer)
    first = next(iter(shorter), "")
    starts = (
        name.removesuffix(first) for name in wanted if f".{name}".endswith(f".{first}")
    )
    return next((s for s in starts if {s + name for name in shorter} == wanted), None)


def _named(shapes: Shapes, names: Iterable[str]) -> str:
    listed = [
        f"{name} ({_text(shapes[name])})" for name in shapes if name in set(names)
    ]
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more if listed else "no other"


def _text(shape: Any) -> str:
    return " x ".join(map(str, shape)) or "one number"


def _join(layer: str, name: str) -> str:
    return f"{layer}.{name}" if layer else name
