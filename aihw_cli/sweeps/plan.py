"""From words to the points and runs of a sweep: every point is composed and checked before anything
runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aihw_cli import overrides
from aihw_cli.compose import Composed, compose
from aihw_cli.effects import refuse_equal_points, refuse_without_effect
from aihw_cli.sweeps.manifest import Job, Sweep
from engine.experiment.runs import folder_name, run_folder, stored_config
from engine.settings import UserError, user_path

DIGITS = 12
MOST_RUNS = 20_000


class Composer:
    """Composes many points; what they have in common is composed once."""

    def __init__(self, allow_code: bool) -> None:
        self.allow_code = allow_code
        self.shared: dict[str, Any] = {}
        self.notes: dict[str, None] = {}
        self.checked: set[str] = set()

    def compose(self, words: Sequence[str], whole: bool = False) -> dict[str, Any]:
        """The configuration of a point. Raises UserError, naming the point if it is not the `whole`
        command."""
        try:
            composed: Composed = compose(
                words, allow_code=self.allow_code, shared=self.shared
            )
        except UserError as error:
            raise UserError(
                str(error) if whole else f"{error}\nin the point {' '.join(words)}"
            ) from None
        self.notes.update(dict.fromkeys(composed.notes))
        self._check_network(composed.values)
        return composed.values

    def _check_network(self, config: dict[str, Any]) -> None:
        """Find out now, and once for all points that have it, whether a network fits its data."""
        from engine.experiment.custom.check import check_network
        from engine.experiment.writers import require

        require(config)  # a logger that is missing would fail run after run
        parts = [
            config.get(key) for key in ("task", "model", "dataset", "loss", "layers")
        ]
        key = json.dumps(parts, default=str)
        if key not in self.checked:
            check_network(config)
            self.checked.add(key)


def plan(
    words: Sequence[str],
    *,
    multirun: bool,
    allow_code: bool = False,
    again: bool = False,
) -> Sweep:
    """The sweep that `words` describe."""
    names = overrides.swept_keys(words) if multirun else []
    for name in names:
        if name in ("run.executor", "run.dir", "seeds") or name.startswith(
            "run.cluster"
        ):
            raise UserError(f"{name} cannot be swept: it is one for the whole sweep")
    points = overrides.expand(words) if multirun else [list(words)]
    composer = Composer(allow_code)
    # A mistake in the first point is most often one of the whole command.
    values = [
        composer.compose(point, whole=number == 0)
        for number, point in enumerate(points)
    ]
    runs = sum(config["seeds"] for config in values)
    if runs > MOST_RUNS:
        raise UserError(
            f"seeds: {len(values)} points with their seeds are {runs} runs; a sweep has at most {MOST_RUNS}"
        )
    folder = sweep_folder(values[-1], "sweep", values)
    if again:
        folder = free_folder(folder)
    keys = [
        keys_of(names, point, config)
        for point, config in zip(points, values, strict=True)
    ]
    notes = [*composer.notes, *refuse_without_effect(common_words(points), values)]
    notes += refuse_equal_points(keys, values) if names else []
    jobs = [
        job
        for number, config in enumerate(values)
        for job in seeds_of(number, config, again=again)
    ]
    return Sweep(
        folder,
        keys,
        [as_text(v) for v in values],
        jobs,
        words=list(words),
        notes=notes,
    )


def seeds_of(
    point: int, config: Mapping[str, Any], *, again: bool = False
) -> list[Job]:
    """The runs of a point, one for each seed."""
    first = int(config["run"]["seed"])
    place = run_folder(config)
    # The hash leaves the seed out, so that it is computed once for all of them.
    paths = {
        s: place.with_name(f"{place.name.rpartition('-')[0]}-{s}")
        for s in range(first, first + config["seeds"])
    }
    return [
        Job(point, seed, free_folder(path) if again else path)
        for seed, path in paths.items()
    ]


def sweep_folder(config: Mapping[str, Any], kind: str, content: Any) -> Path:
    """Where a sweep goes: beside the runs of its recipe, named by a hash of `content`."""
    digest = hashlib.sha256(
        json.dumps(content, sort_keys=True, default=str).encode()
    ).hexdigest()[:DIGITS]
    home = user_path(config["run"]["dir"]) / folder_name(str(config["name"]))
    return home / f"{kind}-{digest}"


def as_text(config: Mapping[str, Any]) -> str:
    """A configuration as one line, fit to be run from any folder."""
    return json.dumps(stored_config(config), default=str)


def common_words(points: Sequence[Sequence[str]]) -> list[str]:
    """The words that all points of a sweep have in common."""
    return [word for word in points[0] if all(word in point for point in points)]


def keys_of(
    names: Sequence[str], point: Sequence[str], config: Mapping[str, Any]
) -> dict[str, str]:
    """What a point changes: the swept keys with its values, or the name of the recipe."""
    given = dict(text.split("=", 1) for text in point)
    return {key: given[key] for key in names} or {"name": str(config["name"])}


def free_folder(folder: Path) -> Path:
    """The folder, with a number behind its name if it exists already."""
    number, free = 2, folder
    while free.exists():
        free, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return free
