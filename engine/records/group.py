"""Runs joined: by the values of some keys, or all that differ in nothing but their seed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.records.differ import differing, distinguishing
from engine.records.run import Run
from engine.records.statistics import Spread, spread

FINISHED = "finished"
# Metrics of which less is better.
LESS = re.compile(r"loss|error|perplexity|seconds|rmse|deviation")


@dataclass(frozen=True)
class Group:
    """Runs that agree in the values of `keys`."""

    keys: Mapping[str, Any]
    runs: Sequence[Run]

    def spread(self, metric: str) -> Spread:
        """Statistics of a metric over the runs."""
        return spread([run.number(metric) for run in self.runs])


def group_by(runs: Sequence[Run], keys: Sequence[str]) -> list[Group]:
    """Runs with equal values of `keys`, in the order of their first run."""
    found: dict[str, tuple[dict[str, Any], list[Run]]] = {}
    for run in runs:
        values = {key: run.value(key) for key in keys}
        found.setdefault(json.dumps(values, default=str), (values, []))[1].append(run)
    return [Group(values, members) for values, members in found.values()]


def distinct(runs: Sequence[Run]) -> list[Run]:
    """Each run once: links, copies and repetitions (`--again`) of one have its hash and its seed,
    and therefore its result, so that they say nothing more about how results spread. A finished one
    stands for the others."""
    found: dict[Any, Run] = {}
    for run in runs:
        identity = run.record.get("hash")
        key = (identity, run.record.get("seed")) if identity else id(run)
        known = found.get(key)
        if known is None or (known.status != FINISHED and run.status == FINISHED):
            found[key] = run
    return list(found.values())


def over_seeds(runs: Sequence[Run]) -> list[Group]:
    """Repetitions joined: runs of one hash, which covers whatever decides a result but the seed."""
    keys = distinguishing(runs)
    return [
        Group({**{k: g.runs[0].value(k) for k in keys}, **g.keys}, g.runs)
        for g in group_by(runs, ["hash"])
    ]


def mixed(group: Group) -> list[str]:
    """Keys beside the seed in which the runs of a group differ, so that their mean hides
    something."""
    return differing(group.runs)


def less_is_better(metric: str) -> bool:
    """Whether a small value of a metric is the good one, by its name."""
    return LESS.search(metric) is not None


def best_first(groups: Sequence[Group], metric: str, *, lowest: bool) -> list[Group]:
    """Groups by the mean of a metric; those without one last."""
    means = {id(group): group.spread(metric).mean for group in groups}
    known = [group for group in groups if means[id(group)] == means[id(group)]]
    rest = [group for group in groups if means[id(group)] != means[id(group)]]
    return sorted(known, key=lambda group: means[id(group)], reverse=not lowest) + rest
