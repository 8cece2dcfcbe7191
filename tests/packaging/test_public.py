"""`import aihw`: what it names, and that it finds its own inside wherever it is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import aihw
from engine.settings import ROOT
from tests.docs.pages import blocks

# Changes here are changes for everybody who wrote a script: a name may come, none may go.
PUBLIC = {
    "AnalogConv1d", "AnalogConv2d", "AnalogConv3d", "AnalogGRU", "AnalogLSTM", "AnalogLayer",
    "AnalogLinear", "AnalogMultiheadAttention", "AnalogOptimizer", "AnalogRNN", "AnalogSGD",
    "AnalogSequential",
    "InferenceSpec", "TileSpec", "UserError", "analog_summary", "analog_tiles", "calibrate",
    "convert_to_analog", "convert_to_digital", "digital_parameters", "exchange_settings", "find_runs", "inference",
    "load_run", "named_analog_layers", "preset", "program", "pulsed_parameters", "read_weights", "restore",
}  # fmt: skip


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A new interpreter that was started in `folder`."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_public() -> None:
    assert set(aihw.__all__) == PUBLIC
    for name in PUBLIC:
        assert (getattr(aihw, name).__doc__ or "").strip(), (
            f"{name} says nothing about itself"
        )


def test_an_engine_in_the_working_folder_is_passed_by(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").write_text("raise SystemExit('not ours')")
    done = python("import aihw, engine; print(engine.__file__)", tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stdout


@pytest.mark.parametrize(
    "stranger", ["import engine", "import sys; sys.modules['engine'] = sys"]
)
def test_a_strangers_engine_that_came_first_is_refused(
    tmp_path: Path, stranger: str
) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").touch()
    done = python(f"{stranger}; import aihw", tmp_path)
    (line,) = [
        line for line in done.stderr.splitlines() if line.startswith("ImportError")
    ]
    assert "another one of this name" in line and "import aihw first" in line


def test_tiles_by_the_name_of_a_preset() -> None:
    """Layers and conversion take the same names as recipes do."""
    made = []
    for tile in ("ecram", aihw.preset("ecram")):
        torch.manual_seed(1)
        made.append(aihw.AnalogLinear(6, 4, tile=tile, seed=1).get_weights()[0])
    assert torch.equal(*made)
    model = aihw.convert_to_analog(
        nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2)),
        "ecram",
        layers={"1": "hwa_add_normal"},
    )
    assert [tile.learns_by_gradient for tile in aihw.analog_tiles(model)] == [
        False,
        True,
    ]
    with pytest.raises(aihw.UserError, match="nearest: ecram"):
        aihw.AnalogLinear(6, 4, tile="ecrm")


def test_runs_are_found_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network of a run that the command line has trained."""
    from aihw_cli.main import main

    monkeypatch.chdir(tmp_path)
    assert (
        main(["train", "run.epochs=1", "dataset.train_samples=100", "model.hidden=[8]"])
        == 0
    )
    (run,) = aihw.find_runs()
    assert run.status == "finished" and 0 <= run.number("test_accuracy") <= 1
    model = aihw.load_run(run.folder)
    assert model(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    with pytest.raises(aihw.UserError, match="no folder"):
        aihw.find_runs("elsewhere")


def test_the_python_of_the_readme() -> None:
    """Its one block of Python runs, and the step changes the layer on a tile."""
    (code,) = [
        block.text for block in blocks(ROOT / "README.md") if block.language == "python"
    ]
    shown, optimizer_step = code.rsplit("optimizer.step()", 1)
    names: dict[str, object] = {}
    exec(shown, names)
    tile = next(aihw.analog_tiles(names["model"]))  # type: ignore[arg-type]
    before = tile.get_weights()[0].clone()
    exec(f"optimizer.step(){optimizer_step}", names)
    assert not torch.equal(before, tile.get_weights()[0])
