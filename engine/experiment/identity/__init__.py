"""What decides the result of a run, as a hash: configuration, data, starting weights and physics.

Everything that decides a result counts, and nothing else: comments, white space, file names and the
order of kernel files do not. `identity_parts` keeps the four apart, so that a run that can no longer
be continued says which of them changed. The Python of the engine is no part of the hash, or every
commit would rename every run; `engine.experiment.identity.program` follows it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from engine.experiment.data import fingerprint
from engine.experiment.identity.code import code_digests
from engine.experiment.identity.declared import declaration_digest
from engine.experiment.identity.kernels import (
    DIGITAL,
    algorithm_names,
    device_models,
    find_noise,
    find_pulsed,
    kernels_digest,
    needs_of,
)
from engine.experiment.tasks import TRAIN, find_task, task_of
from engine.settings import user_path
from engine.tile.settings import GROUPS
from engine.trust.code import SECTIONS as CODE_SECTIONS
from engine.trust.code import is_code, may_name_code
from engine.trust.load import is_code_file

__all__ = [
    "LEFT_OUT",
    "MEANINGS",
    "NAMED_FILES",
    "acting_sections",
    "deciding",
    "device_models",
    "has_tiles",
    "hash_of",
    "identity_parts",
    "is_device_file",
    "names_file",
    "run_hash",
    "sections_of",
]

# Version 1 hashed the bytes and names of all kernel files. Hashes that it gave stay valid names.
FORMAT = 2
LENGTH, PART_LENGTH = 12, 16
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
        "keep_best",
    ),
    "dataset": ("root", "path", "download", "workers"),
    # Like run.start: the content of the file counts.
    "model": ("weights",),
}
SECTIONS = (
    "device",
    "tile",
    "algorithm",
    "model",
    "dataset",
    "loss",
    "optimizer",
    "run",
    "layers",
)
WORDS = ("about", "source", "cite")
# Settings that came later: at these values a run is what it was without them, and keeps its name.
LATER: dict[str, dict[str, Any]] = {
    "dataset": {
        "normalize": False,
        "transforms": [],
        "augment": [],
        "channels": 0,
        "label": "",
        "split": "",
    },
    "optimizer": {"tile_lr": 0.0, "warmup": 0, "clip_grad_norm": 0.0, "accumulate": 1},
    "loss": {"label_smoothing": 0.0},
    "run": {"patience": 0, "dtype": "float32"},
}
# Keys that may name a file of the user's own: its content counts, not its name.
NAMED_FILES = ("model", "noise_model")
# What changed, in words, for each part of an identity.
MEANINGS = {
    "configuration": "its config.yaml",
    "data": "its data",
    "weights": "the weights that it starts from",
    "code": "the Python file of its network or dataset",
    "physics": "the physics of its kernels, devices or noise model",
}


def run_hash(config: Mapping[str, Any]) -> str:
    """The hash that names the run of `config`. Raises UserError if its data cannot be found."""
    return hash_of(identity_parts(config))


def hash_of(parts: Mapping[str, str]) -> str:
    """The hash of the parts of an identity."""
    text = f"aihw run {FORMAT}\n" + json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def identity_parts(config: Mapping[str, Any]) -> dict[str, str]:
    """A digest of each part of what decides the result; the keys are those of MEANINGS."""
    chosen = deciding(config)
    parts = {"configuration": _digest(chosen), "physics": _physics(config)}
    if "dataset" in sections_of(config):
        parts["data"] = fingerprint(config["dataset"])
    # Weights are read from their file: what a path means is what lies there.
    weights = [*_start_fingerprint(config), *_task_fingerprint(config)]
    if weights:
        parts["weights"] = _digest(weights)
    code = code_digests(chosen_names(config))
    if code:
        parts["code"] = _digest(code)
    return parts


def chosen_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """The network and the dataset of a run, where its result depends on them."""
    used = [section for section in CODE_SECTIONS if section in sections_of(config)]
    return {section: (config.get(section) or {}).get("name") for section in used}


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:PART_LENGTH]


def _physics(config: Mapping[str, Any]) -> str:
    """The kernels of the run, and the declaration of each device at its place."""
    chosen = acting_sections(config)
    devices = {
        place: declaration_digest(
            find_noise(name) if kind == "noise_model" else find_pulsed(name)
        )
        for place, kind, name in _declared(chosen)
        if name not in GROUPS
    }
    kernels = kernels_digest(needs_of(chosen), tuple(devices.values()))
    return _digest([kernels, devices])


def _declared(values: Any, place: str = "") -> Iterator[tuple[str, str, str]]:
    """Place, kind and name of every device and noise model in the sections of a run."""
    if not isinstance(values, Mapping):
        return
    for key, value in values.items():
        inner = f"{place}.{key}"
        if (
            isinstance(value, str)
            and key in NAMED_FILES
            and not inner.startswith(".model")
        ):
            yield inner, key, value
        else:
            yield from _declared(value, inner)


def _start_fingerprint(config: Mapping[str, Any]) -> Iterator[str]:
    from engine.experiment.tasks._trained import fingerprint, start_of

    if start_of(config):
        yield fingerprint(user_path(start_of(config)))


def _task_fingerprint(config: Mapping[str, Any]) -> Iterator[str]:
    task = task_of(config)
    if task != TRAIN and hasattr(find_task(task), "fingerprint"):
        yield find_task(task).fingerprint(config)


def deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the configuration that decides the result."""
    chosen: dict[str, Any] = {}
    for section, given in acting_sections(config).items():
        values = _clean(given, section)
        chosen[section] = {k: v for k, v in values.items() if _counts(section, k, v)}
    if "layers" in chosen:
        chosen["layers"] = _rules(chosen["layers"])
    for key in (
        getattr(find_task(task_of(config)), "LEFT_OUT", ()) if "task" in chosen else ()
    ):
        del chosen["task"][key]
    return chosen


