"""`aihw import`: what it writes, what runs take from it, and files of strangers."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from aihw_cli.commands.exchange import EXPORTER
from engine.exchange.aihwkit.file import read_source
from engine.exchange.aihwkit.lost import Losses
from engine.exchange.aihwkit.network import logical_state
from engine.exchange.aihwkit.recipe import recipe, settings_by_grid
from engine.settings import UserError
from tests.cli.conftest import Result

DATA = Path(__file__).parent / "data"
Call = Callable[..., Result]
NETWORK = ("model=mlp", "model.hidden=[8]", "dataset=digits")
SHORT = ("run.epochs=1", "dataset.train_samples=20", "dataset.test_samples=20")


def test_the_exporter_is_printed(call: Call) -> None:
    result = call("import", "--exporter")
    assert result.code == 0
    assert result.out == EXPORTER.read_text(encoding="utf-8")
    compile(result.out, "export_aihwkit.py", "exec")


def test_a_model_becomes_a_recipe_and_weights(call: Call, folder: Path) -> None:
    result = call("import", DATA / "tiki_taka.safetensors")
    assert result.code == 0, result.err
    recipe = yaml.safe_load((folder / "tiki_taka/recipe.yaml").read_text())
    assert recipe["defaults"] == [{"preset": "tiki_taka_reram_sb"}]
    assert recipe["tile"]["mapping"]["weight_scaling_omega"] == 0.6
    weights = load_file(folder / "tiki_taka/weights.safetensors")
    assert {"0.weight", "0.bias", "2.weight", "2.bias"} <= set(weights)
    assert "not carried" not in result.out


def test_a_run_goes_on_with_the_same_cells(call: Call, folder: Path) -> None:
    source = DATA / "digits.safetensors"
    result = call("import", source, "--out", "old", *NETWORK)
    assert "fc1 is 0, fc2 is 2" in result.out
    assert "lr        0.05, for losses that are means" in result.out
    result = call(
        "train",
        "conf=old/recipe.yaml",
        "run.start=old/cells.safetensors",
        *NETWORK,
        *SHORT,
    )
    assert result.code == 0, result.err
    (place,) = folder.glob("runs/old/*/checkpoint/*/tensors.safetensors")
    cells = load_file(place)["model/1.grid.tiles.0.tile.array.cells"]
    bounds = read_source(source).tiles["0"][0].tensors["hidden.max_bound"]
    torch.testing.assert_close(cells[..., 0], bounds)
    again = call(
        "train",
        "conf=old/recipe.yaml",
        "run.start=old/weights.safetensors",
        *NETWORK,
        *SHORT,
    )
    assert again.code == 0, again.err
    assert len(list(folder.glob("runs/old/*"))) == 2


def test_other_cells_are_refused(call: Call, folder: Path) -> None:
    result = call("train", f"run.start={DATA / 'digits.safetensors'}", *NETWORK, *SHORT)
    assert result.code == 2
    assert "other devices" in result.err
    assert len(result.err.splitlines()) <= 2


def test_a_network_that_does_not_fit_leaves_nothing_behind(
    call: Call, folder: Path
) -> None:
    result = call("import", DATA / "digits.safetensors", "model=mlp", "dataset=digits")
    assert result.code == 2
    assert "1.grid (64 x 64)" in result.err
    assert not (folder / "digits").exists()


def test_a_hardware_aware_model_is_evaluated_on_its_tiles(
    call: Call, folder: Path
) -> None:
    assert call("import", DATA / "digits_hwa.safetensors", *NETWORK).code == 0
    words = ("inference.repeats=1", "inference.times=[1s]", "dataset.test_samples=20")
    recipe, cells = "conf=digits_hwa/recipe.yaml", "digits_hwa/cells.safetensors"
    result = call("eval", cells, recipe, *NETWORK, *words)
    assert result.code == 0, result.err
    assert "as trained, on its tiles" in result.out
    result = call("eval", "digits_hwa/weights.safetensors", *NETWORK, *words)
    assert "floating point" in result.out


def test_layers_with_other_settings_get_rules(call: Call, folder: Path) -> None:
    assert call("import", DATA / "convolution.safetensors").code == 0
    recipe = yaml.safe_load((folder / "convolution/recipe.yaml").read_text())
    assert recipe["defaults"] == [{"preset": "ecram_mo"}]
    assert recipe["layers"]["5"]["algorithm"]["name"] == "tiki_taka"
    assert recipe["layers"]["5"]["tile"] == {
        "mapping": {"weight_scaling_columnwise": True}
    }


def test_nothing_is_overwritten(call: Call, folder: Path) -> None:
    assert call("import", DATA / "ecram.safetensors").code == 0
    result = call("import", DATA / "ecram.safetensors")
    assert result.code == 2
    assert "--out" in result.err


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a recorded file with other content."""
    source = DATA / "ecram.safetensors"
    with safe_open(source, "pt") as file:
        content = json.loads(file.metadata()["content"])
    change(content)
    metadata = {"format": "aihwkit exchange", "content": json.dumps(content)}
    save_file(load_file(source), path, metadata)
    return path


