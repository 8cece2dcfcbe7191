"""Event files for TensorBoard in the run folder: `tensorboard --logdir runs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.experiment.writers import Row, numbers, step
from engine.readers.yaml_text import dump_yaml
from engine.trust.files import make_folder, remove_tree

PACKAGE, EXTRA = "tensorboard", "aihw[tensorboard]"
HOME = "tensorboard"


class Writer:
    """Writes tensorboard/ below the run folder, from the first row on: what a crash left over is
    not kept."""

    def __init__(
        self, path: Path, config: Mapping[str, Any], record: Mapping[str, Any]
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        remove_tree(path / HOME)
        make_folder(path / HOME)
        self._events = SummaryWriter(str(path / HOME))
        self._written = 0
        text = dump_yaml(config)
        self._events.add_text("config", "    " + text.replace("\n", "\n    "))
        self._events.add_text(
            "run", f"{record.get('id')}, commit {record.get('commit') or 'unknown'}"
        )

    def rows(self, rows: Sequence[Row]) -> None:
        """Scalars of the rows that are new."""
        for place, row in enumerate(rows[self._written :], self._written):
            for name, value in numbers(row).items():
                self._events.add_scalar(name, value, step(row, place))
        self._written = len(rows)
        self._events.flush()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The result as a text."""
        rows = "\n".join(
            f"| {k} | {v} |"
            for k, v in summary.items()
            if isinstance(v, int | float | str)
        )
        self._events.add_text("summary", f"| | |\n|-|-|\n{rows}")

    def close(self) -> None:
        """Everything reaches the disk."""
        self._events.close()
