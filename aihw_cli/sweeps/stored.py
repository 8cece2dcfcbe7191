"""The files of a sweep, read back: whole and of the shape that the sweep relies on, or refused."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from aihw_cli.check import Checker
from aihw_cli.schema import Section, dataclass_section
from engine.experiment.config import SECTIONS
from engine.readers.json_text import parse_json, read_json
from engine.readers.plain import read_text
from engine.readers.wording import brief
from engine.settings import UserError

MANIFEST, POINTS = "sweep.json", "points.jsonl"
LIMIT = 64 << 20
STATUSES = ("queued", "running", "interrupted", "failed", "finished", "diverged")
JOB = {
    "point": int,
    "seed": int,
    "folder": str,
    "status": str,
    "attempts": int,
    "error": str,
}
OPTIONS = {"jobs": int, "gpus": list, "retries": int, "fail_fast": bool}
SEARCH = {
    "metric": str, "direction": str, "space": list, "fixed": list, "seed": int, "seeds": int, "trials": int,
}  # fmt: skip
DIMENSION = {
    "key": str, "low": (int, float), "high": (int, float), "step": (int, float), "log": bool, "choices": list,
}  # fmt: skip
ANEW = "start it again with its own command, which takes over the runs that it finds"


def has_manifest(folder: Path) -> bool:
    """Whether there is a manifest, usable or not."""
    return os.path.lexists(folder / MANIFEST)


def is_sweep(folder: Path) -> bool:
    """Whether a folder is that of a sweep, even if its manifest is lost."""
    return has_manifest(folder) or os.path.lexists(folder / POINTS)


def damaged(path: Path, reason: str) -> UserError:
    """The error for a file of a sweep: what is wrong, and how to go on without it."""
    return UserError(
        f"{path} is missing or damaged: {reason}; delete the folder {path.parent} and {ANEW}"
    )


class Manifest:
    """sweep.json as it was stored. Raises UserError while it is made if it is damaged, or of
    another version than `version`."""

    def __init__(self, path: Path, version: int) -> None:
        self.path = path
        content = _json(path)
        if not isinstance(content, dict):
            self.refuse(f"it holds {brief(content)} instead of a record")
        self._check_version(content.get("format"), version)
        shape = {
            "words": list,
            "options": dict,
            "search": dict,
            "points": list,
            "jobs": list,
        }
        self._fits("the record", content, shape)
        self._texts("words", content["words"])
        self._fits("options", content["options"], OPTIONS)
        self._texts("options.gpus", content["options"]["gpus"])
        self.content: dict[str, Any] = content
        self._points(content["points"])
        self._jobs(content["jobs"])
        if content["search"]:
            self._search(content["search"])

    def refuse(self, reason: str) -> NoReturn:
        """Raises UserError for the file."""
        raise damaged(self.path, reason)

    def _check_version(self, found: Any, version: int) -> None:
        if not isinstance(found, int):
            self.refuse(f"format is {brief(found)}, no number")
        if found != version:
            age, hint = (
                ("a newer", "update aihw") if found > version else ("an older", ANEW)
            )
            raise UserError(
                f"{self.path.parent} was written by {age} version of aihw (format {found}); {hint}"
            )

    def _fits(self, what: str, found: Any, shape: Mapping[str, Any]) -> None:
        """Refuse a mapping with other keys, or with values of other types."""
        if not isinstance(found, dict) or found.keys() - {"format"} != shape.keys():
            self.refuse(f"{what} does not have the entries {', '.join(shape)}")
        for key, kind in shape.items():
            flag = kind is not bool and isinstance(found[key], bool)
            if flag or not isinstance(found[key], kind):
                self.refuse(f"{key} of {what} is {brief(found[key])}")

    def _texts(self, what: str, found: Sequence[Any]) -> None:
        if not all(isinstance(text, str) for text in found):
            self.refuse(f"{what} holds {brief(found)}, not texts")

    def _points(self, points: list[Any]) -> None:
        first = points[0] if points else {}
        for number, point in enumerate(points):
            if not isinstance(point, dict) or not point or [*point] != [*first]:
                self.refuse(
                    f"point {number} is {brief(point)}: it lacks keys that others have"
                )
            self._texts(f"point {number}", [*point, *point.values()])

    def _jobs(self, jobs: list[Any]) -> None:
        count = len(self.content["points"])
        for number, job in enumerate(jobs):
            self._fits(f"run {number}", job, JOB)
            if job["status"] not in STATUSES or job["point"] not in range(count):
                self.refuse(
                    f"run {number} is {job['status']!r}, of point {job['point']}"
                )
            if job["seed"] < 0 or job["attempts"] < 0:
                self.refuse(f"run {number} has the seed {job['seed']}")

    def _search(self, search: Any) -> None:
        self._fits("search", search, SEARCH)
        self._texts("search.fixed", search["fixed"])
        for number, dimension in enumerate(search["space"]):
            self._fits(f"search.space[{number}]", dimension, DIMENSION)
            self._texts(f"search.space[{number}]", dimension["choices"])
        if search["direction"] not in ("minimize", "maximize") or search["trials"] < 1:
            self.refuse(f"search is {brief(search)}")
        keys = {dimension["key"] for dimension in search["space"]}
        for number, point in enumerate(self.content["points"]):
            if point.keys() != keys:
                self.refuse(
                    f"point {number} does not give values to {', '.join(sorted(keys))}"
                )


def run_folders(path: Path) -> list[str]:
    """The folders of the runs that a manifest names, whatever else is wrong with it."""
    content = _json(path)
    jobs = content.get("jobs") if isinstance(content, dict) else None
    folders = [
        job.get("folder") if isinstance(job, dict) else None for job in _list(jobs)
    ]
    named = [folder for folder in folders if isinstance(folder, str)]
    if not isinstance(jobs, list) or len(named) < len(folders):
        raise damaged(path, "it does not name its runs")
    return named


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _json(path: Path) -> Any:
    try:
        return read_json(path, LIMIT)
    except UserError as problem:
        raise damaged(path, str(problem).removeprefix(f"{path} is damaged: ")) from None


def read_points(path: Path, count: int) -> list[str]:
    """The configurations of the first `count` points, each a line of JSON."""
    try:
        lines = read_text(path, limit=LIMIT, follow=False).split("\n")[:count]
    except UserError as problem:
        raise damaged(path, str(problem)) from None
    if len(lines) < count or "" in lines:
        raise damaged(path, "it lacks points")
    run: Section = {"run": dataclass_section(SECTIONS["run"])}
    for number, line in enumerate(lines, 1):
        try:
            config = parse_json(line, f"line {number}")
            if not isinstance(config, dict) or not isinstance(config.get("run"), dict):
                raise UserError(f"line {number} is no configuration")
            Checker({}).section(run, {"run": config["run"]})
        except UserError as problem:
            raise damaged(path, str(problem)) from None
    return lines
