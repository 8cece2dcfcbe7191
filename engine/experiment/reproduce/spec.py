"""The node `reproduce:` of a recipe: points of a figure, what the paper says of them, and how well
that is known."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.readers.wording import brief, unknown
from engine.settings import UserError

FULL_TEXT, MEMORY = "FT", "MEM"
GRADES = {
    FULL_TEXT: "published",
    "ABS": "from the abstract",
    "REP": "from the authors' code",
    "2SRC": "second-hand, two sources",
    "1SRC": "second-hand, one source",
    "CARD": "second-hand, a summary",
    MEMORY: "to be checked",
}
METRICS = {
    "test_error": ("test_accuracy", "test error, %"),
    "test_accuracy": ("test_accuracy", "test accuracy, %"),
    "best_test_error": ("best_test_accuracy", "best test error, %"),
    "best_test_accuracy": ("best_test_accuracy", "best test accuracy, %"),
    "evaluated_error": ("evaluated_accuracy", "test error on programmed devices, %"),
    "evaluated_accuracy": (
        "evaluated_accuracy",
        "test accuracy on programmed devices, %",
    ),
}
ALL = "all"
EVALUATE = "eval."  # begins the changes of a point that concern its evaluation, not its training
BOUND = re.compile(r"^(?P<name>.+?)(?: (?P<sign>[+-]) (?P<number>\d+(?:\.\d+)?))?$")


@dataclass(frozen=True)
class Point:
    """One run of a figure: its name, its place on each axis, and what it changes in the recipe."""

    name: str
    overrides: tuple[str, ...]
    labels: tuple[str, ...] = ()

    @property
    def training(self) -> tuple[str, ...]:
        """The changes that concern training."""
        return tuple(word for word in self.overrides if not word.startswith(EVALUATE))


@dataclass(frozen=True)
class Scaled:
    """The smaller version: what it changes in every point, the ordering that it must show, and its
    cost."""

    changes: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    minutes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A figure or table of a paper that a recipe repeats. Expected values and tolerances are in
    units of the metric."""

    name: str
    claim: str
    source: str
    place: str
    metric: str
    grade: str
    evidence: str
    points: tuple[Point, ...]
    minutes: Mapping[str, float]
    axes: tuple[str, ...] = ()
    expected: Mapping[str, float] = field(default_factory=dict)
    tolerance: Mapping[str, float] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    assumed: str = ""
    left_out: str = ""
    needs: str = ""
    remark: str = ""
    unit: str = ""
    evaluate: tuple[str, ...] = ()
    scaled: Scaled | None = None
    seeds: int = 1

    @property
    def paper(self) -> str:
        """The folder of the recipe."""
        return self.name.rpartition("/")[0]

    @property
    def known(self) -> str:
        """What the expected values are, in words: never `published` unless the full text was
        read."""
        return GRADES[self.grade]

    @property
    def axis(self) -> str:
        """The metric with its unit."""
        own = self.metric.replace("_", " ") + (f", {self.unit}" if self.unit else "")
        return METRICS[self.metric][1] if self.metric in METRICS else own

    def tolerance_of(self, point: str) -> float:
        """How far a point may be off."""
        return self.tolerance.get(point, self.tolerance.get(ALL, 0.0))

    def minutes_of(self, point: str, *, scaled: bool = False) -> float:
        """How long one run of a point takes on one core: its own value, else that of all whose name
        begins so."""
        given = self.scaled.minutes if scaled and self.scaled else self.minutes
        fitting = [name for name in given if begins(point, name)]
        return given[max(fitting, key=len, default=ALL)]

    def orders(self, scaled: bool) -> tuple[str, ...]:
        """The orderings that are judged: those of the smaller version, if it has its own."""
        return (
            self.scaled.order
            if scaled and self.scaled and self.scaled.order
            else self.order
        )


def begins(point: str, words: str) -> bool:
    """Whether the name of a point is, or begins with, these words."""
    return f"{point} ".startswith(f"{words} ")


TEXTS = (
    "place",
    "metric",
    "grade",
    "evidence",
    "assumed",
    "left_out",
    "needs",
    "remark",
    "unit",
)
REQUIRED = ("place", "metric", "grade", "evidence", "minutes")
OWN = (
    "points",
    "axes",
    "expected",
    "tolerance",
    "order",
    "scaled",
    "evaluate",
    "minutes",
    *TEXTS,
)
MOST_POINTS = 1000
SCALED = ("set", "order", "minutes")


