"""The hash of a run: whatever decides its result counts, and nothing else does."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from aihw_cli import evaluation
from aihw_cli.compose import compose
from engine.algorithms import algorithm_names
from engine.devices import Device, Param, find_device
from engine.experiment import identity
from engine.experiment.identity import kernels
from engine.experiment.identity.declared import LEFT_OUT, declaration_digest
from engine.experiment.identity.tokens import declarations
from engine.experiment.runs import run_folder, stored_config
from engine.experiment.train import train
from engine.inference.base import NoiseModel, find_noise_model
from engine.jit import cpu, source, unit
from engine.jit.unit import header, kernel_files
from engine.nn import AnalogConv2d
from engine.presets import preset
from engine.settings import ROOT
from tests.experiment.helpers import Recorder, run, small_config, write_idx

KEEPS = {
    "run": {
        "seed": 8,
        "device": "auto",
        "threads": 2,
        "dir": "elsewhere",
        "checkpoint_every": 3,
    },
    "dataset": {"root": "elsewhere", "download": True},
    "device": {"about": "words", "source": "a paper"},
}
CHANGES: dict[str, dict[str, Any]] = {
    "run": {"epochs": 4, "exact": True},
    "dataset": {"batch_size": 11, "train_samples": 94, "name": "digits "},
    "optimizer": {"lr": 0.06, "schedule": {"name": "constant"}},
    "model": {"hidden": [17]},
    "loss": {"reduction": "mean"},
    "algorithm": {"name": "tiki_taka"},
    "layers": {"fc1": {"algorithm": {"name": "digital"}}},
    "device": {"model": "soft_bounds", "dw_min": 0.1},
    "tile": {"forward": {"out_noise": 0.1}},
}


def pulsed(folder: Path, **changes: dict[str, Any]) -> dict[str, Any]:
    return small_config(folder, **{"algorithm": {"name": "sgd"}, **changes})


def test_hash_leaves_out_what_does_not_decide(tmp_path: Path) -> None:
    base = identity.run_hash(pulsed(tmp_path))
    for section, values in KEEPS.items():
        for key, value in values.items():
            changed = pulsed(tmp_path, **{section: {key: value}})
            assert identity.run_hash(changed) == base, (section, key)


def test_hash_covers_what_decides(tmp_path: Path) -> None:
    seen = {json.dumps(identity.deciding(pulsed(tmp_path)), sort_keys=True)}
    for section, values in CHANGES.items():
        for key, value in values.items():
            changed = identity.deciding(pulsed(tmp_path, **{section: {key: value}}))
            seen.add(json.dumps(changed, sort_keys=True))
    assert len(seen) == 1 + sum(len(values) for values in CHANGES.values())


def test_without_tiles_neither_device_nor_periphery_decide(tmp_path: Path) -> None:
    base = small_config(tmp_path)
    other = small_config(
        tmp_path, device={"model": "soft_bounds"}, tile={"forward": {"out_noise": 0.5}}
    )
    assert identity.run_hash(base) == identity.run_hash(other)
    layers = {"fc1": {"algorithm": {"name": "sgd"}}}
    analog = [
        identity.run_hash({**config, "layers": layers}) for config in (base, other)
    ]
    assert analog[0] != analog[1], "one layer on tiles is enough"


def test_the_order_of_patterns_of_layers_counts_and_that_of_names_does_not(
    tmp_path: Path,
) -> None:
    digital, pulses = {"algorithm": {"name": "digital"}}, {"algorithm": {"name": "sgd"}}
    pairs = [("fc*", digital), ("fc1", pulses)], [("fc1", digital), ("fc2", pulses)]
    for rules, same in zip(pairs, (False, True), strict=True):
        there, back = (
            identity.run_hash({**pulsed(tmp_path), "layers": dict(order)})
            for order in (rules, rules[::-1])
        )
        assert (there == back) is same


def test_hash_covers_data(tmp_path: Path) -> None:
    write_idx(tmp_path / "a")
    write_idx(tmp_path / "b", train=31)
    a, b = (
        small_config(
            tmp_path,
            dataset={
                "name": "mnist",
                "root": str(tmp_path / at),
                "train_samples": 0,
                "test_samples": 0,
            },
        )
        for at in "ab"
    )
    assert identity.run_hash(a) != identity.run_hash(b)


# --- kernels -------------------------------------------------------------------------------------


def files() -> Iterator[str]:
    """Every kernel and header of the engine."""
    yield from kernel_files()


def with_texts(
    change: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the engine read its kernels through `change(name, text)`."""
    monkeypatch.setattr(unit, "header", lambda name: change(name, header(name)))
    kernels.kernels_digest.cache_clear()


@pytest.fixture(autouse=True)
def _fresh_digests() -> Iterator[None]:
    """Texts that a test has changed are not remembered."""
    yield
    kernels.kernels_digest.cache_clear()