def _counts(section: str, key: str, value: Any) -> bool:
    """Whether a setting is part of what decides the result."""
    if key in LEFT_OUT.get(section, ()):
        return False
    later = LATER.get(section, {})
    return key not in later or later[key] != value


def acting_sections(config: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that decide the result. Without tiles, neither device nor periphery does."""
    found = {section: config.get(section) or {} for section in sections_of(config)}
    if not has_tiles(config):
        return {
            key: values
            for key, values in found.items()
            if key not in ("device", "tile")
        }
    if "device" in found:
        found["device"] = {"model": "constant_step", **found["device"]}
    return found


def has_tiles(config: Mapping[str, Any]) -> bool:
    """Whether any layer may lie on tiles; what is not trained is evaluated on tiles."""
    return task_of(config) != TRAIN or bool(set(algorithm_names(config)) - {DIGITAL})


def _rules(layers: Mapping[str, Any]) -> list[Any]:
    """The rules of layers. A later pattern lies over an earlier one, so that their order counts;
    that of plain names does not."""
    rules = [[name, values] for name, values in layers.items()]
    patterns = any(sign in name for name in layers for sign in "*?[")
    return rules if patterns else sorted(rules, key=lambda rule: str(rule[0]))


def sections_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The sections that decide the result of the task that `config` names."""
    task = task_of(config)
    return SECTIONS if task == TRAIN else ("task", "run", *find_task(task).SECTIONS)


def _clean(value: Any, section: str = "") -> Any:
    """Without texts for the reader. A file of the user's own is hashed by its content."""
    if isinstance(value, Mapping):
        return {
            k: "a file"
            if may_name_code(k, section) and is_device_file(v)
            else _clean(v, k)
            for k, v in value.items()
            if k not in WORDS
        }
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def names_file(key: str, value: Any, section: str) -> bool:
    """Whether a key of a section names a file of the user's own, by its path."""
    if not may_name_code(key, section) or not isinstance(value, str):
        return False
    return is_code_file(value) or value.endswith(".csv")


def is_device_file(model: Any) -> bool:
    """Whether a device model is named by its file (`path/to/file.py:Name`, `steps.csv`) instead of
    by its name."""
    return is_code(model) or (isinstance(model, str) and model.endswith(".csv"))
