"""Three kinds, never mixed: what makes a figure reproduced, what leaves only its ordering, what was
not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from aihw_cli.papers.text import cost
from engine.experiment.reproduce.judge import (
    NOT_RUN,
    ORDERING,
    REPRODUCED,
    Judgement,
    Run,
    judge,
    value_of,
)
from engine.experiment.reproduce.spec import GRADES, read_figure, terms
from engine.settings import UserError
from tests.papers.conftest import figure_text

GOOD: Mapping[str, Sequence[float]] = {"digital": (2.0, 2.2), "pulsed": (3.1, 3.3)}


def judged(
    errors: Mapping[str, Sequence[float]] = GOOD,
    *,
    scaled: bool = False,
    **changes: Any,
) -> Judgement:
    figure = read_figure(
        "toy2020/fig1", yaml.safe_load(figure_text(**changes)), "here.yaml"
    )
    runs = {
        name: [
            Run(seed, Path(), {"test_accuracy": 1 - error / 100}, {})
            for seed, error in enumerate(found, 1)
        ]
        for name, found in errors.items()
    }
    return judge(figure, runs, scaled=scaled)


def test_in_tolerance_is_reproduced() -> None:
    found = judged()
    assert found.kind == REPRODUCED
    assert [round(p.mean, 6) for p in found.points] == [2.1, 3.2]
    assert found.points[0].std == pytest.approx(0.2 / 2**0.5)
    assert found.told == "2 of 2 values in tolerance; 1 of 1 orderings hold"


def test_the_edge_of_the_tolerance_counts_as_inside() -> None:
    assert judged({"digital": (2.5, 2.5), "pulsed": (3.5, 3.5)}).kind == REPRODUCED
    assert judged({"digital": (2.51, 2.51), "pulsed": (3.5, 3.5)}).kind == ORDERING


def test_out_of_tolerance_leaves_the_ordering_and_says_by_how_much() -> None:
    found = judged({"digital": (2.0, 2.2), "pulsed": (4.1, 4.3)})
    assert found.kind == ORDERING
    assert "pulsed off by +1.2" in found.told and "1 of 1 orderings hold" in found.told


def test_a_violated_ordering_is_never_reproduced() -> None:
    found = judged({"digital": (2.5, 2.5), "pulsed": (2.5, 2.5)})
    assert all(p.inside for p in found.points)
    assert found.kind == ORDERING and "violated: digital < pulsed" in found.told


def test_the_smaller_version_is_never_reproduced_and_has_no_expected_values() -> None:
    found = judged(scaled=True)
    assert found.kind == ORDERING
    assert all(p.expected is None and p.inside is None for p in found.points)
    assert any("smaller" in note and "not comparable" in note for note in found.notes)


@pytest.mark.parametrize("grade", [g for g in GRADES if g != "FT"])
def test_only_full_text_makes_reproduced(grade: str) -> None:
    found = judged(grade=grade)
    assert found.kind == ORDERING
    assert "tolerance" not in found.told
    assert found.figure.known != "published"


def test_missing_seeds_are_not_reproduced() -> None:
    found = judged({"digital": (2.0, 2.2), "pulsed": (3.1,)})
    assert found.kind == ORDERING and found.told.endswith("3 of 4 runs")


def test_nothing_recorded_says_what_it_needs() -> None:
    assert judged({}).kind == NOT_RUN
    assert judged({}, needs="a GPU").told == "a GPU"


def test_an_ordering_with_a_missing_side_is_open() -> None:
    found = judged({"digital": (2.0, 2.2)})
    assert [o.holds for o in found.orders] == [None]
    assert "0 of 1 orderings hold" in found.told


def test_a_collapsed_network_is_named() -> None:
    assert any(
        "at chance" in note and "pulsed" in note
        for note in judged({"pulsed": (88.65, 3.0)}).notes
    )
    assert not judged().notes


@pytest.mark.parametrize(
    "order, holds",
    [
        ("digital < pulsed", True),
        ("digital > pulsed", False),
        ("digital < pulsed < 5", True),
        ("digital < pulsed < 3", False),
        ("digital < pulsed - 1", True),
        ("digital < pulsed - 1.2", False),
        ("pulsed > digital + 1", True),
        ("pulsed < 3.21", True),
    ],
)
def test_orderings(order: str, holds: bool) -> None:
    assert judged(order=[order]).orders[0].holds is holds


def test_names_with_spaces_numbers_and_signs() -> None:
    names = ("c-TTv2 0.5", "1 %", "64 10", "7-bit DAC")
    assert terms("c-TTv2 0.5 < 1 % + 2", names) == (
        "<",
        [("c-TTv2 0.5", 0.0), ("1 %", 2.0)],
    )
    assert terms("64 10 > 7-bit DAC - 0.5", names)[1] == [
        ("64 10", 0.0),
        ("7-bit DAC", -0.5),
    ]


def test_metrics() -> None:
    summary = {
        "test_accuracy": 0.975,
        "best_test_accuracy": 0.98,
        "weight_error": 0.05,
        "converged": True,
    }
    assert value_of("test_error", summary) == pytest.approx(2.5)
    assert value_of("best_test_accuracy", summary) == pytest.approx(98)
    assert value_of("weight_error", summary) == 0.05
    for nothing in ("absent", "converged"):
        assert value_of(nothing, summary) != value_of(nothing, summary)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"grade": "sure"}, ("grade", "FT")),
        ({"grade": None}, ("reproduce.grade is missing",)),
        ({"evidence": None}, ("evidence",)),
        ({"minutes": "long"}, ("minutes", "number")),
        ({"minutes": {"pulsed": 3}}, ("minutes must hold `all`",)),
        (
            {"minutes": {"all": 3, "pulse": 1}},
            ("no point begins with 'pulse'", "nearest: pulsed"),
        ),
        ({"ordr": ["a < b"]}, ("ordr", "nearest: order")),
        ({"expected": {"pulse": 3.0}}, ("pulse", "nearest: pulsed")),
        ({"order": ["digital < puls"]}, ("puls", "nearest: pulsed")),
        ({"order": ["digital pulsed"]}, ("no ordering",)),
        ({"order": ["a < b > c"]}, ("no ordering",)),
        ({"tolerance": None}, ("tolerance is missing",)),
        ({"points": {}}, ("neither points nor axes",)),
        ({"points": {"a": ["optimizer.lr"]}}, ("key=value",)),
        (
            {"order": None, "expected": None},
            ("neither expected values nor an ordering",),
        ),
        ({"scaled": {"minutes": 1}}, ("scaled needs set",)),
        ({"axes": {"x": ["1"]}}, ("axes.x",)),
    ],
)
def test_bad_figures_are_refused_in_one_line(
    changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(UserError) as caught:
        read_figure("toy2020/fig1", yaml.safe_load(figure_text(**changes)), "here.yaml")
    text = str(caught.value)
    assert len(text.splitlines()) == 1 and text.startswith("here.yaml: ")
    assert all(word in text for word in words), text


def test_axes_are_multiplied_out() -> None:
    axes = {"kind": {"A": [], "B": "algorithm=digital"}, "lr": "optimizer.lr=0.1,0.2"}
    figure = read_figure(
        "x/y",
        yaml.safe_load(
            figure_text(points=None, axes=axes, expected=None, order=["A 0.1 < B 0.2"])
        ),
        "here.yaml",
    )
    assert [p.name for p in figure.points] == ["A 0.1", "A 0.2", "B 0.1", "B 0.2"]
    assert figure.points[3].overrides == ("algorithm=digital", "optimizer.lr=0.2")


def test_minutes_go_by_the_longest_beginning_of_a_name() -> None:
    axes = {"kind": {"A": [], "AB": "algorithm=digital"}, "lr": "optimizer.lr=0.1,0.2"}
    minutes = {"all": 1, "A": 2, "A 0.2": 3}
    text = figure_text(
        points=None, axes=axes, expected=None, order=["A 0.1 < AB 0.2"], minutes=minutes
    )
    figure = read_figure("x/y", yaml.safe_load(text), "here.yaml")
    assert [figure.minutes_of(point.name) for point in figure.points] == [2, 3, 1, 1]
    assert figure.minutes_of("A 0.2", scaled=True) == 0.05
    assert cost(figure) == "8 x 1 to 3 min"
