"""In which keys of their configuration runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.experiment.identity import LEFT_OUT
from engine.records.run import LABELLED, Run

TEXTS = ("about", "source", "claim", "expected", "tolerance", "cite")
# What does not decide the result of a run; runs that differ in nothing else are repetitions.
INCIDENTAL = {
    "name",
    "seeds",
    *(f"{section}.{key}" for section, keys in LEFT_OUT.items() for key in keys),
}
Section = Mapping[str, Any]
NONE: Section = {}


def differing(runs: Sequence[Run], *, incidental: bool = False) -> list[str]:
    """All keys in which the runs differ, texts left out; those that decide no result only if
    wanted."""
    return [
        key
        for name in _sections(runs)
        for key in _in_section(runs, name, incidental=incidental)
    ]


def distinguishing(runs: Sequence[Run]) -> list[str]:
    """The fewest keys that tell the runs apart: where presets or kinds differ, their names stand
    for their values."""
    found: list[str] = []
    for name in _sections(runs):
        keys = _in_section(runs, name)
        label = name if name in LABELLED else f"{name}.name"
        kinds: dict[str, list[Run]] = {}
        for run in runs if keys else ():
            kinds.setdefault(str(run.value(label)), []).append(run)
        if len(kinds) > 1:
            inner = {
                key for members in kinds.values() for key in _in_section(members, name)
            }
            keys = [label, *(key for key in keys if key in inner and key != label)]
        found += keys
    if any(part in found for part in LABELLED):
        found = [key for key in found if key != "preset.name"]
    return found


def _sections(runs: Sequence[Run]) -> dict[str, None]:
    return dict.fromkeys(name for run in runs for name in run.config)


def _in_section(
    runs: Sequence[Run], name: str, *, incidental: bool = False
) -> list[str]:
    """The keys of one section. Equal sections are one object, so that only few are looked into."""
    kinds: dict[int, Section] = {}
    for run in runs:
        section = run.config.get(name, NONE)
        kinds[id(section)] = section
    if len(kinds) < 2:
        return []
    sections = list(kinds.values())
    keys = dict.fromkeys(key for section in sections for key in section)
    # A key that only some runs have tells of the version that wrote them, except among the changes
    # of layers.
    absent = incidental or name == "layers"
    unequal = [key for key in keys if _differs(sections, key, absent=absent)]
    told = [key for key in unequal if key.rpartition(".")[2] not in TEXTS]
    return [
        key
        for key in told
        if incidental or ".".join(key.split(".")[:2]) not in INCIDENTAL
    ]


def _differs(sections: Sequence[Section], key: str, *, absent: bool) -> bool:
    values = [section[key] for section in sections if key in section]
    return any(value != values[0] for value in values) or (
        absent and len(values) < len(sections)
    )