def deepest(content: dict[str, Any]) -> None:
    inner: Any = 1
    for _ in range(50):
        inner = [inner]
    content["configs"][0]["device"] = inner


ATTACKS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a path as a name": (
        lambda c: c["tiles"][0].update(name="../../etc/passwd.analog_module"),
        "cannot be the name",
    ),
    "an interpolation as a name": (
        lambda c: c["tiles"][0].update(name="${oc.env:HOME}.analog_module"),
        "cannot be the name",
    ),
    "a device of a file": (
        lambda c: c["configs"][0]["device"].update(
            {"class": "evil.py:Evil", "bases": []}
        ),
        "device class evil.py:Evil has nothing like it here",
    ),
    "a text for a number": (
        lambda c: c["configs"][0]["device"].update(dw_min="__import__('os')"),
        "dw_min must be a number",
    ),
    "no number": (
        lambda c: c["configs"][0]["forward"].update(out_noise=float("nan")),
        "must be finite",
    ),
    "nesting": (deepest, "nested deeper"),
    "a newer version": (lambda c: c.update(version=99), "update aihw"),
    "missing settings": (lambda c: c["configs"].clear(), "damaged"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_files_of_strangers(name: str, call: Call, folder: Path) -> None:
    change, words = ATTACKS[name]
    path = changed(folder / "strange.safetensors", change)
    result = call("import", path)
    assert result.code == 2
    assert words in result.err
    assert len(result.err.splitlines()) <= 2
    assert not (folder / "strange").exists()


def test_texts_of_strangers_stay_texts(call: Call, folder: Path) -> None:
    """A line break in a version would end a comment of the recipe, and add settings to it."""

    def change(content: dict[str, Any]) -> None:
        content.update(
            aihwkit="1.2\nrun: {epochs: 99}\n#", left=["all\x1b[2J\nerror: forged"]
        )

    result = call("import", changed(folder / "strange.safetensors", change))
    assert result.code == 0, result.err
    recipe = yaml.safe_load((folder / "strange/recipe.yaml").read_text())
    assert set(recipe) == {"name", "defaults", "tile"}
    assert "\x1b" not in result.out
    assert "\nerror" not in result.out


def test_links_in_the_way_are_not_followed(call: Call, folder: Path) -> None:
    (folder / "ecram").mkdir()
    for name in ("recipe.yaml", "weights.safetensors", "cells.safetensors"):
        (folder / "ecram" / name).symlink_to(folder / f"elsewhere-{name}")
    assert call("import", DATA / "ecram.safetensors").code == 2
    assert not list(folder.glob("elsewhere*"))


def test_other_files_are_refused_in_a_line(call: Call, folder: Path) -> None:
    save_file({"x": torch.ones(2)}, folder / "plain.safetensors")
    (folder / "text.safetensors").write_text("no tensors")
    os.mkfifo(folder / "pipe.safetensors")
    refused = {
        "plain": "--exporter",
        "text": "no file of safetensors",
        "none": "no file",
        "pipe": "not an ordinary file",
    }
    for name, words in refused.items():
        result = call("import", f"{name}.safetensors")
        assert result.code == 2
        assert words in result.err


def test_a_matrix_of_the_wrong_shape_is_refused(folder: Path) -> None:
    source = DATA / "ecram.safetensors"
    tensors = load_file(source)
    tensors["tile.0.hidden.max_bound"] = torch.ones(3, 3)
    with safe_open(source, "pt") as file:
        metadata = file.metadata()
    save_file(tensors, folder / "odd.safetensors", metadata)
    with pytest.raises(UserError, match="not of the shape"):
        read_source(folder / "odd.safetensors")


def places_in(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all values in nested content."""
    yield place
    keys = list(value) if isinstance(value, dict) else []
    keys = list(range(len(value))) if isinstance(value, list) else keys
    for key in keys:
        yield from places_in(value[key], (*place, key))


ODD = (
    None,
    -1,
    0,
    1e9,
    float("nan"),
    float("inf"),
    "x",
    [],
    {},
    True,
    [1, 2],
    {"class": "Evil"},
)


@pytest.mark.parametrize("name", ["agad", "digits_hwa", "one_sided"])
def test_wrong_values_anywhere_are_read_or_refused(name: str, folder: Path) -> None:
    """Whatever one value of a file becomes: it is imported, or refused as the user's input is."""
    with safe_open(DATA / f"{name}.safetensors", "pt") as file:
        content = json.loads(file.metadata()["content"])
    tensors, chance = load_file(DATA / f"{name}.safetensors"), random.Random(7)
    everywhere = [place for place in places_in(content) if place]
    refused = 0
    for _ in range(60):
        strange, place = copy.deepcopy(content), chance.choice(everywhere)
        inner = strange
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = chance.choice(ODD)
        metadata = {"format": "aihwkit exchange", "content": json.dumps(strange)}
        save_file(tensors, folder / "odd.safetensors", metadata)
        try:
            source, losses = read_source(folder / "odd.safetensors"), Losses()
            recipe(settings_by_grid(source, losses))
            logical_state(source, losses)
        except UserError:
            refused += 1
    assert 20 < refused < 60
