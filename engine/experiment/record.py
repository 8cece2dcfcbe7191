"""What is written beside every result: versions, commit, machine, papers."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from engine.devices.base import find_device
from engine.experiment.identity import device_models, sections_of
from engine.experiment.members import find_member
from engine.experiment.tasks import TRAIN, find_task, task_of
from engine.settings import ROOT

PACKAGES = ("aihw", "torch", "numpy", "safetensors", "omegaconf", "hydra-core")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that take part in a run."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = ""
    return found


def git_commit() -> str:
    """The commit of the checkout, with `-dirty` if files differ from it; empty for an installed
    package."""
    if not (ROOT / ".git").exists():
        return ""
    command = [
        "git",
        "--no-optional-locks",
        "-C",
        str(ROOT),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def host() -> dict[str, str]:
    """The machine."""
    return {
        "name": platform.node(),
        "system": platform.platform(),
        "processor": platform.machine(),
    }


def now() -> str:
    """The time of day with its zone, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def citations(config: Mapping[str, Any]) -> list[str]:
    """The papers of the recipe, its task, presets, device, algorithm, model and dataset, each
    once."""
    return list(
        dict.fromkeys(
            text.strip() for text in _sources(config) if text and text.strip()
        )
    )


def _sources(config: Mapping[str, Any]) -> Iterator[str]:
    sections, task = sections_of(config), task_of(config)
    yield str(config.get("source") or "")
    if task != TRAIN:
        yield str(find_task(task).SOURCE)
    yield from _nested({key: config.get(key) for key in (*sections, "preset")})
    for model in device_models({key: config.get(key) for key in sections}):
        yield _device_source(model)
    for kind, section in (("models", "model"), ("datasets", "dataset")):
        if section in sections:
            yield str(getattr(find_member(kind, config[section]["name"]), "SOURCE", ""))


def _nested(values: Any) -> Iterator[str]:
    if isinstance(values, Mapping):
        if isinstance(values.get("source"), str):
            yield values["source"]
        for value in values.values():
            yield from _nested(value)


def _device_source(model: str) -> str:
    try:
        return find_device(model).source
    except ValueError:
        return ""
