"""Every key of the configuration decides the result, or is documented not to; what is said to have
no effect has none."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from aihw_cli.compose import compose
from aihw_cli.schema import Field, Section, full_schema
from engine.experiment import identity
from engine.experiment.identity.effects import reason, without_effect
from engine.experiment.loop import Loop
from engine.settings import ROOT

COMMON = (
    "dataset.train_samples=40 dataset.test_samples=20 run.epochs=2 run.threads=1 run.device=cpu "
    "model.hidden=[8] inference=pcm"
)
CASES = {
    "digital": "algorithm=digital",
    "pulses": "device=ecram",
    "tiki_taka": "device=ecram algorithm=tiki_taka",
    "hwa": "algorithm=hwa device=ideal tile=inference tile.clip.type=None tile.remap.type=None",
    "perfect": "device=ecram tile.forward.is_perfect=true",
    "one digital layer": "device=ecram layers={fc1:{algorithm:digital}}",
}


def configured(case: str, *changes: str) -> dict[str, Any]:
    return compose([*COMMON.split(), *CASES[case].split(), *changes]).values


def leaves(schema: Section, prefix: str = "") -> Iterator[tuple[str, Field]]:
    for key, entry in schema.items():
        if isinstance(entry, Field):
            yield prefix + key, entry
        else:
            yield from leaves(entry, f"{prefix}{key}.")


def value_of(config: dict[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value


def current(config: dict[str, Any], key: str, default: Any) -> Any:
    try:
        return value_of(config, key)
    except (KeyError, TypeError):
        return default


def others(entry: Field, value: Any) -> list[Any]:
    """Other values of a key, likely ones first."""
    if entry.choices and not entry.kind_name.startswith("list"):
        return [choice for choice in entry.choices if choice != value]
    if entry.kind_name == "bool":
        return [not value]
    if entry.kind_name == "int":
        return [value + 1, value * 2, 3]
    if entry.kind_name == "float":
        return [value * 0.5 + 0.1, value + 1, 0.3]
    if entry.kind_name.startswith("list"):
        return (
            [[entry.choices[0]]]
            if entry.choices
            else [[item * 0.5 for item in value] or [0.3]]
        )
    return ["another"]


def keys_without_effect(config: dict[str, Any]) -> list[tuple[str, Field]]:
    inert = without_effect(config)
    return [pair for pair in leaves(full_schema(config)) if reason(pair[0], inert)]


def outcome(config: dict[str, Any]) -> str:
    """A digest of the metrics and of every tensor after training in memory."""
    loop = Loop(config)
    for _ in range(config["run"]["epochs"]):
        for _ in loop.steps():
            pass
        loop.end_epoch(0.0)
    digest = hashlib.sha256(json.dumps(loop.place.rows).encode())
    for _, tensor in sorted(loop.model.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


Change = tuple[str, Any]


def changed(config: dict[str, Any], changes: list[Change]) -> dict[str, Any]:
    """A copy of a configuration with other values."""
    found = copy.deepcopy(config)
    for key, value in changes:
        *sections, last = key.split(".")
        place = found
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return found


def accepted(config: dict[str, Any], changes: list[Change]) -> list[Change]:
    """Those of the changes with which a network can still be built."""
    kept: list[Change] = []

    def add(part: list[Change]) -> None:
        try:
            Loop(changed(config, kept + part))
            kept.extend(part)
        except ValueError:
            if len(part) > 1:
                add(part[: len(part) // 2])
                add(part[len(part) // 2 :])

    add(changes)
    return kept


@pytest.mark.parametrize("case", CASES)
def test_what_has_no_effect_changes_no_bit(case: str) -> None:
    """All of it is changed at once, as far as values are allowed."""
    config = configured(case)
    changes = [
        (key, others(entry, value_of(config, key))[0])
        for key, entry in keys_without_effect(config)
    ]
    kept = accepted(config, changes)
    assert len(kept) > 0.8 * len(changes) > 3
    assert outcome(changed(config, kept)) == outcome(config)


# Keys that decide no result, as docs/runs.md lists them: sections, or single keys.
DOCUMENTED = {
    "name", "seeds", "search", "preset", "about", "claim", "source", "expected", "tolerance", "run.seed", "run.device",
    "run.threads", "run.graph", "run.executor", "run.cluster", "run.dir", "run.log", "run.keep_best",
    "run.checkpoint_every", "run.start", "model.weights", "dataset.root", "dataset.path", "dataset.download",
    "dataset.workers", "inference",
}  # fmt: skip


RULE = {"fc1": {"algorithm": {"name": "digital"}}}


def documented(key: str) -> bool:
    parts = key.split(".")
    if parts[-1] in ("about", "source"):
        return True
    return any(".".join(parts[:n]) in DOCUMENTED for n in range(1, len(parts) + 1))


@pytest.mark.parametrize("case", ["pulses", "tiki_taka", "hwa"])
def test_every_key_is_in_the_hash_or_documented_not_to_be(case: str) -> None:
    config = configured(case)
    base = json.dumps(identity.deciding(config), sort_keys=True)
    for key, entry in leaves(full_schema(config)):
        if key == "task.name":
            continue
        value = (
            RULE
            if key == "layers"
            else others(entry, current(config, key, entry.default))[0]
        )
        other = changed(config, [(key, value)])
        found = json.dumps(identity.deciding(other), sort_keys=True)
        assert (found == base) is documented(key), key


def test_the_list_of_what_does_not_count_is_documented() -> None:
    table = (ROOT / "docs" / "runs.md").read_text().partition("| does not count |")[2]
    told = set(re.findall(r"`([\w.]+)`", table.partition("\n\n")[0]))
    assert told >= DOCUMENTED


def test_two_layers_may_use_what_the_common_settings_do_not() -> None:
    """A rule of `layers` with pulses beside hardware-aware layers needs the pulsed update."""
    rule = "layers={fc1:{algorithm:sgd,device:{model:constant_step}}}"
    found = without_effect(configured("hwa", rule))
    assert reason("tile.update.desired_bl", without_effect(configured("hwa")))
    assert not reason("tile.update.desired_bl", found)
    assert not reason("tile.clip.sigma", found)


def test_paths_are_absolute_in_a_recorded_configuration(tmp_path: Path) -> None:
    from engine.experiment.runs import stored_config

    config = configured("pulses")
    config["inference"]["noise_model"] = "mine.py:Mine"
    assert (
        stored_config(config)["inference"]["noise_model"]
        == f"{Path.cwd()}/mine.py:Mine"
    )
