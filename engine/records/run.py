"""One recorded run as the index knows it, and the names under which its values are found."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.presets import label_of
from engine.settings import UserError

# Entries of run.json that can be asked for; `processor` is called `device` there, which here is the
# cells' device.
RECORDED = (
    "name",
    "status",
    "seed",
    "hash",
    "id",
    "started",
    "ended",
    "seconds",
    "commit",
    "task",
    "threads",
)
OWN = (*RECORDED, "processor", "host", "folder")
# A section by itself stands for its name; of these three, for the preset that it was made from.
# The status of a run of which a file cannot be used.
DAMAGED = "damaged"
LABELLED = ("device", "tile", "algorithm")


@dataclass(frozen=True)
class Run:
    """A run. `config` holds each section flat, by dotted keys; equal sections of several runs are
    one object."""

    folder: Path
    record: Mapping[str, Any]
    result: Mapping[str, Any]
    config: Mapping[str, Mapping[str, Any]] = field(repr=False)

    @property
    def status(self) -> str:
        """running, interrupted, failed, diverged or finished; or damaged."""
        return str(self.record["status"])

    def value(self, key: str) -> Any:
        """The value of a complete key; None if this run has none."""
        if key == "folder":
            return str(self.folder)
        if key in LABELLED:
            return self.label(key)
        if key in self.record:
            return self.record[key]
        section = self.config.get(key.partition(".")[0])
        if section is not None and key in section:
            return section[key]
        return self.result.get(key)

    def label(self, part: str) -> str:
        """The preset that a part was made from, changed values or not; else the name of its
        model."""
        section = self.config.get(part, {})
        return label_of(
            part, {key.removeprefix(f"{part}."): v for key, v in section.items()}
        )

    def number(self, key: str) -> float:
        """A value as a number; nan if it is none."""
        value = self.value(key)
        return (
            float(value)
            if isinstance(value, int | float) and not isinstance(value, bool)
            else float("nan")
        )


def all_keys(runs: Iterable[Run]) -> dict[str, None]:
    """Every key that one of the runs has, in order."""
    keys = dict.fromkeys((*OWN, *LABELLED))
    seen: set[int] = set()
    results: dict[str, None] = {}
    for run in runs:
        results.update(dict.fromkeys(run.result))
        for section in run.config.values():
            if id(section) not in seen:
                seen.add(id(section))
                keys.update(dict.fromkeys(section))
    return keys | results


def complete_key(name: str, keys: Mapping[str, None]) -> str:
    """The key that `name` means: itself, the name of a section, or the only key that ends in it."""
    if name in keys:
        return name
    if f"{name}.name" in keys:
        return f"{name}.name"
    ends = [key for key in keys if key.endswith(f".{name}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        shown = ", ".join(ends[:4]) + (", ..." if len(ends) > 4 else "")
        raise UserError(f"{name} may mean {shown}; write one of them")
    near = difflib.get_close_matches(name, keys, 1) or [
        key for leaf in difflib.get_close_matches(name.rpartition(".")[2], {k.rpartition(".")[2] for k in keys}, 1)
        for key in keys if key.rpartition(".")[2] == leaf
    ]  # fmt: skip
    raise UserError(
        f"no run has the key {name}" + (f"; nearest: {near[0]}" if near else "")
    )
