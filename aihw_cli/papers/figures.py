"""The figures that recipes repeat, found by path, and the configuration of each of their runs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aihw_cli.compose import compose
from aihw_cli.recipe import entries, recipes
from aihw_cli.report import note
from engine.experiment.reproduce.spec import Figure, Point, read_figure
from engine.presets import Trail, nearest, read_yaml
from engine.settings import UserError

SCALED, ALL = "-scaled", "all"


@dataclass(frozen=True)
class Chosen:
    """A figure that was asked for by its own name or by that of a group, in full or in its smaller
    version."""

    figure: Figure
    scaled: bool = False
    named: bool = True


@dataclass(frozen=True)
class Planned:
    """One run of a figure: its point, seed, the words after `aihw train`, and how long it takes."""

    point: Point
    seed: int
    words: tuple[str, ...]
    figure: str = ""
    minutes: float = 0.0


def figures() -> dict[str, Path]:
    """Name and file of every recipe that repeats a figure of a paper."""
    found = {}
    for name, paths in sorted(recipes().items()):
        try:
            values = read_yaml(paths[0])
        except UserError as error:
            note(f"recipe {name} is left out: {error}")
            continue
        if "reproduce" in values:
            found[name] = paths[0]
    return found


def load(name: str, path: Path) -> Figure:
    """The figure of a recipe. Raises UserError in one line."""
    values = read_yaml(path)
    if "seeds" not in values:
        values["seeds"] = _inherited_seeds(path, values)
    return read_figure(name, values, str(path))


def select(wanted: Sequence[str], *, scaled: bool = False) -> list[Chosen]:
    """The figures of `PAPER`, `PAPER/FIGURE`, `PAPER/FIGURE-scaled` and `all`. Raises UserError,
    naming the nearest."""
    found = figures()
    chosen: dict[tuple[str, bool], bool] = {}
    for text in wanted:
        small = text.endswith(SCALED) and text not in found
        for name in _named(text.removesuffix(SCALED) if small else text, found):
            key = (name, scaled or small)
            chosen[key] = chosen.get(key, False) or text.removesuffix(SCALED) == name
    loaded = {name: load(name, found[name]) for name, _ in chosen}
    every = [
        Chosen(loaded[name], small, named) for (name, small), named in chosen.items()
    ]
    for each in every:
        if each.named and each.scaled and not each.figure.scaled:
            raise UserError(
                f"{each.figure.name} has no smaller version; run it without --scaled"
            )
    return [each for each in every if each.figure.scaled or not each.scaled]


def _named(wanted: str, found: Mapping[str, Path]) -> list[str]:
    chosen = [name for name in found if wanted in (ALL, name, name.rpartition("/")[0])]
    if not chosen:
        papers = {name.rpartition("/")[0] for name in found}
        raise UserError(
            f"no paper or figure {wanted!r}; {nearest(wanted, [*found, *papers])}"
        )
    return chosen


def planned(
    figure: Figure, *, scaled: bool = False, extra: Sequence[str] = ()
) -> Iterator[Planned]:
    """Every run of a figure."""
    more = (
        (*figure.scaled.changes, f"name={figure.name}{SCALED}")
        if scaled and figure.scaled
        else ()
    )
    for point in figure.points:
        for seed in range(1, figure.seeds + 1):
            own = (
                f"conf={figure.name}",
                *point.training,
                *more,
                f"run.seed={seed}",
                "seeds=1",
            )
            minutes = figure.minutes_of(point.name, scaled=scaled)
            yield Planned(
                point, seed, (*own, *extra), figure.name + SCALED * scaled, minutes
            )


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


def _inherited_seeds(
    path: Path, values: dict[str, Any], trail: Trail | None = None
) -> Any:
    """Seeds of the recipe that this one builds on."""
    trail = trail or Trail()
    trail.enter(path.name)
    for group, name, _ in entries(path, values.get("defaults", [])):
        if not group and name:
            base = path.parent / f"{name}.yaml"
            inner = read_yaml(base)
            return (
                inner["seeds"]
                if "seeds" in inner
                else _inherited_seeds(base, inner, trail)
            )
    return 1