def test_comments_and_blanks_in_kernels_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = pulsed(tmp_path, algorithm={"name": "tiki_taka"})
    base = identity.run_hash(config)

    def explained(name: str, text: str) -> str:
        lines = [
            line if line.startswith("#") or line.endswith("\\") else f"  {line}"
            for line in text.split("\n")
        ]
        return "// About this file.\n\n" + "\n".join(lines) + "\n/* the end */\n"

    with_texts(explained, monkeypatch)
    assert source.mvm_text("cpu").count("About this file") > 5
    assert identity.run_hash(config) == base


@pytest.mark.parametrize("algorithm", ["sgd", "tiki_taka"])
def test_a_change_in_any_kernel_of_the_run_counts(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = pulsed(
        tmp_path, algorithm={"name": algorithm}, device={"model": "constant_step"}
    )
    base, texts = (
        identity.run_hash(config),
        "\n".join(kernels.kernel_texts(kernels.needs_of(config))),
    )
    for changed in files():
        word = re.sub(r"\W", "_", changed)
        extra = f"\nFN float changed_{word}() {{ return 1.0f; }}\n"
        with_texts(lambda name, text: text + extra * (name == changed), monkeypatch)  # noqa: B023
        assert (identity.run_hash(config) != base) is (f'"{changed}"' in texts), changed


def test_a_digital_run_depends_on_no_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = identity.run_hash(small_config(tmp_path))
    with_texts(lambda _, text: text.replace("return", "return -"), monkeypatch)
    assert identity.run_hash(small_config(tmp_path)) == base


# --- every compiled text counts -------------------------------------------------------------------


class Compiled:
    """Every text that is compiled for the CPU while a test runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.texts: list[str] = []
        build = cpu.build

        def noted(text: str) -> Path:
            self.texts.append(text)
            return build(text)

        monkeypatch.setattr(cpu, "build", noted)
        for name, module in list(sys.modules.items()):
            if name.startswith("engine."):
                for value in vars(module).values():
                    if callable(getattr(value, "cache_clear", None)):
                        value.cache_clear()

    def engine_declarations(self) -> set[str]:
        """What they hold of the kernels and headers of the engine, without what the engine writes
        for a device."""
        own = set().union(*(declarations(without_includes(name)) for name in files()))
        return {bare(line) for text in self.texts for line in declarations(text)} & {
            bare(line) for line in own
        }


def without_includes(name: str) -> str:
    """The text of one file alone."""
    return re.sub(r"(?m)^#include .*$", "", header(name))


def bare(line: str) -> str:
    """A declaration without the namespace around it."""
    return line.removeprefix("namespace fast ").removeprefix("namespace slow ")


def hashed(config: dict[str, Any]) -> set[str]:
    return {
        bare(line)
        for text in kernels.kernel_texts(kernels.needs_of(config))
        for line in declarations(text)
    }


def words(algorithm: str) -> list[str]:
    given = {"hwa": "device=ideal tile=inference", "digital": ""}.get(
        algorithm, "device=ecram"
    )
    common = "dataset.train_samples=20 dataset.test_samples=10 run.epochs=1 run.threads=1 run.device=cpu"
    return [f"algorithm={algorithm}", *given.split(), *common.split()]


@pytest.mark.parametrize("algorithm", algorithm_names())
def test_every_text_that_a_training_compiles_is_in_its_hash(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose([*words(algorithm), f"run.dir={tmp_path}"]).values
    compiled = Compiled(monkeypatch)
    train(config, run_folder(config), Recorder())
    found = compiled.engine_declarations()
    assert bool(found) is (algorithm != "digital")
    assert not found - hashed(config)


def test_every_text_that_an_evaluation_compiles_is_in_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = run(small_config(tmp_path))
    words = ["inference.times=[1s]", "inference.repeats=1", "run.threads=1"]
    config = evaluation.of_run(trained, words).values
    compiled = Compiled(monkeypatch)
    train(config, tmp_path / "eval", Recorder())
    found = compiled.engine_declarations()
    assert any("program" in line for line in found)
    assert not found - hashed(config)


def test_the_kernels_of_convolutions_are_in_the_hash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = compose(words("sgd")).values
    compiled = Compiled(monkeypatch)
    layer = AnalogConv2d(1, 2, 3, tile=preset("ecram"), seed=1)
    layer(torch.ones(1, 1, 4, 4)).sum().backward()
    found = compiled.engine_declarations()
    assert any("image" in line for line in found)
    assert not found - hashed(config)


# --- declarations ---------------------------------------------------------------------------------

OTHER_VALUES: dict[str, Any] = {
    "params": {"dw_min": Param(0.5)},
    "cells": {"slope": "of the step"},
    "states": {"age": "pulses"},
    "kept": {"age": "years"},
    "moment": {"age": "t"},
    "converter": {"g_max": 99.0},
    "noise_scales": ("dw_min",),
    "probe_values": {"dw_min": 0.1},
    "probe": "middle",
    "probe_direction": "up",
    "ideal": True,
    "derive": lambda values: values,
}


def other(field: dataclasses.Field[Any], value: Any) -> Any:
    return OTHER_VALUES.get(
        field.name, f"{value} w += 1.0f;" if isinstance(value, str) else None
    )


@pytest.mark.parametrize(
    "declared", [find_device("constant_step"), find_noise_model("pcm")]
)
def test_every_field_of_a_declaration_counts_unless_it_is_prose(
    declared: Device | NoiseModel,
) -> None:
    """A field that is added later must be listed in OTHER_VALUES, or be a text."""
    base = declaration_digest(declared)
    for field in dataclasses.fields(declared):
        value = other(field, getattr(declared, field.name))
        if field.name not in LEFT_OUT:
            assert value is not None, (
                f"{field.name}: how does another value of it look?"
            )
            changed = dataclasses.replace(declared, **{field.name: value})
            assert declaration_digest(changed) != base, field.name


def test_prose_of_a_declaration_does_not_count() -> None:
    device = find_device("linear_step")
    same = dataclasses.replace(
        device,
        about="Other words.",
        source="Another paper.",
        step=f"\n// in the same way\n{device.step.replace(' += ', '  +=  ')}",
        cells=dict.fromkeys(device.cells, "other words"),
    )
    assert declaration_digest(same) == declaration_digest(device)


@pytest.mark.parametrize(
    "snippet", ["jump", "jump_if", "noise_scales", "step", "bounds"]
)
def test_a_changed_snippet_renames_the_runs_of_its_device(
    snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = pulsed(tmp_path, device={"model": "constant_step"})
    base, device = identity.run_hash(config), find_device("constant_step")
    value = (
        ("dw_min",)
        if snippet == "noise_scales"
        else f"{getattr(device, snippet)} w += 1.0f;"
    )
    if snippet == "jump_if":
        value = "p.dw_min > 1.0f"
    changed = dataclasses.replace(device, **{snippet: value})
    monkeypatch.setattr(kernels, "find_device", lambda _: changed)
    assert identity.run_hash(config) != base


# --- files of the user's own ----------------------------------------------------------------------


def test_device_file_counts_by_what_it_does(tmp_path: Path) -> None:
    text = (ROOT / "engine" / "devices" / "constant_step.py").read_text()
    bodies = {
        "a/mine.py": text,
        "b/other.py": text + "# changed\n",
        "c/mine.py": text.replace('"""', '"""Again: ', 1),
        "d/mine.py": text.replace("w += size", "w += 2.0f * size"),
        "e/mine.py": text + "\nLIMIT = 3\n",
    }
    assert bodies["d/mine.py"] != text
    found = {}
    for place, body in bodies.items():
        path = tmp_path / place
        path.parent.mkdir()
        path.write_text(body)
        found[place[0]] = identity.run_hash(
            pulsed(tmp_path, device={"model": f"{path}:ConstantStep"})
        )
    assert found["a"] == found["b"] == found["c"]
    assert len({found["a"], found["d"], found["e"]}) == 3


def test_two_files_that_are_exchanged_between_layers_make_another_run(
    tmp_path: Path,
) -> None:
    text = (ROOT / "engine" / "devices" / "constant_step.py").read_text()
    (tmp_path / "a.py").write_text(text)
    (tmp_path / "b.py").write_text(text.replace("w += size", "w += 2.0f * size"))
    models = [f"{tmp_path}/{name}.py:ConstantStep" for name in "ab"]
    there, back = (
        identity.run_hash(
            {
                **pulsed(tmp_path),
                "layers": {
                    layer: {"device": {"model": model}}
                    for layer, model in zip(("fc1", "fc2"), order, strict=True)
                },
            }
        )
        for order in (models, models[::-1])
    )
    assert there != back


NOISE = '''
from engine.devices.base import Param
from engine.inference.base import NoiseModel
Mine = NoiseModel(name="mine", about="a", formula="G", params={"a": Param(0.1, "uS", "nothing")},
                  program="""
g = g;
""", drift="g = g;")
'''


def test_an_edited_noise_model_makes_another_evaluation(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"

    def found(text: str) -> str:
        path.write_text(text)
        texts = [
            "conf=rasch2023/fig3d-mvm",
            "inference=none",
            f"inference.noise_model={path}:Mine",
        ]
        return identity.run_hash(stored_config(compose(texts, allow_code=True).values))

    base = found(NOISE)
    assert found(NOISE.replace("\ng = g;", "\n// as it is\ng = g;")) == base
    assert found(NOISE.replace("\ng = g;", "\ng = 0.0f;")) != base
    assert found(NOISE.replace('drift="g = g;"', 'drift="g = 0.5f * g;"')) != base