def read_figure(name: str, recipe: Mapping[str, Any], where: str) -> Figure:
    """The figure of a recipe's values. Raises UserError in one line that names the file and the
    key."""
    node = recipe.get("reproduce")
    if not isinstance(node, Mapping):
        raise UserError(f"{where}: reproduce must be a section")
    _known(where, "reproduce", node, OWN)
    for key in REQUIRED:
        if key not in node:
            raise UserError(f"{where}: reproduce.{key} is missing")
    for key in ("claim", "source"):
        if not isinstance(recipe.get(key), str) or not recipe[key].strip():
            raise UserError(f"{where}: {key} is missing")
    if not isinstance(node["grade"], str) or node["grade"] not in GRADES:
        given = brief(node["grade"])
        raise UserError(
            f"{where}: reproduce.grade must be one of {', '.join(GRADES)}, not {given}"
        )
    seeds = recipe.get("seeds", 1)
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise UserError(
            f"{where}: seeds must be a whole number >= 1, not {brief(seeds)}"
        )
    axes = _axes(where, node.get("axes", {}))
    points = (*_points(where, node.get("points", {})), *_product(where, axes))
    figure = Figure(
        name=name, claim=" ".join(recipe["claim"].split()), source=recipe["source"], points=points, axes=tuple(axes),
        expected=_numbers(where, "expected", node.get("expected", {})), tolerance=_tolerance(where, node),
        order=_texts(where, "order", node.get("order", [])),
        evaluate=_texts(where, "evaluate", node.get("evaluate", [])),
        minutes=_minutes(where, node["minutes"]), scaled=_scaled(where, node.get("scaled")),
        seeds=seeds, **{key: str(node.get(key, "")) for key in TEXTS},
    )  # fmt: skip
    _check(where, figure)
    return figure


def terms(
    order: str, names: tuple[str, ...]
) -> tuple[str, list[tuple[str | None, float]]]:
    """An ordering `a < b + 0.5 < c`: its sign, and each term as (point or None, number). Raises
    ValueError."""
    sign = next((s for s in ("<", ">") if f" {s} " in order), "")
    if not sign or (f" {'<' if sign == '>' else '>'} " in order):
        raise ValueError(
            f"{order!r} is no ordering; write a < b, a < 3, or a > b + 0.5 > c"
        )
    return sign, [_term(text.strip(), names) for text in order.split(f" {sign} ")]


def _term(text: str, names: tuple[str, ...]) -> tuple[str | None, float]:
    if text in names:
        return text, 0.0
    found = BOUND.match(text)
    if found and found["number"] and found["name"] in names:
        return found["name"], float(found["sign"] + found["number"])
    try:
        return None, float(text)
    except ValueError:
        raise ValueError(f"no point {text!r}; {unknown(text, names)}") from None


def _check(where: str, figure: Figure) -> None:
    """Names that must exist, and what a judgement needs."""
    names = tuple(p.name for p in figure.points)
    if not names:
        raise UserError(f"{where}: reproduce has neither points nor axes")
    if len(set(names)) < len(names):
        raise UserError(f"{where}: reproduce names a point twice")
    for key, given in (("expected", figure.expected), ("tolerance", figure.tolerance)):
        for name in given:
            if name not in names and (key, name) != ("tolerance", ALL):
                raise UserError(
                    f"{where}: reproduce.{key}: no point {name!r}; {unknown(name, names)}"
                )
    for name in (*figure.minutes, *(figure.scaled.minutes if figure.scaled else ())):
        if name != ALL and not any(begins(point, name) for point in names):
            raise UserError(
                f"{where}: reproduce.minutes: no point begins with {name!r}; {unknown(name, names)}"
            )
    for name in figure.expected:
        if not figure.tolerance_of(name) > 0:
            raise UserError(f"{where}: reproduce.tolerance is missing for {name!r}")
    for order in (*figure.order, *(figure.scaled.order if figure.scaled else ())):
        try:
            terms(order, names)
        except ValueError as problem:
            raise UserError(f"{where}: reproduce.order: {problem}") from None
    if not figure.order and not figure.expected:
        raise UserError(
            f"{where}: reproduce has neither expected values nor an ordering"
        )


