"""Metrics as JSON lines in the run folder: metrics.jsonl, a line for each epoch, then the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.experiment.writers import Row
from engine.trust.files import write_bytes
from engine.trust.text import to_json

# What it needs is part of Python.
PACKAGE, EXTRA = "json", ""
FILE = "metrics.jsonl"


class Writer:
    """Writes the whole file anew each time, as metrics.csv is: a run that goes on repeats no line."""

    def __init__(
        self, path: Path, config: Mapping[str, Any], record: Mapping[str, Any]
    ) -> None:
        self._path, self._lines = path / FILE, [""]

    def rows(self, rows: Sequence[Row]) -> None:
        """A line for each row."""
        self._lines = [to_json(row) for row in rows]
        self._write()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The result as the last line."""
        self._lines.append(to_json({"summary": dict(summary)}))
        self._write()

    def close(self) -> None:
        """Every line is on the disk already."""

    def _write(self) -> None:
        write_bytes(self._path, ("\n".join(self._lines) + "\n").encode())
