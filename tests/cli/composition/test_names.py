"""`device: ecram` in a recipe, and sections that say by themselves what they are about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aihw_cli.compose import compose
from engine.experiment.record import citations
from engine.presets import load_member
from engine.settings import UserError
from tests.cli.conftest import write

# A name in each group, and a value by which its member is known.
NAMED = {
    "device: ecram": ("device.gamma_up", 0.1153),
    "tile: perfect": ("tile.forward.is_perfect", True),
    "algorithm: tiki_taka": ("algorithm.name", "tiki_taka"),
    "preset: capacitor": ("device.dw_min", 0.005),
    "model: lenet": ("model.name", "lenet"),
    "dataset: mnist": ("dataset.name", "mnist"),
    "optimizer: adam\nalgorithm: digital": ("optimizer.weight_decay", 0.0),
    "run: default": ("run.epochs", 5),
    "inference: reram_cmo": ("inference.noise_model", "reram_cmo"),
}


def composed(folder: Path, text: str, *words: str) -> dict[str, Any]:
    path = write(folder / "mine.yaml", text + "\n")
    return compose([f"conf={path}", *words]).values


def value(values: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


@pytest.mark.parametrize("text, expected", NAMED.items(), ids=NAMED)
def test_the_name_of_a_member_where_its_section_could_stand(
    folder: Path, text: str, expected: tuple[str, Any]
) -> None:
    assert value(composed(folder, text), expected[0]) == expected[1]


def test_a_wrong_name_gets_the_nearest_one_and_the_file(folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"no device 'ecrm'; nearest: ecram.*mine\.yaml"
    ):
        composed(folder, "device: ecrm")


def test_no_preset_and_no_inference(folder: Path) -> None:
    values = composed(folder, "preset: null\ninference: null")
    assert values["device"]["about"] == load_member("device", "gokmen_vlasov")["about"]


def test_a_group_is_named_once(folder: Path) -> None:
    with pytest.raises(
        UserError, match="device is 'ecram' here and 'capacitor' in its defaults"
    ):
        composed(folder, "defaults:\n  - device: capacitor\ndevice: ecram")


def test_the_command_line_wins_over_a_name(folder: Path) -> None:
    assert (
        composed(folder, "device: ecram", "device=capacitor")["device"]["dw_min"]
        == 0.005
    )


def test_a_device_file_needs_permission_as_anywhere(folder: Path) -> None:
    with pytest.raises(UserError, match="--allow-code"):
        composed(folder, "device: cell.py:Cell")


GROUPS = "device: ecram\ntile: preset\nalgorithm: sgd\nmodel: mlp\ndataset: digits\n"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("defaults: [base, _self_]", 0.1153),
        ("defaults: [base, _self_]\ndevice: reram_sb", None),
        ("defaults: [base, _self_]\ndevice: {model: soft_bounds}", None),
        ("defaults: [base, _self_]\ndevice: {dw_min: 0.5}", 0.1153),
    ],
)
def test_names_in_a_recipe_and_in_the_one_below_it(
    folder: Path, text: str, expected: float | None
) -> None:
    write(folder / "base.yaml", f"{GROUPS}run: {{epochs: 7}}\n")
    values = composed(folder, text)
    assert values["device"].get("gamma_up") == expected
    assert values["run"]["epochs"] == 7


def test_what_another_model_has_as_well_stays(folder: Path) -> None:
    write(folder / "base.yaml", GROUPS + "optimizer: analog_sgd\n")
    device = "device: {model: soft_bounds, dw_min: 0.5}"
    values = composed(
        folder, f"defaults: [base, _self_]\n{device}\nmodel: {{name: fcn}}"
    )
    assert values["device"]["dw_min"] == 0.5 and values["device"]["w_max"] == 1.1724
    assert values["device"]["about"] == "" and values["model"]["name"] == "fcn"
    # A misspelled key of the recipe itself is refused as ever.
    with pytest.raises(
        UserError, match=r"unknown key device\.w_mx; nearest: device\.w_max"
    ):
        composed(
            folder, "defaults: [base, _self_]\ndevice: {model: soft_bounds, w_mx: 1}"
        )


def test_a_group_that_the_recipe_below_does_not_name(folder: Path) -> None:
    write(folder / "base.yaml", GROUPS)
    values = composed(
        folder, "defaults: [base, _self_]\noptimizer: adam\nalgorithm: hwa"
    )
    assert (values["optimizer"]["name"], values["algorithm"]["name"]) == ("adam", "hwa")


ALONE = {
    "model: {name: fcn}": ("model", {"name": "fcn", "weights": ""}),
    "model: {name: char_lstm, hidden: 8}": (
        "model",
        {"name": "char_lstm", "weights": "", "hidden": 8, "layers": 2, "dropout": 0.0},
    ),
}


@pytest.mark.parametrize("text, expected", ALONE.items(), ids=ALONE)
def test_a_section_that_names_its_kind_gets_nothing_of_another_one(
    folder: Path, text: str, expected: tuple[str, Any]
) -> None:
    assert composed(folder, text)[expected[0]] == expected[1]


def test_a_device_of_a_recipe_starts_from_its_model(folder: Path) -> None:
    device = composed(folder, "device: {model: soft_bounds, dw_min: 0.01}")["device"]
    assert (device["dw_min"], device["w_max"], device["about"]) == (0.01, 0.6, "")


def test_a_member_of_the_command_line_replaces_such_a_section(folder: Path) -> None:
    text = "device: {model: soft_bounds, dw_min: 0.01}"
    assert composed(folder, text, "device=ecram") == composed(folder, "device: ecram")


TEXTS = {
    "a value": ["device=gokmen_vlasov", "device.model=linear_step"],
    "a preset before it": ["preset=gokmen_vlasov", "device.model=linear_step"],
}


@pytest.mark.parametrize("words", TEXTS.values(), ids=TEXTS)
def test_what_is_said_about_a_device_goes_with_it(words: list[str]) -> None:
    device = compose(words).values["device"]
    # Its numbers stay: they were asked for, or are those that any device has.
    assert (device["dw_min"], device["about"], device["source"]) == (0.0016, "", "")


def test_what_is_said_about_a_device_stays_with_other_numbers() -> None:
    values = compose(
        ["device=ecram", "device.dw_min=0.1", "device.model=linear_step"]
    ).values
    assert values["device"]["about"] == load_member("device", "ecram")["about"]


def test_the_texts_of_a_recipe_are_not_those_of_its_name(folder: Path) -> None:
    values = composed(folder, "about: mine\nname: first", "name=second")
    assert (values["about"], values["name"]) == ("mine", "second")


def test_papers_of_a_run_are_those_of_the_device_that_was_used(folder: Path) -> None:
    write(
        folder / "presets/device/mine.yaml",
        "model: constant_step\nsource: Mine (2020)\n",
    )
    assert "Mine (2020)" in citations(compose(["device=mine"]).values)
    changed = compose(["device=mine", "device.model=soft_bounds"]).values
    assert "Mine (2020)" not in citations(changed)
