"""Which runs a command line means: folders, sweeps, names of runs, and conditions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aihw_cli.report import note
from aihw_cli.sweeps.manifest import run_beside
from aihw_cli.sweeps.stored import MANIFEST, is_sweep, run_folders
from engine.readers.wording import listed
from engine.records.index import Found, each_once, find_runs
from engine.records.run import Run, all_keys, complete_key
from engine.records.select import Condition, read_condition, select
from engine.settings import UserError, user_path

HOME = Path("runs")
PROBLEMS = 5


@dataclass
class Picked:
    """The chosen runs, every key that can be asked of them, and those that cannot be read."""

    runs: list[Run]
    keys: dict[str, None] = field(default_factory=dict)
    damaged: list[Run] = field(default_factory=list)

    def key(self, name: str) -> str:
        """The complete key that a user's word means. Raises UserError with the nearest."""
        return complete_key(name, self.keys)

    def list(self, names: str) -> list[str]:
        """The keys in a list with commas."""
        return [self.key(name.strip()) for name in names.split(",") if name.strip()]


def pick(words: Sequence[str]) -> Picked:
    """The runs that `words` mean. Raises UserError if there are none, or if no run can be meant by
    a word."""
    conditions, places = [], []
    for word in words:
        condition = None if os.path.exists(word) else read_condition(word)
        if condition is None:
            places.append(word)
        else:
            conditions.append(condition)
    if not places:
        if not HOME.is_dir():
            raise UserError(
                "there is no folder runs here; name the folder that holds your runs"
            )
        places = [str(HOME)]
    return _chosen(_found(places), conditions, places)


def _chosen(
    found: Found, conditions: Sequence[Condition], places: Sequence[str]
) -> Picked:
    if not found.runs and not found.damaged:
        raise UserError(f"there is no run below {listed(places)}")
    keys = all_keys(found.runs)
    chosen, damaged = (
        select(runs, conditions, keys) for runs in (found.runs, found.damaged)
    )
    if not chosen and not damaged:
        said = " ".join(f"{c.key}{c.sign}{c.text}" for c in conditions)
        raise UserError(
            f"none of {len(found.runs)} runs below {listed(places)} has {said}"
        )
    return Picked(chosen, keys, damaged)


def _found(places: Sequence[str]) -> Found:
    found = Found()
    plain = [user_path(place) for place in places if _is_plain(user_path(place))]
    for place in places:
        path = user_path(place)
        if is_sweep(path):
            _add(found, _of_sweep(path))
        elif not path.is_dir():
            _add(found, _named(place))
    if plain:
        _add(found, find_runs(plain, note))
    _tell(dict.fromkeys(found.problems))
    if len(places) > 1:
        found.runs, found.damaged = map(each_once, (found.runs, found.damaged))
    return found


def _add(found: Found, more: Found) -> None:
    found.runs += more.runs
    found.damaged += more.damaged
    found.problems += more.problems


def _is_plain(path: Path) -> bool:
    return path.is_dir() and not is_sweep(path)


def _tell(problems: Iterable[str]) -> None:
    """A line for each folder that cannot be read: it is left out, not hidden."""
    lines = list(problems)
    for line in lines[:PROBLEMS]:
        note(line.replace("\n", " "))
    if len(lines) > PROBLEMS:
        note(f"{len(lines) - PROBLEMS} more folders cannot be read")


def _of_sweep(folder: Path) -> Found:
    """The runs that the manifest of a sweep names."""
    paths = [run_beside(folder, name) for name in run_folders(folder / MANIFEST)]
    wanted = {os.path.realpath(path) for path in paths}
    parents = dict.fromkeys(path.parent for path in paths)
    below = find_runs([parent for parent in parents if parent.is_dir()], note)
    problems = [x for x in below.problems if any(str(path) in x for path in paths)]
    return _only(below, lambda run: os.path.realpath(run.folder) in wanted, problems)


def _named(word: str) -> Found:
    """The runs below the usual folder whose id, or a part of it, begins with `word`."""
    if not HOME.is_dir():
        raise UserError(f"{word} is neither a folder nor a condition (key=value)")
    below = find_runs([HOME], note)
    found = _only(
        below, lambda run: any(name.startswith(word) for name in _names(run)), []
    )
    if not found.runs and not found.damaged:
        raise UserError(
            f"{word} is neither a folder, nor the name of a run below {HOME}, nor a condition (key=value)"
        )
    found.problems = [str(run.record["problem"]) for run in found.damaged]
    return found


def _only(below: Found, wanted: Callable[[Run], bool], problems: list[str]) -> Found:
    runs, damaged = (list(filter(wanted, some)) for some in (below.runs, below.damaged))
    return Found(runs, damaged, problems)


def _names(run: Run) -> tuple[str, str, str]:
    return (
        str(run.record["id"]),
        run.folder.name,
        f"{run.folder.parent.name}/{run.folder.name}",
    )
