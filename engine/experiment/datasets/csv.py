"""A table: `dataset.path=FILE.csv`, a sample each line, its label in the last column or in that of
`dataset.label`. `dataset.test_part` of each class is for testing."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.experiment.feeding.arrays import labels, samples
from engine.experiment.feeding.split import held_out
from engine.readers.wording import brief, unknown
from engine.settings import UserError, user_path
from engine.trust.files import read_bytes

if TYPE_CHECKING:
    from engine.experiment.data import Data

ABOUT = "A table of your own: a sample each line, numbers in its columns, and a label."
SOURCE = ""


def files(settings: Mapping[str, Any]) -> list[Path]:
    """The file that `dataset.path` names."""
    path = user_path(str(settings.get("path") or ""))
    if not settings.get("path") or not path.is_file():
        what = (
            f"no file {path}"
            if settings.get("path")
            else "csv needs dataset.path=FILE.csv"
        )
        raise UserError(f"dataset.path: {what}")
    return [path]


def load(settings: Mapping[str, Any]) -> Data:
    """Rows [N, F] and labels."""
    import numpy as np

    from engine.experiment.data import Data

    path = files(settings)[0]
    head, rows = _table(path)
    column = _label_column(path, head, rows, str(settings.get("label") or ""))
    names = np.array([row[column].strip() for row in rows])
    values = np.array(
        [_numbers(path, line, row, column) for line, row in rows_numbered(head, rows)]
    )
    x = samples(str(path), values)
    found, classes = labels(str(path), {"train": names})
    y, test = found["train"], held_out(found["train"], settings)
    return Data(x[~test], y[~test], x[test], y[test], classes)


def rows_numbered(
    head: list[str], rows: list[list[str]]
) -> list[tuple[int, list[str]]]:
    """Rows with the numbers of their lines."""
    return list(enumerate(rows, 2 if head else 1))


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """The names of columns, if the first line holds names, and the rows."""
    try:
        text = read_bytes(path, follow=True).decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise UserError(f"{path}: cannot be read as a table: {problem}") from problem
    if not rows:
        raise UserError(f"{path}: the table is empty")
    # Names: no number in any column, where there are numbers below.
    named = not any(map(_is_number, rows[0]))
    head, rows = (rows[0], rows[1:]) if named else ([], rows)
    width = len(head or rows[0])
    for line, row in enumerate(rows, 1 + named):
        if len(row) != width:
            raise UserError(
                f"{path} line {line}: {len(row)} columns instead of {width}"
            )
    if not rows or width < 2:
        raise UserError(
            f"{path}: a table needs a column of numbers, one of labels, and samples"
        )
    return head, rows


def _label_column(path: Path, head: list[str], rows: list[list[str]], name: str) -> int:
    if not name:
        return len(rows[0]) - 1
    if name not in head:
        hint = unknown(name, head) if head else "it has no line of names"
        raise UserError(f"dataset.label: {path} has no column {brief(name)}; {hint}")
    return head.index(name)


def _numbers(path: Path, line: int, row: list[str], label: int) -> list[float]:
    found = []
    for column, text in enumerate(row):
        if column == label:
            continue
        if not _is_number(text):
            raise UserError(
                f"{path} line {line}: {brief(text)} is no number (column {column + 1})"
            )
        found.append(float(text))
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
