"""The figures that recipes repeat, found by path, and the configuration of each of their runs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aihw_cli.compose import compose
from aihw_cli.recipe import recipes
from engine.experiment.reproduce.spec import Figure, Point, read_figure
from engine.presets import nearest, read_yaml
from engine.settings import UserError

SCALED = "-scaled"


@dataclass(frozen=True)
class Planned:
    """One run of a figure: its point, seed, and the words after `aihw train`."""

    point: Point
    seed: int
    words: tuple[str, ...]


def figures() -> dict[str, Path]:
    """Name and file of every recipe that repeats a figure of a paper."""
    return {name: paths[0] for name, paths in sorted(recipes().items()) if "reproduce" in read_yaml(paths[0])}


def load(name: str, path: Path) -> Figure:
    """The figure of a recipe. Raises UserError in one line."""
    values = read_yaml(path)
    if "seeds" not in values:
        values["seeds"] = _inherited_seeds(path, values)
    return read_figure(name, values, str(path))


def select(wanted: str) -> list[Figure]:
    """The figures of `PAPER`, of `PAPER/FIGURE`, or all of them. Raises UserError, naming the nearest."""
    found = figures()
    chosen = [name for name in found if not wanted or name == wanted or name.rpartition("/")[0] == wanted]
    if not chosen:
        papers = {name.rpartition("/")[0] for name in found}
        raise UserError(f"no paper or figure {wanted!r}; {nearest(wanted, [*found, *papers])}")
    return [load(name, found[name]) for name in chosen]


def planned(figure: Figure, *, scaled: bool = False, extra: Sequence[str] = ()) -> Iterator[Planned]:
    """Every run of a figure. Raises UserError if there is no smaller version."""
    if scaled and figure.scaled is None:
        raise UserError(f"{figure.name} has no smaller version; without --scaled it takes {figure.minutes:g} min a run")
    more = (*figure.scaled.changes, f"name={figure.name}{SCALED}") if scaled and figure.scaled else ()
    for point in figure.points:
        for seed in range(1, figure.seeds + 1):
            own = (f"conf={figure.name}", *point.training, *more, f"run.seed={seed}", "seeds=1")
            yield Planned(point, seed, (*own, *extra))


def configurations(runs: Sequence[Planned]) -> Iterator[dict[str, Any]]:
    """The complete configuration of each run; what they have in common is composed once."""
    shared: dict[str, Any] = {}
    last: dict[tuple[str, ...], dict[str, Any]] = {}
    for run in runs:
        words = tuple(word for word in run.words if not word.startswith("run.seed="))
        if words not in last:
            last = {words: compose(words, shared=shared).values}
        config = copy.deepcopy(last[words])
        config["run"]["seed"] = run.seed
        yield config


def _inherited_seeds(path: Path, values: dict[str, Any]) -> Any:
    """Seeds of the recipe that this one builds on."""
    for entry in values.get("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            base = path.parent / f"{entry}.yaml"
            inner = read_yaml(base)
            return inner["seeds"] if "seeds" in inner else _inherited_seeds(base, inner)
    return 1
