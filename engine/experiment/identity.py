"""What decides the result of a run, as a hash: configuration, physics text, device files, data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.devices.base import find_device
from engine.experiment.data import fingerprint
from engine.experiment.tasks import TRAIN, find_task, task_of
from engine.jit.unit import kernel_files
from engine.settings import UserError
from engine.tile.settings import GROUPS

FORMAT = 1
LENGTH = 12
# Folders, processor, threads and who does the run do not decide the result; the seed stands beside
# the hash.
LEFT_OUT = {
    "run": (
        "seed",
        "device",
        "threads",
        "dir",
        "checkpoint_every",
        "start",
        "executor",
        "cluster",
        "log",
        "graph",
    ),
    "dataset": ("root", "path", "download"),
}
SECTIONS = ("device", "tile", "algorithm", "model", "dataset", "loss", "optimizer", "run", "layers")
WORDS = ("about", "source", "cite")


def run_hash(config: Mapping[str, Any]) -> str:
    """The hash that names the run of `config`. Raises UserError if its data cannot be found."""
    digest = hashlib.sha256(f"aihw run {FORMAT}\n".encode())
    digest.update(json.dumps(deciding(config), sort_keys=True, default=str).encode())
    if "dataset" in sections_of(config):
        digest.update(fingerprint(config["dataset"]).encode())
    if config["run"].get("start"):
        digest.update(_start_fingerprint(Path(config["run"]["start"]).expanduser()).encode())
    if task_of(config) != TRAIN and hasattr(find_task(task_of(config)), "fingerprint"):
        digest.update(find_task(task_of(config)).fingerprint(config).encode())
    for text in physics_texts(config):
        digest.update(hashlib.sha256(text).digest())
    return digest.hexdigest()[:LENGTH]


def _start_fingerprint(path: Path) -> str:
    from engine.experiment.tasks._trained import fingerprint

    return fingerprint(path)


def deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the configuration that decides the result."""
    chosen: dict[str, Any] = {}
    for section in sections_of(config):
        values = _clean(config.get(section) or {})
        chosen[section] = {k: v for k, v in values.items() if k not in LEFT_OUT.get(section, ())}
    for key in getattr(find_task(task_of(config)), "LEFT_OUT", ()) if "task" in chosen else ():
        del chosen["task"][key]
    return chosen


def sections_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The sections that decide the result of the task that `config` names."""
    task = task_of(config)
    return SECTIONS if task == TRAIN else ("task", "run", *find_task(task).SECTIONS)


def _clean(value: Any) -> Any:
    """Without texts for the reader, and with a device file by its name only: its content is hashed,
    not its place."""
    if isinstance(value, Mapping):
        return {
            k: _device_name(v) if k == "model" else _clean(v)
            for k, v in value.items()
            if k not in WORDS
        }
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def _device_name(model: Any) -> Any:
    return Path(model).name if isinstance(model, str) and is_device_file(model) else model


def is_device_file(model: str) -> bool:
    """Whether a device model is named by its file (`path/to/file.py:Name`, `steps.csv`) instead of
    by its name."""
    return ":" in model or model.endswith((".py", ".csv"))


def physics_texts(config: Mapping[str, Any]) -> Iterator[bytes]:
    """The texts from which the kernels of this run are made: shared physics, kernels, and its
    devices."""
    for name, path in kernel_files().items():
        yield name.encode() + b"\n" + path.read_bytes()
    for model in sorted(set(device_models(config))):
        yield _device_text(model)


def _device_text(model: str) -> bytes:
    """The snippets of a device and the names that they use; for a device of the user's own, its
    whole file as well."""
    if model in GROUPS:
        return b""
    try:
        device = find_device(model)
    except ValueError as problem:
        raise UserError(f"device.model: {problem}") from problem
    text = "\n".join(
        (device.construct, device.step, device.bounds, *device.cells, *device.states)
    ).encode()
    return text + (
        Path(model.partition(":")[0]).expanduser().read_bytes() if is_device_file(model) else b""
    )


def device_models(config: Mapping[str, Any]) -> Iterator[str]:
    """Names of all device models in `device`, `algorithm` and `layers`."""
    for section in ("device", "algorithm", "layers"):
        yield from _models(config.get(section) or {})


def _models(values: Any) -> Iterator[str]:
    if isinstance(values, Mapping):
        if isinstance(values.get("model"), str):
            yield values["model"]
        for value in values.values():
            yield from _models(value)
