"""A run in Weights & Biases: online where a key is known (`wandb login`), else offline in the run
folder, from where `wandb sync` sends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.experiment.writers import Row, numbers, step

PACKAGE, EXTRA = "wandb", "aihw[wandb]"
DONE = ("finished",)


class Writer:
    """One run of W&B under the name of the run folder; one that goes on continues it."""

    def __init__(
        self, path: Path, config: Mapping[str, Any], record: Mapping[str, Any]
    ) -> None:
        import wandb

        online = wandb.setup().settings.mode == "online" and bool(wandb.api.api_key)
        self._run = wandb.init(
            dir=str(path),
            project=path.parent.name,
            name=path.name,
            id=str(record.get("id") or path.name).replace("/", "-"),
            config=dict(config),
            mode="online" if online else "offline",
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", disable_git=True),
        )
        self._written = 0

    def rows(self, rows: Sequence[Row]) -> None:
        """Metrics of the rows that are new; W&B ignores those of steps that it has."""
        for place, row in enumerate(rows[self._written :], self._written):
            self._run.log(numbers(row), step=step(row, place))
        self._written = len(rows)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The result, and whether it is one."""
        self._run.summary.update(
            {k: v for k, v in summary.items() if isinstance(v, int | float | str)}
        )
        self._run.finish(exit_code=0 if summary.get("status") in DONE else 1)

    def close(self) -> None:
        """A run without a result counts as interrupted."""
        self._run.finish(exit_code=1)
