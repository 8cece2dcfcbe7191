"""Composition: which value wins, what is complete, what leaks."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from aihw_cli.compose import compose
from aihw_cli.recipe import recipes
from engine.presets import groups, load_member, members, preset
from engine.settings import UserError
from engine.tile.settings import TileSpec
from tests.cli.conftest import write

MEMBERS = [(group, name) for group in groups() for name in members(group)]
DEVICE_FILE = """
from engine.devices import Device, Param
SIZES = {"size": Param(0.5), "dw_min": Param(0.1)}
MyDevice = Device(name="mine", about="", formula="", params=SIZES, step="w += 0.0f;")
"""


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_composes(name: str) -> None:
    values = compose([f"conf={name}"]).values
    TileSpec.from_config(values)


@pytest.mark.parametrize("group, name", MEMBERS, ids=[f"{g}/{n}" for g, n in MEMBERS])
def test_every_member_composes_and_has_its_text(group: str, name: str) -> None:
    values = compose([f"{group}={name}"]).values
    TileSpec.from_config(values)
    texts = load_member(group, name)
    assert (texts.get("preset") or texts)["about"]
    if group in ("device", "tile", "algorithm"):
        assert texts["source"]
    if group == "device":
        assert_given(texts, values["device"])


def assert_given(given: dict, complete: dict) -> None:
    """What a member says is what the complete configuration holds, also in the devices of its
    cells."""
    for key, value in given.items():
        if isinstance(value, dict):
            assert_given(value, complete[key])
        elif key not in ("about", "source"):
            assert complete[key] == value


@pytest.mark.parametrize("name", members("preset"))
def test_every_preset_from_python_is_that_of_the_command_line(name: str) -> None:
    values = compose([f"preset={name}"]).values
    assert preset(name) == TileSpec.from_config(values)


def test_auto_is_the_default_number_of_threads() -> None:
    assert compose(["run.threads=auto"]).values["run"]["threads"] == 0
    assert compose(["run.threads=3"]).values["run"]["threads"] == 3
    with pytest.raises(UserError, match=r"run\.threads"):
        compose(["run.threads=many"])


def test_order_member_recipe_command_line(folder: Path) -> None:
    path = write(
        folder / "mine.yaml", "defaults:\n  - device: ecram\ndevice: {dw_min: 0.003}\n"
    )
    device = compose([f"conf={path}"]).values["device"]
    assert (device["dw_min"], device["gamma_up"], device["lifetime"]) == (
        0.003,
        0.1153,
        0.0,
    )
    assert (
        compose([f"conf={path}", "device.dw_min=0.004"]).values["device"]["dw_min"]
        == 0.004
    )
    assert (
        compose([f"conf={path}", "device=capacitor"]).values["device"]["model"]
        == "linear_step"
    )


def test_a_preset_changes_the_device_and_a_device_on_the_command_line_wins() -> None:
    assert compose(["preset=capacitor"]).values["device"]["dw_min"] == 0.005
    assert (
        compose(["preset=capacitor", "device=ecram"]).values["device"]["dw_min"]
        == 0.002
    )
    assert (
        compose(["device=ecram", "preset=capacitor"]).values["device"]["dw_min"]
        == 0.002
    )


def test_a_preset_of_a_recipe_can_be_taken_away(folder: Path) -> None:
    path = write(
        folder / "mine.yaml", "defaults:\n  - preset: capacitor\n  - device: ecram\n"
    )
    assert compose([f"conf={path}"]).values["device"]["dw_min"] == 0.005
    assert compose([f"conf={path}", "preset=null"]).values["device"]["dw_min"] == 0.002


def test_a_parameter_that_no_file_lists_can_be_set() -> None:
    values = compose(
        [
            "device.drift_nu=0.1",
            "tile.backward.inp_noise=0.02",
            "optimizer.schedule.name=cosine",
        ]
    ).values
    assert values["device"]["drift_nu"] == 0.1
    assert values["tile"]["backward"]["inp_noise"] == 0.02
    assert values["optimizer"]["schedule"]["name"] == "cosine"


def test_numbers_take_the_type_of_their_key() -> None:
    values = compose(
        ["device.lifetime=5", "run.epochs=3.0", "optimizer.lr=1e-3"]
    ).values
    assert isinstance(values["device"]["lifetime"], float)
    assert isinstance(values["run"]["epochs"], int)
    assert values["optimizer"]["lr"] == 0.001


def test_own_members_shadow_packaged_ones_and_it_is_said(folder: Path) -> None:
    assert compose(["device=ecram"]).notes == []
    mine = write(
        folder / "presets/device/ecram.yaml",
        "about: mine\nsource: me\nmodel: constant_step\ndw_min: 0.01\n",
    )
    composed = compose(["device=ecram"])
    assert composed.values["device"]["dw_min"] == 0.01
    assert (
        len(composed.notes) == 1
        and str(mine) in composed.notes[0]
        and "shadows" in composed.notes[0]
    )


def test_layers_become_complete_sections() -> None:
    values = compose(
        [
            "layers={fc1:{device:{dw_min:0.01}},fc2:{algorithm:digital}}",
            "layers.fc3.device=ecram",
            "layers.fc4.tile=perfect",
        ]
    ).values
    layers = values["layers"]
    assert layers["fc1"]["device"] == {**values["device"], "dw_min": 0.01}
    assert layers["fc2"]["algorithm"]["name"] == "digital"
    assert layers["fc3"]["device"]["gamma_up"] == 0.1153
    assert layers["fc4"]["tile"]["forward"]["is_perfect"] is True


def test_a_layer_with_another_step_model_starts_from_its_defaults() -> None:
    device = compose(["layers.fc1.device={model:linear_step,gamma_up:0.2}"]).values[
        "layers"
    ]["fc1"]["device"]
    assert (device["model"], device["gamma_up"], device["dw_min"]) == (
        "linear_step",
        0.2,
        0.001,
    )


def test_a_device_file_replaces_the_device_and_needs_permission(folder: Path) -> None:
    write(folder / "my_device.py", DEVICE_FILE)
    with pytest.raises(UserError, match="--allow-code"):
        compose(["device=my_device.py:MyDevice"])
    device = compose(
        ["device=my_device.py:MyDevice", "device.size=0.25"], allow_code=True
    ).values["device"]
    assert (device["model"], device["size"], device["dw_min"]) == (
        "my_device.py:MyDevice",
        0.25,
        0.1,
    )


@pytest.mark.parametrize(
    "text",
    ["device: {model: 'evil.py:X'}", "layers: {fc1: {device: {model: evil.py}}}"],
)
def test_a_recipe_cannot_run_code(folder: Path, text: str) -> None:
    write(folder / "evil.py", "open('was_here', 'w').close()")
    path = write(folder / "mine.yaml", text)
    with pytest.raises(UserError, match="--allow-code"):
        compose([f"conf={path}"])
    assert not (folder / "was_here").exists()


def test_hydra_keeps_no_state_and_warns_of_nothing() -> None:
    from hydra.core.global_hydra import GlobalHydra

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = compose(["device=ecram"]).values
    assert not GlobalHydra.instance().is_initialized()
    assert compose(["device=ecram"]).values == first


def test_composes_inside_a_program_that_uses_hydra_itself(folder: Path) -> None:
    from hydra import compose as their_compose
    from hydra import initialize_config_dir

    from aihw_cli.compose import hydra_options

    write(folder / "theirs/main.yaml", "a: 1\n")
    with initialize_config_dir(config_dir=str(folder / "theirs"), **hydra_options()):
        assert compose(["device=ecram"]).values["device"]["dw_min"] == 0.002
        assert their_compose("main").a == 1


def test_preset_from_python_takes_changes_of_every_part() -> None:
    spec = preset(
        "ecram", dw_min=0.001, forward={"out_noise": 0.0}, mapping={"max_input_size": 0}
    )
    assert spec.device.params["dw_min"] == 0.001
    assert (
        spec.forward.out_noise,
        spec.forward.out_bound,
        spec.backward.out_noise,
    ) == (
        0.0,
        20.0,
        0.1,
    )
    assert spec.mapping.max_input_size == 0
    assert preset("ecram", device="capacitor").device.params["dw_min"] == 0.005
    with pytest.raises(UserError, match="nearest: dw_min"):
        preset("ecram", dw_mim=1)
    with pytest.raises(UserError, match="nearest: ecram"):
        preset("ecrem")
