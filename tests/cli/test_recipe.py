"""A recipe is a stranger's text: whatever reaches outside is refused before Hydra sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from aihw_cli.compose import compose
from aihw_cli.recipe import find_recipe, read_recipe
from engine.settings import UserError
from tests.cli.conftest import write

REFUSED = {
    "hydra node": ("hydra:\n  searchpath: [pkg://os]\n", "hydra"),
    "hydra key with another key": (
        "run: {epochs: 1}\nhydra: {run: {dir: /tmp}}\n",
        "hydra",
    ),
    "package of hydra": ("# @package hydra.searchpath\nx: 1\n", "package"),
    "absolute default": ("defaults:\n  - /etc/passwd\n", "not allowed"),
    "absolute member": ("defaults:\n  - device: /etc/passwd\n", "not allowed"),
    "upward default": ("defaults:\n  - ../other\n", "not allowed"),
    "upward member": ("defaults:\n  - device: ../../other\n", "not allowed"),
    "member with a scheme": ("defaults:\n  - device: file://etc/x\n", "not allowed"),
    "unknown group": ("defaults:\n  - hydra/launcher: basic\n", "no group"),
    "package into hydra": (
        "defaults:\n  - device@hydra.launcher: ecram\n",
        "not allowed",
    ),
    "interpolated member": ("defaults:\n  - device: ${x}\n", "not allowed"),
    "environment": ("claim: ${oc.env:HOME}\n", "not allowed"),
    "environment in a list": ("model: {hidden: ['${oc.env:HOME}']}\n", "not allowed"),
    "nested resolver": ("claim: ${oc.${a}:HOME}\n", "not allowed"),
    "resolver inside another": (
        "claim: '${oc.select:a,${oc.env:HOME}}'\n",
        "not allowed",
    ),
    "own resolver": ("claim: ${eval:1+1}\n", "not allowed"),
    "results elsewhere": ("run: {dir: /tmp/elsewhere}\n", "reaches outside"),
    "results above": ("run: {dir: ../elsewhere}\n", "reaches outside"),
    "name above": ("name: ../x\n", "name of a folder"),
    "defaults no list": ("defaults: {device: ecram}\n", "must be a list"),
    "python object": (
        "claim: !!python/object/apply:os.system [id]\n",
        "not valid YAML",
    ),
}


@pytest.mark.parametrize("text, reason", REFUSED.values(), ids=REFUSED)
def test_refused(folder: Path, text: str, reason: str) -> None:
    path = write(folder / "stranger.yaml", text)
    with pytest.raises(UserError, match=reason) as caught:
        read_recipe(str(path))
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    "text, reason",
    [REFUSED["hydra node"], REFUSED["environment"], REFUSED["package of hydra"]],
)
def test_refused_in_a_member_beside_it(folder: Path, text: str, reason: str) -> None:
    write(folder / "presets/device/mine.yaml", f"{text}model: constant_step\n")
    path = write(folder / "stranger.yaml", "defaults:\n  - device: mine\n")
    with pytest.raises(UserError, match=reason):
        read_recipe(str(path))


def test_refused_on_the_command_line_too() -> None:
    with pytest.raises(UserError, match="not allowed"):
        compose(["claim=${oc.env:HOME}"])


def test_plain_interpolation_is_resolved_after_overrides(folder: Path) -> None:
    path = write(
        folder / "mine.yaml",
        "optimizer: {lr: '${oc.select:rate,0.5}', momentum: '${optimizer.lr}'}\n",
    )
    assert compose([f"conf={path}"]).values["optimizer"]["momentum"] == 0.5
    assert (
        compose([f"conf={path}", "optimizer.lr=0.25"]).values["optimizer"]["momentum"]
        == 0.25
    )


def test_a_recipe_that_names_few_groups_gets_the_others(folder: Path) -> None:
    path = write(
        folder / "mine.yaml", "defaults:\n  - preset: ecram\nrun: {epochs: 2}\n"
    )
    values = compose([f"conf={path}"]).values
    assert values["name"] == "mine"
    assert values["device"]["model"] == "linear_step"
    assert (values["run"]["epochs"], values["dataset"]["name"]) == (2, "digits")


def test_a_recipe_may_build_on_one_beside_it(folder: Path) -> None:
    groups = (
        "device: ecram",
        "tile: preset",
        "algorithm: digital",
        "model: mlp",
        "dataset: digits",
    )
    write(
        folder / "base.yaml",
        "defaults:\n"
        + "".join(f"  - {g}\n" for g in groups)
        + "run: {epochs: 7, seed: 3}\n",
    )
    path = write(
        folder / "top.yaml",
        "defaults:\n  - base\n  - _self_\n  - override device: capacitor\nrun: {seed: 4}\n",
    )
    values = compose([f"conf={path}"]).values
    assert (
        values["run"]["epochs"],
        values["run"]["seed"],
        values["device"]["dw_min"],
    ) == (
        7,
        4,
        0.005,
    )


def test_found_by_name_by_path_and_by_its_folder() -> None:
    assert find_recipe("mnist_fcn")[1].name == "mnist_fcn.yaml"
    assert find_recipe("basics/mnist_fcn") == find_recipe("mnist_fcn")


def test_a_user_recipe_shadows_the_packaged_one(folder: Path) -> None:
    mine = write(folder / "experiments/basics/digits.yaml", "run: {epochs: 1}\n")
    assert find_recipe("digits")[1] == mine
    notes = compose(["conf=digits"]).notes
    assert len(notes) == 1 and "shadows" in notes[0] and str(mine) in notes[0]
