"""Every recipe of a published figure: complete, composes at every point, and builds its network."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import pytest

from aihw_cli.papers.figures import configurations, figures, load, planned
from engine.experiment.reproduce.spec import GRADES, MEMORY
from engine.experiment.tasks import TRAIN, find_task, task_names, task_of

FOUND = figures()
PLACE = re.compile(r"doi:10\.\d{4,9}/\S+|arXiv:\d{4}\.\d{4,5}|not peer reviewed")
WANTED = (
    "gokmen2016/fp-baseline", "gokmen2016/rpu-baseline", *(f"gokmen2016/fig3{panel}" for panel in "abcdefghi"),
    "gokmen2016/fig4", "haensch2018/fig7-spec", "gokmen2017/ladder", "gokmen2018/lstm64", "gokmen2020/fcn",
    "gokmen2021/ttv2-states", "nandakumar2020/mlp", "wu2024/fig5-fcn", "wu2024/fig5-cnn", "wu2025/tab7-fcn",
    "wu2025/tab8-fcn", "li2025/tab1", "rasch2024/fig4", "rasch2024/fig5-fcn", "rasch2024/fig6", "legallo2018/linsolve",
    "joshi2020/mlp-standin", "rasch2023/mlp-standin", "legallo2023/fig5-mvm", "legallo2023/fig8-algos",
    "legallo2023/fig10-dtod", "lrtt2026/fig4a", "lrtt2026/fig4b",
)  # fmt: skip
# Values that nobody has read in the paper itself.
FROM_MEMORY = ("gokmen2016", "gokmen2017")


def test_the_figures_that_are_promised_are_there() -> None:
    assert set(WANTED) <= set(FOUND)


@pytest.mark.parametrize("name", FOUND)
def test_complete(name: str) -> None:
    figure = load(name, FOUND[name])
    assert figure.grade in GRADES and figure.evidence and figure.place
    assert PLACE.search(figure.source), f"{name}: no DOI, no arXiv number"
    assert (FOUND[name].parent / "paper.bib").is_file()
    assert (
        all(figure.minutes_of(point.name) > 0 for point in figure.points)
        and figure.seeds >= 1
    )
    assert figure.order or all(
        figure.tolerance_of(point) > 0 for point in figure.expected
    )
    if figure.paper in FROM_MEMORY:
        assert figure.grade == MEMORY and figure.known == "to be checked"
    if (
        figure.metric not in ("refinements",)
        and figure.metric.endswith(("error", "accuracy"))
        and not figure.unit
    ):
        assert all(0 <= value <= 100 for value in figure.expected.values())


@functools.cache
def composed(name: str) -> list[dict[str, Any]]:
    """The configuration of every point, in full."""
    return list(
        configurations(
            [run for run in planned(load(name, FOUND[name])) if run.seed == 1]
        )
    )


@pytest.mark.parametrize("name", FOUND)
def test_every_point_composes_and_differs(name: str) -> None:
    figure = load(name, FOUND[name])
    runs = [run for run in planned(figure) if run.seed == 1]
    texts = [
        json.dumps(config, sort_keys=True, default=str) for config in composed(name)
    ]
    assert len(set(texts)) == len({run.point.training for run in runs}), (
        "two points are the same run"
    )
    if figure.scaled:
        small = next(iter(configurations(list(planned(figure, scaled=True))[:1])))
        full = json.loads(texts[0])
        size = [
            (c["run"]["epochs"], c["dataset"]["train_samples"] or 10**9)
            for c in (small, full)
        ]
        assert size[0] < size[1], "the smaller version is not smaller"
        assert small["name"] == f"{name}-scaled"


@pytest.mark.parametrize("name", FOUND)
def test_builds_its_networks(name: str) -> None:
    import torch

    from engine.experiment.build import build
    from engine.experiment.data import TEXT, Info

    kinds: dict[tuple[str, ...], dict[str, Any]] = {}
    for config in composed(name):
        kinds.setdefault(
            (
                config["algorithm"]["name"],
                config["device"]["model"],
                json.dumps(config["layers"]),
            ),
            config,
        )
    for config in kinds.values():
        if task_of(config) != TRAIN:
            assert task_of(config) in task_names() and find_task(task_of(config)).FIGURE
            continue
        text = config["dataset"]["name"] == "text"
        info = Info((10,), 30, TEXT) if text else Info((1, 28, 28), 10)
        model, _ = build(config, info, torch.device("cpu"))
        with torch.no_grad():
            x = (
                torch.zeros(2, 10, dtype=torch.int64)
                if text
                else torch.zeros(2, 1, 28, 28)
            )
            assert torch.isfinite(model(x)).all()
