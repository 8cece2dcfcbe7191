"""`conf=RUN/config.yaml`: what a run was done with, as a recipe for another one.

A run folder may come from a stranger. So nothing is fetched for it, and results go where a recipe
may send them, or beside the run that the user named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from engine.experiment.config import Run
from engine.experiment.runs import offline
from engine.readers.run_files import RECORD_NAME, read_config

CONFIG_NAME = "config.yaml"


def is_recorded(path: Path) -> bool:
    """Whether a file is the configuration of a run folder."""
    return path.name == CONFIG_NAME and (path.parent / RECORD_NAME).is_file()


def read_recorded(path: Path) -> dict[str, Any]:
    """The settings of a run folder. Raises UserError for a folder that is damaged."""
    values = offline(read_config(path.parent))
    run = values.get("run") or {}
    folder = run.get("dir")
    if (
        isinstance(folder, str)
        and reaches_outside(folder)
        and not is_home(folder, path)
    ):
        # Whoever recorded it chose the place, not the user of today.
        run["dir"] = Run().dir
    return values


def reaches_outside(folder: str) -> bool:
    """Whether a folder is none below the current one."""
    return (
        Path(folder).is_absolute()
        or ".." in Path(folder).parts
        or folder.startswith("~")
    )


def is_home(folder: str, path: Path) -> bool:
    """Whether a folder is the one in which the run of `path` lies, as `folder/recipe/run`."""
    home = path.absolute().parent.parent.parent
    return Path(os.path.realpath(folder)) == Path(os.path.realpath(home))
