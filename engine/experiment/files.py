"""Tables, records and figures as files that are either whole or absent, and one line for what
cannot be written."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.settings import UserError
from engine.trust.files import write_bytes
from engine.trust.text import to_json, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace `path` by `value` as JSON; numbers that JSON lacks (infinite, undefined) become
    null."""
    write_bytes(path, f"{to_json(value, indent=2)}\n".encode())


def write_csv(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> None:
    """Replace `path` by a table with one line for each row."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_bytes(path, text.getvalue().encode())


@contextmanager
def writing(what: str, folder: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden folder into one line for the user."""
    try:
        yield
    except OSError as problem:
        raise UserError(
            f"cannot write {what} in {visible(folder)}: {problem.strerror or problem}"
        ) from problem


def style(own: Mapping[str, Any] | None = None) -> AbstractContextManager[None]:
    """Matplotlib's own defaults and `own` over them.

    Else a file `matplotlibrc` in the current folder would decide, up to whether LaTeX is called."""
    from matplotlib import style as styles

    return styles.context(["default", dict(own or {})])


def image(figure: Figure, kind: str, **options: Any) -> bytes:
    """The figure as a file of a kind (png, svg, pdf). Raises ValueError for a formula in one of its
    texts that cannot be read."""
    content = io.BytesIO()
    figure.savefig(content, format=kind, **options)
    return content.getvalue()
