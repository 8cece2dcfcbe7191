"""`conf=RUN/config.yaml` does a recorded run again: the same settings, the same hash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from aihw_cli.compose import compose
from aihw_cli.recipe import recipes
from engine.experiment.identity import deciding
from engine.experiment.runs import stored_config
from engine.presets import members
from engine.readers.yaml_text import dump_yaml
from engine.settings import UserError
from tests.cli.conftest import write

# Recipes of each folder with the most and the fewest settings of their own; all members with keys
# that others lack.
CASES = {
    **{f"recipe {name}": [f"conf={name}"] for name in list(recipes())[::4]},
    **{f"model {name}": [f"model={name}"] for name in members("model")},
    "several devices in a cell": ["device=pcm_pair"],
    "several arrays": ["preset=agad_ecram", "device@algorithm.fast=reram_sb"],
    "layers": ["layers={fc1:{device:{model:soft_bounds}},fc2:{algorithm:digital}}"],
    "inference": ["algorithm=hwa", "inference=reram_cmo"],
    "optimizer": ["algorithm=hwa", "optimizer=adamw"],
}
SMALL = ("dataset.train_samples=20", "dataset.test_samples=10", "run.epochs=1")


def recorded(folder: Path, words: list[str]) -> Path:
    """The folder of a run as it stands when nothing was trained yet."""
    run = folder / "runs/any/0-1"
    write(run / "config.yaml", dump_yaml(stored_config(compose(words).values)))
    write(run / "run.json", "{}")
    return run


@pytest.mark.parametrize("words", CASES.values(), ids=CASES)
def test_the_settings_of_a_run_compose_to_themselves(
    folder: Path, words: list[str]
) -> None:
    run = recorded(folder, words)
    first = yaml.safe_load((run / "config.yaml").read_text())
    again = compose([f"conf={run / 'config.yaml'}"]).values
    assert again == first
    assert deciding(again) == deciding(first)


@pytest.mark.parametrize(
    "words",
    [
        ("model=fcn", "algorithm=digital"),
        ("model=mlp", "device.model=soft_bounds"),
        ("seeds=2",),
    ],
)
def test_a_run_is_found_again(aihw, folder: Path, words: tuple[str, ...]) -> None:
    first = aihw("train", *words, *SMALL, "--json")
    assert first.code == 0, first.err
    runs = sorted((folder / "runs/digits").glob("*/config.yaml"))
    for path in runs:
        again = aihw("train", f"conf={path}", "--json")
        assert again.code == 0, again.err
        assert Path(json.loads(again.out)["folder"]).resolve() == path.parent
    assert sorted((folder / "runs/digits").glob("*/config.yaml")) == runs


def test_members_of_the_command_line_replace_recorded_sections(folder: Path) -> None:
    conf = f"conf={recorded(folder, ['device=capacitor']) / 'config.yaml'}"
    changed = compose([conf, "device=ecram", "tile=perfect", "optimizer.lr=0.5"]).values
    plain = compose(["device=ecram", "tile=perfect", "optimizer.lr=0.5"]).values
    for part in ("device", "tile", "optimizer", "algorithm"):
        assert changed[part] == plain[part]
    preset = compose([conf, "preset=ecram"]).values
    assert preset["device"] == plain["device"]


def test_results_go_beside_the_run_or_below_the_current_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded(folder / "there", [f"run.dir={folder / 'there/runs'}"])
    conf = f"conf={run / 'config.yaml'}"
    assert compose([conf]).values["run"]["dir"] == str(folder / "there/runs")
    # A folder from somebody else does not choose where this user's results go.
    moved = (folder / "there").rename(folder / "elsewhere") / "runs/any/0-1/config.yaml"
    assert compose([f"conf={moved}"]).values["run"]["dir"] == "runs"
    text = moved.read_text()
    write(folder / "recipe.yaml", text)
    with pytest.raises(UserError, match="reaches outside"):
        compose([f"conf={folder / 'recipe.yaml'}"])


def test_nothing_is_fetched_for_a_recorded_run(folder: Path) -> None:
    run = recorded(
        folder,
        ["dataset=mnist", f"dataset.root={folder / 'd'}", "dataset.download=true"],
    )
    values = compose([f"conf={run / 'config.yaml'}"]).values
    assert values["dataset"]["download"] is False