def _points(where: str, node: Any) -> Iterator[Point]:
    if not isinstance(node, Mapping):
        raise UserError(f"{where}: reproduce.points must hold `name: [key=value, ...]`")
    for name, given in node.items():
        yield Point(str(name), _overrides(where, str(name), given))


def _axes(where: str, node: Any) -> dict[str, dict[str, tuple[str, ...]]]:
    """For each axis its places with what they change; `key=a,b,c` is a short form."""
    if not isinstance(node, Mapping):
        raise UserError(
            f"{where}: reproduce.axes must hold `name: {{place: [key=value, ...]}}` or `name: key=a,b,c`"
        )
    axes = {}
    for axis, text in node.items():
        given = text
        if isinstance(text, str) and "=" in text:
            key, _, values = text.partition("=")
            given = {value: [f"{key}={value}"] for value in values.split(",")}
        if not isinstance(given, Mapping):
            raise UserError(
                f"{where}: reproduce.axes.{axis} must hold `place: [key=value, ...]` or be `key=a,b,c`"
            )
        axes[str(axis)] = {
            str(k): _overrides(where, str(k), v) for k, v in given.items()
        }
    return axes


def _product(
    where: str, axes: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> Iterator[Point]:
    count = math.prod(map(len, axes.values()))
    if count > MOST_POINTS:
        raise UserError(
            f"{where}: reproduce.axes are {count} points; {MOST_POINTS} are allowed"
        )
    for labels in itertools.product(*axes.values()) if axes else ():
        changes = [
            places[label] for places, label in zip(axes.values(), labels, strict=True)
        ]
        yield Point(" ".join(labels), tuple(itertools.chain(*changes)), labels)


def _overrides(where: str, name: str, given: Any) -> tuple[str, ...]:
    words = given.split() if isinstance(given, str) else given
    if not isinstance(words, list) or not all(
        isinstance(w, str) and "=" in w for w in words
    ):
        raise UserError(
            f"{where}: reproduce: {name!r} must hold key=value changes, not {brief(given)}"
        )
    return tuple(words)


def _scaled(where: str, node: Any) -> Scaled | None:
    if node is None:
        return None
    if not isinstance(node, Mapping):
        raise UserError(f"{where}: reproduce.scaled must hold {', '.join(SCALED)}")
    _known(where, "reproduce.scaled", node, SCALED)
    changes = _overrides(where, "scaled.set", node.get("set", []))
    if not changes or "minutes" not in node:
        raise UserError(f"{where}: reproduce.scaled needs set and minutes")
    minutes = _minutes(where, node["minutes"])
    return Scaled(
        changes, _texts(where, "scaled.order", node.get("order", [])), minutes
    )


def _minutes(where: str, given: Any) -> dict[str, float]:
    """Minutes for every run, or for points by name or beginning of it, `all` for the others."""
    if not isinstance(given, Mapping):
        return {ALL: _number(where, "minutes", given)}
    if ALL not in given:
        raise UserError(
            f"{where}: reproduce.minutes must hold `all`, beside points that take longer or shorter"
        )
    return _numbers(where, "minutes", given)


def _tolerance(where: str, node: Mapping[str, Any]) -> dict[str, float]:
    given = node.get("tolerance", {})
    return _numbers(
        where, "tolerance", given if isinstance(given, Mapping) else {ALL: given}
    )


def _numbers(where: str, key: str, given: Any) -> dict[str, float]:
    if not isinstance(given, Mapping):
        raise UserError(f"{where}: reproduce.{key} must hold `point: number`")
    return {str(name): _number(where, key, value) for name, value in given.items()}


def _number(where: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(
            f"{where}: reproduce.{key} must be a number, not {brief(value)}"
        )
    return float(value)


def _texts(where: str, key: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise UserError(
            f"{where}: reproduce.{key} must be a list of texts, not {brief(given)}"
        )
    return tuple(given)


def _known(
    where: str, prefix: str, node: Mapping[str, Any], names: tuple[str, ...]
) -> None:
    for key in node:
        if key not in names:
            raise UserError(
                f"{where}: unknown key {prefix}.{key}; {unknown(key, names)}"
            )
