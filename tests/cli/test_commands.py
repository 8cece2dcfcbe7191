"""The commands that only read: help, ls, show, cp, validate, doctor, completion; and what they must
not import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aihw_cli.commands.catalog import all_members, kinds
from aihw_cli.main import COMMANDS
from tests.cli.conftest import write

EVERYTHING = [(kind, m.name) for kind in kinds() for m in all_members(kind)]
HEAVY = (
    "torch",
    "hydra",
    "omegaconf",
    "torchvision",
    "cupy",
    "matplotlib",
    "sklearn",
    "rich",
    "numpy",
)


def test_alone_it_prints_the_map(aihw) -> None:
    result = aihw()
    assert result.code == 0
    assert all(name in result.out for name in COMMANDS)
    assert aihw("--help").out == result.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(aihw, name: str) -> None:
    result = aihw(name, "--help")
    assert result.code == 0
    assert "examples:" in result.out and f"usage: aihw {name}" in result.out
    assert aihw("help", name).out == result.out


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["ls"],
        ["show", "mnist_fcn"],
        ["completion", "bash"],
        ["train", "--help"],
        ["doctor"],
    ],
)
def test_nothing_heavy_is_imported(words: list[str]) -> None:
    code = f"import sys; from aihw_cli.main import main; main({words!r}); print(sys.modules.keys() & {set(HEAVY)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "set()"


def test_ls_names_everything_and_json_agrees(aihw) -> None:
    text, data = aihw("ls").out, json.loads(aihw("ls", "--json").out)
    assert [(row["kind"], row["name"]) for row in data] == EVERYTHING
    assert all(f"  {name} " in text for _, name in EVERYTHING)
    assert all(row["about"] for row in data)


def test_ls_of_one_kind_also_in_the_plural(aihw) -> None:
    assert aihw("ls", "devices").out == aihw("ls", "device").out
    assert "mnist" not in aihw("ls", "device").out


def test_ls_marks_what_is_yours(aihw, folder: Path) -> None:
    write(folder / "presets/device/ecram.yaml", "about: mine\nmodel: constant_step\n")
    lines = [
        line
        for line in aihw("ls", "device").out.splitlines()
        if line.startswith("  ecram ")
    ]
    assert len(lines) == 1 and "yours, shadows" in lines[0]


def test_ls_lists_a_file_that_cannot_be_read(aihw, folder: Path) -> None:
    write(folder / "presets/device/broken.yaml", "a: [\n")
    result = aihw("ls", "device")
    assert result.code == 0 and "cannot be read" in result.out and "ecram" in result.out


@pytest.mark.parametrize(
    "kind, name", EVERYTHING, ids=[f"{k}/{n}" for k, n in EVERYTHING]
)
def test_show_explains_every_member(aihw, kind: str, name: str) -> None:
    result = aihw("show", f"{kind}/{name}")
    assert result.code == 0 and result.out.startswith(f"{kind} {name}: ")
    assert json.loads(aihw("show", f"{kind}/{name}", "--json").out)["name"] == name


def test_show_of_a_device_has_formula_source_and_units(aihw) -> None:
    text = aihw("show", "device/ecram").out
    for words in (
        "formula: up: w +=",
        "doi:10.1109/IEDM.2018.8614551",
        "dw_min  ",
        "of dw_min",
        "0.5085",
        "mean step of one pulse",
    ):
        assert words in text


def test_show_names_the_others_of_the_same_name(aihw) -> None:
    assert "aihw show preset/ecram" in aihw("show", "ecram").out


def test_show_explains_a_key(aihw) -> None:
    assert "noise before the ADC" in aihw("show", "out_noise").out
    assert "linear_step" in aihw("show", "gamma_up").out


def test_cp_copies_and_never_overwrites(aihw, folder: Path) -> None:
    assert aihw("cp", "mnist_fcn", "mine.yaml").code == 0
    copied = (folder / "mine.yaml").read_text()
    assert "model: fcn" in copied
    assert aihw("cp", "ecram", "mine.yaml").code == 2
    assert (folder / "mine.yaml").read_text() == copied
    assert aihw("cp", "device/ecram", "presets/device/other.yaml").code == 0
    assert aihw("validate", "presets/device/other.yaml").code == 0
    assert "other" in aihw("ls", "device").out


@pytest.mark.parametrize("kind, name", [(k, n) for k, n in EVERYTHING if k != "step"])
def test_every_file_is_valid_where_it_lies(aihw, kind: str, name: str) -> None:
    path = next(m.path for m in all_members(kind) if m.name == name)
    result = aihw("validate", str(path))
    assert result.code == 0 and f"valid {kind}" in result.out


def test_validate_tells_a_file_by_its_keys(aihw, folder: Path) -> None:
    write(folder / "a.yaml", "model: constant_step\ndw_min: 0.01\n")
    write(folder / "b.yaml", "forward: {out_noise: 0.0}\n")
    write(folder / "c.yaml", "run: {epochs: 2}\n")
    found = [aihw("validate", f"{name}.yaml").out for name in "abc"]
    assert [
        "valid device" in found[0],
        "valid tile" in found[1],
        "valid recipe" in found[2],
    ] == [True] * 3


def test_validate_gives_the_whole_configuration(aihw, folder: Path) -> None:
    write(folder / "mine.yaml", "run: {epochs: 2}\n")
    values = json.loads(aihw("validate", "mine.yaml", "device=ecram", "--json").out)
    assert (values["run"]["epochs"], values["device"]["gamma_up"]) == (2, 0.1153)


def test_doctor_says_what_is_there(aihw) -> None:
    findings = json.loads(aihw("doctor", "--json").out)
    assert findings["versions"]["torch"] != "-"
    assert findings["compiler"] and findings["backends"]
    assert "cache" in aihw("doctor").out


def test_completion_is_shell_text(aihw) -> None:
    script = aihw("completion", "bash").out
    assert "complete " in script and "doctor" in script
    subprocess.run(["bash", "-n", "-c", script], check=True)


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m aihw_cli ls | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.splitlines()[-1] == "0" and done.stderr == ""
