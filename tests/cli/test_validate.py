"""`aihw validate` checks every kind of file as a run would, and says what a run would say."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.presets import groups, members
from engine.settings import ROOT, packaged_data
from tests.cli.conftest import write

# For each group: a right member, and a wrong one with what is said of it.
WRONG = {
    "algorithm": ("name: sgdd", "no algorithm 'sgdd'"),
    "dataset": ("name: mnist\nbatch_size: 0", "dataset.batch_size"),
    "device": (
        "model: constant_step\ndw_mim: 1",
        "device.dw_mim; nearest: device.dw_min",
    ),
    "inference": ("noise_model: pcm\nnoise: {drift: 1}", "inference.noise.drift"),
    "model": ("name: vgg8\nhidden: 0", "hidden must be 1 at least"),
    "optimizer": ("name: adam\nbetas: [0.5]", "betas"),
    "preset": ("# @package _global_\ndevice: {dw_mim: 1}", "device.dw_mim"),
    "run": ("epochs: soon", "run.epochs must be"),
    "tile": ("forward: {inp_res: x}", "tile.forward.inp_res"),
}


def home(group: str) -> str:
    """The folder that holds a group."""
    return "conf" if (packaged_data() / "conf" / group).is_dir() else "presets"


def test_there_is_a_case_for_every_group() -> None:
    """A new group gets one too."""
    assert set(WRONG) == set(groups())


@pytest.mark.parametrize(
    ("group", "text", "said"), [(g, *found) for g, found in WRONG.items()]
)
def test_a_wrong_member(aihw, folder: Path, group: str, text: str, said: str) -> None:  # type: ignore[no-untyped-def]
    """Refused with key and file."""
    path = write(folder / home(group) / group / "mine.yaml", text)
    result = aihw("validate", str(path))
    assert result.code == 2 and said in result.err and "mine.yaml" in result.err, result
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("group", "name"), [(g, n) for g in sorted(groups()) for n in sorted(members(g))]
)
def test_every_packaged_member_is_valid(aihw, group: str, name: str) -> None:  # type: ignore[no-untyped-def]
    """Also by itself."""
    result = aihw("validate", str(members(group)[name][0]))
    assert result.code == 0 and f"valid {group}" in result.out, result.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("device: {dw_min: 0.01}", "begins with the line `# @package _global_`"),
        ("# @package _global_\nnonsense: [1]", "unknown key nonsense"),
        ("# @package _global_\ndefaults: [{override /device: ecrm}]", "nearest: ecram"),
        ("# @package _global_\nhydra: {}", "hydra"),
        ("# @package _global_\ndevice: {dw_min: '${nothing.here}'}", "device.dw_min"),
        ("# @package _global_\ndevice: {dw_min: '???'}", "device.dw_min is ???"),
        (
            "# @package _global_\nalgorithm: {name: tiki_taka, fast: {dw_mim: 1}}",
            "fast.dw_mim",
        ),
    ],
)
def test_a_wrong_preset(aihw, folder: Path, text: str, said: str) -> None:  # type: ignore[no-untyped-def]
    """A preset is checked as a whole."""
    path = write(folder / "presets/preset/mine.yaml", text)
    result = aihw("validate", str(path))
    assert result.code == 2 and said in result.err, result


RECIPES = {
    "an optimizer without its momentum": (
        "optimizer: {nesterov: true}",
        "needs a momentum",
    ),
    "a network for other samples": (
        "defaults: [{model: char_lstm}]",
        "char_lstm takes text",
    ),
    "a layer that is not there": (
        "layers: {fc9: {algorithm: digital}}",
        "no layer 'fc9'",
    ),
    "tiles that do not fit": ("defaults: [{tile: hwa_add_normal}]", "tile.modifier"),
    "a network without layers' sizes": ("model: {hidden: [0]}", "hidden"),
    "a network larger than the memory": (
        "model: {hidden: [10000000, 10000000]}",
        "of memory",
    ),
}


@pytest.mark.parametrize(("text", "said"), RECIPES.values(), ids=RECIPES)
def test_a_recipe_that_would_not_train_is_not_valid(
    aihw, folder: Path, text: str, said: str
) -> None:  # type: ignore[no-untyped-def]
    """What only network and data know is asked too; nothing is trained."""
    write(folder / "mine.yaml", text)
    result = aihw("validate", "mine.yaml", "--as", "recipe")
    assert result.code == 2 and said in result.err, result
    assert [p.name for p in folder.iterdir()] == ["mine.yaml"]


def test_without_the_data_a_note_says_so(aihw, folder: Path) -> None:  # type: ignore[no-untyped-def]
    """Nothing is fetched to check a recipe."""
    write(
        folder / "mine.yaml",
        "defaults: [{dataset: mnist}]\ndataset: {download: true}\n",
    )
    result = aihw("validate", "mine.yaml", "--as", "recipe")
    assert result.code == 0 and "note: the data were not checked" in result.err


def test_a_value_without_effect_is_refused_as_training_refuses_it(aihw) -> None:  # type: ignore[no-untyped-def]
    words = ("algorithm=digital", "tile.modifier.per_batch_sample=true")
    checked = aihw("validate", str(ROOT / "experiments/basics/digits.yaml"), *words)
    trained = aihw("train", *words)
    assert checked.code == trained.code == 2
    assert checked.err == trained.err and "has no effect" in checked.err
