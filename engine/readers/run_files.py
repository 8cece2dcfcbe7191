"""The files of a run folder, read back. Disks fill up, machines stop, people edit: each file is
whole and of the shape that others rely on, or it is refused with what is wrong and what to do."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.readers.json_text import read_json
from engine.readers.plain import read_text
from engine.readers.wording import brief, first_line
from engine.readers.yaml_text import parse_yaml
from engine.settings import UserError

# Version 1 recorded neither the parts of its hash nor the programs that worked on the run.
FORMAT = 2
DONE = ("finished", "diverged")
STATUSES = (*DONE, "running", "interrupted", "failed")
LIMIT = 64 << 20
# With settings of its own for each of 150 layers, a configuration takes more than a megabyte.
CONFIG_LIMIT = 8 << 20
# A folder without it is no run folder, so that it is there where it is damaged.
RECORD_NAME = "run.json"
ADVICE = "delete the folder, or make the run anew beside it with --again"


class DamagedRun(UserError):
    """A file of a run folder that is missing, cut off or changed."""


def damaged(path: Path, reason: object) -> DamagedRun:
    """The error for a file of a run folder: what is wrong with it, and what to do."""
    state = "is damaged" if path.name == RECORD_NAME else "is missing or damaged"
    return DamagedRun(f"{path} {state}: {reason}; {ADVICE}")


def read_record(folder: Path) -> dict[str, Any]:
    """run.json of a run folder. Raises UserError if it is none, or one of a newer version."""
    path = folder / RECORD_NAME
    if not folder.is_dir() or not path.is_file():
        missing = "it has no run.json" if folder.is_dir() else "there is no such folder"
        raise UserError(f"{folder} is no run folder: {missing}")
    found = _mapping(path)
    version = found.get("format")
    if not isinstance(version, int):
        raise damaged(path, f"format is {brief(version)}, no number")
    if version > FORMAT:
        raise UserError(
            f"{folder} was written by a newer version of aihw (format {version}); update aihw"
        )
    _check(path, found, RECORD)
    return found


def read_summary(folder: Path) -> dict[str, Any]:
    """summary.json of a run that is done."""
    path = folder / "summary.json"
    found = _mapping(path)
    _check(path, found, SUMMARY)
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """config.yaml of a run folder."""
    return parse_config(config_text(folder), folder)


def config_text(folder: Path) -> str:
    """The text of config.yaml."""
    path = folder / "config.yaml"
    try:
        return read_text(path, limit=CONFIG_LIMIT, follow=False)
    except UserError as problem:
        raise damaged(path, _reason(problem, path)) from None


def parse_config(text: str, folder: Path) -> dict[str, Any]:
    """The settings in the text of config.yaml, or in whole sections of it."""
    path = folder / "config.yaml"
    try:
        values = parse_yaml(text, path)
    except UserError as problem:
        raise damaged(path, _reason(problem, path)) from None
    if not values:
        raise damaged(path, "it holds no settings")
    for name in SECTIONS:
        if name in values and not isinstance(values[name], Mapping):
            raise damaged(path, f"{name} is {brief(values[name])}, no section")
    return values


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.csv. Raises UserError with the line that is damaged."""
    path = folder / "metrics.csv"
    if not path.exists():
        raise UserError(f"{folder} has no metrics.csv")
    try:
        text = read_text(path, limit=LIMIT, follow=False)
    except UserError as problem:
        raise damaged(path, _reason(problem, path)) from None
    rows: list[dict[str, Any]] = []
    try:
        for row in csv.DictReader(io.StringIO(text, newline="")):
            if None in row or None in row.values():
                raise ValueError("it has another number of fields than the first one")
            rows.append({key: _figure(value) for key, value in row.items()})
    except (ValueError, csv.Error) as problem:
        line = len(rows) + 2
        raise DamagedRun(
            f"{path} line {line} is damaged: {first_line(problem)}"
        ) from None
    return rows


def _figure(text: str) -> Any:
    if text.isdecimal():
        return int(text)
    return float(text) if text else float("nan")


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path, LIMIT)
    except UserError as problem:
        raise damaged(path, _reason(problem, path)) from None
    if not isinstance(found, dict):
        raise damaged(path, f"it holds {brief(found)} instead of a record")
    return found


def _reason(problem: UserError, path: Path) -> str:
    """What a reader says, without the name of the file that is said already."""
    text = str(problem)
    for start in (f"cannot read {path}: ", f"{path} is damaged: ", f"{path}: "):
        text = text.removeprefix(start)
    # What is left of the name of the file is followed by a line.
    return text.replace(f"{path}:", "line ", 1)


def _check(path: Path, found: Mapping[str, Any], shape: Shape) -> None:
    """Refuse a record in which an entry is missing or of another kind than its readers expect."""
    for key, (needed, fits, kind) in shape.items():
        if (needed or found.get(key) is not None) and not fits(found.get(key)):
            value = f"is {brief(found[key])}" if key in found else "is missing"
            raise damaged(path, f"{key} {value} instead of {kind}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_flat(value: Any) -> bool:
    """A mapping from words to single values."""
    if not isinstance(value, Mapping):
        return False
    return not any(isinstance(item, list | dict) for item in value.values())


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_points(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_flat, value))


def _entries(
    names: str, fits: Callable[[Any], bool], kind: str, *, needed: bool = False
) -> Iterator[tuple[str, tuple[bool, Callable[[Any], bool], str]]]:
    for name in names.split():
        yield name, (needed, fits, kind)


Shape = Mapping[str, tuple[bool, Callable[[Any], bool], str]]
SECTIONS = (
    "task", "device", "tile", "algorithm", "preset", "inference", "model", "dataset", "loss",
    "optimizer", "run", "layers",
)  # fmt: skip
RECORD: Shape = dict(
    (
        *_entries("id hash", _is_text, "a text", needed=True),
        *_entries(
            "status",
            STATUSES.__contains__,
            "one of " + ", ".join(STATUSES),
            needed=True,
        ),
        *_entries("name started ended commit device data task", _is_text, "a text"),
        *_entries("seed threads", _is_count, "a whole number"),
        *_entries("seconds", _is_number, "a number"),
        *_entries("versions host identity samples", _is_flat, "names and their values"),
        *_entries("citations command", _are_texts, "a list of texts"),
        *_entries("stretches", _are_points, "a list of programs"),
    )
)
SUMMARY: Shape = dict(
    (
        *_entries(
            "status", DONE.__contains__, "one of " + ", ".join(DONE), needed=True
        ),
        *_entries("name task figure reference reason selected_on", _is_text, "a text"),
        *_entries("epochs samples seed best_epoch", _is_count, "a whole number"),
        *_entries(
            "test_accuracy test_loss best_test_accuracy samples_per_second",
            _is_number,
            "a number",
        ),
        *_entries(
            "valid_accuracy valid_loss best_valid_accuracy", _is_number, "a number"
        ),
        *_entries("seconds reference_accuracy", _is_number, "a number"),
        *_entries("notes", _are_texts, "a list of texts"),
        *_entries("points", _are_points, "a list of results"),
    )
)
