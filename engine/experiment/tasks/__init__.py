"""What a recipe may do other than train a network: `task: {name: solve, ...}`.

One file each, found by its name. A module is importable without torch and defines ABOUT, SOURCE, a
dataclass `Settings` (fields made by engine.experiment.config.setting, so that they are checked
before anything runs), and

    SECTIONS                       the parts of the configuration that decide its result, such as
                                   ("device", "tile")
    FIGURE                         the entry of the summary that counts most, as test_accuracy does
                                   for training
    LOWER_IS_BETTER                whether a smaller figure is the better one
    check(settings)                optional: raises ValueError in one line for settings that do not
                                   fit together
    LEFT_OUT                       optional: settings that do not decide its result, such as where
                                   a file lies
    fingerprint(config)            optional: a text that changes with the files that it reads
    examine(config)                optional: raises UserError for what files say, before a run
                                   folder is made
    run(config, folder, reporter)  does the work and returns the figures of its summary

`run` gets the whole configuration and the run folder that it owns (`folder.write_metrics(rows)`,
`folder.log`, `folder.path` for plots). It is short, or takes up what it left in the folder: `aihw
resume` calls it once more. Randomness comes from `config["run"]["seed"]` alone;
`engine.experiment.processor.processor` gives torch's device.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, TypeVar

from engine.config.members import Members

TASKS = Members("engine.experiment.tasks", "task.name: no task")
TRAIN = "train"
T = TypeVar("T")


def task_names() -> list[str]:
    """Training, and the tasks of this folder."""
    return [TRAIN, *TASKS.names()]


def task_of(config: Mapping[str, Any]) -> str:
    """The task that a configuration names; training unless it says otherwise."""
    return str((config.get("task") or {}).get("name") or TRAIN)


def find_task(name: str) -> ModuleType:
    """The module of a task other than training. Raises UserError with the nearest name."""
    return TASKS.find(name)


def task_settings(config: Mapping[str, Any], kind: type[T]) -> T:
    """The `Settings` of the task that `config` names."""
    return kind(
        **{key: value for key, value in config["task"].items() if key != "name"}
    )
