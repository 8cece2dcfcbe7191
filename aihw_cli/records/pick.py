"""Which runs a command line means: folders, sweeps, names of runs, and conditions."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aihw_cli.report import note
from aihw_cli.sweeps.manifest import run_beside
from engine.records.index import find_runs
from engine.records.run import Run, all_keys, complete_key
from engine.records.select import Condition, read_condition, select
from engine.settings import UserError, user_path
from engine.trust.files import read_text

HOME = Path("runs")
SWEEP = "sweep.json"
PROBLEMS = 5


@dataclass
class Picked:
    """The chosen runs, and every key that can be asked of them."""

    runs: list[Run]
    keys: dict[str, None] = field(default_factory=dict)

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
            raise UserError("there is no folder runs here; name the folder that holds your runs")
        places = [str(HOME)]
    return _chosen(_found(places), conditions, places)


def _chosen(runs: list[Run], conditions: Sequence[Condition], places: Sequence[str]) -> Picked:
    if not runs:
        raise UserError(f"there is no run below {', '.join(places)}")
    keys = all_keys(runs)
    chosen = select(runs, conditions, keys)
    if not chosen:
        said = " ".join(f"{c.key}{c.sign}{c.text}" for c in conditions)
        raise UserError(f"none of {len(runs)} runs below {', '.join(places)} has {said}")
    return Picked(chosen, keys)


def _found(places: Sequence[str]) -> list[Run]:
    found: list[Run] = []
    problems: list[str] = []
    plain = [user_path(place) for place in places if _is_plain(user_path(place))]
    for place in places:
        path = user_path(place)
        if (path / SWEEP).is_file():
            found += _of_sweep(path, problems)
        elif not path.is_dir():
            found += _named(place, problems)
    if plain:
        below = find_runs(plain, note)
        found, problems = found + below.runs, problems + below.problems
    _tell(dict.fromkeys(problems))
    return list({run.folder.resolve(): run for run in found}.values()) if len(places) > 1 else found


def _is_plain(path: Path) -> bool:
    return path.is_dir() and not (path / SWEEP).is_file()


def _tell(problems: Iterable[str]) -> None:
    """A line for each folder that cannot be read: it is left out, not hidden."""
    lines = list(problems)
    for line in lines[:PROBLEMS]:
        note(line.replace("\n", " "))
    if len(lines) > PROBLEMS:
        note(f"{len(lines) - PROBLEMS} more folders cannot be read")


def _of_sweep(folder: Path, problems: list[str]) -> list[Run]:
    """The runs that the manifest of a sweep names."""
    try:
        jobs = json.loads(read_text(folder / SWEEP))["jobs"]
        paths = [run_beside(folder, job["folder"]) for job in jobs]
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / SWEEP} is missing or damaged: {error}") from None
    wanted = {os.path.realpath(path) for path in paths}
    parents = dict.fromkeys(path.parent for path in paths)
    found = find_runs([parent for parent in parents if parent.is_dir()], note)
    problems += [line for line in found.problems if any(str(path) in line for path in paths)]
    return [run for run in found.runs if os.path.realpath(run.folder) in wanted]


def _named(word: str, problems: list[str]) -> list[Run]:
    """The runs below the usual folder whose id, or a part of it, begins with `word`."""
    if not HOME.is_dir():
        raise UserError(f"{word} is neither a folder nor a condition (key=value)")
    below = find_runs([HOME], note)
    found = [run for run in below.runs if any(name.startswith(word) for name in _names(run))]
    if not found:
        raise UserError(
            f"{word} is neither a folder, nor the name of a run below {HOME}, nor a condition (key=value)"
        )
    return found


def _names(run: Run) -> tuple[str, str, str]:
    return str(run.record["id"]), run.folder.name, f"{run.folder.parent.name}/{run.folder.name}"
