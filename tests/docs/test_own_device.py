"""docs/own_device.md as written; then resuming, sending and compiling such a device like a built-in
one."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.devices import find_device
from engine.jit import cuda, source
from engine.nn import AnalogLinear
from engine.settings import ROOT
from engine.tile.settings import TileSpec
from tests.docs.pages import blocks, run_page

PAGE = ROOT / "docs" / "own_device.md"


@pytest.fixture
def tired(folder: Path) -> str:
    """The device of the page, in a file of this folder."""
    path = folder / "tired.py"
    path.write_text(
        next(block.text for block in blocks(PAGE) if block.file == "tired.py")
    )
    return f"{path}:Tired"


def test_the_page_works_as_written(aihw, folder: Path) -> None:
    results = run_page(PAGE.name, aihw)
    refusals = [result.err for result in results if result.code]
    line = (folder / "broken.py").read_text().splitlines().index("s.m += 1.0f;") + 1
    expected = [
        f"{folder / 'broken.py'}:{line}: ",
        "nearest: device.fatigue",
        "slope must be <= 1",
        "--allow-code",
    ]
    assert [word in text for word, text in zip(expected, refusals, strict=True)] == [
        True
    ] * 4, refusals
    assert (folder / "tired.png").read_bytes().startswith(b"\x89PNG")
    runs = [
        json.loads(path.read_text())
        for path in (folder / "runs").glob("*/*/summary.json")
    ]
    assert len(runs) == 7 and {run["status"] for run in runs} == {"finished"}
    assert max(run["test_accuracy"] for run in runs) > 0.6
    sweep = next((folder / "runs").glob("*/sweep-*/table.csv")).read_text()
    assert "fatigue" in sweep and len(sweep.splitlines()) == 3


def test_an_interrupted_run_goes_on_with_the_same_bits(
    aihw, folder: Path, tired: str
) -> None:
    words = [
        f"device={tired}",
        "run.epochs=2",
        "run.checkpoint_every=20",
        "dataset.train_samples=600",
        "--allow-code",
    ]
    code = (
        "import os, signal, sys; from engine.experiment.loop import Loop; step = Loop._step\n"
        "def stop(self, index):\n"
        "    if self.place.steps == 70: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(self, index)\n"
        "Loop._step = stop; from aihw_cli.main import main; main(sys.argv[1:])"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, "train", *words, "run.dir=a"],
        check=False,
        cwd=folder,
    )
    assert killed.returncode == -signal.SIGKILL
    run = next((folder / "a").glob("*/*"))
    refused = aihw("resume", str(run))
    assert refused.code == 2 and "--allow-code" in refused.err
    assert aihw("resume", str(run), "--allow-code").code == 0
    assert aihw("train", *words, "run.dir=b").code == 0
    one, other = (
        next((folder / name).glob("*/*/checkpoint/*/tensors.safetensors"))
        for name in "ab"
    )
    assert (
        one.parent.name == other.parent.name and one.read_bytes() == other.read_bytes()
    )


def test_a_changed_file_is_another_run_and_does_not_resume(
    aihw, folder: Path, tired: str
) -> None:
    words = [
        f"device={tired}",
        "run.epochs=1",
        "dataset.train_samples=50",
        "--allow-code",
    ]
    assert aihw("train", *words).code == 0
    path = Path(tired.partition(":")[0])
    path.write_text(path.read_text().replace("s.n += 1.0f", "s.n += 2.0f"))
    assert aihw("train", *words).code == 0
    assert len(list((folder / "runs").glob("*/*/summary.json"))) == 2


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_it_compiles_for_gpus(tired: str, arch: str) -> None:
    device = find_device(tired)
    text = source.device_text(tired, source.layout(device, device.validate({})), "cuda")
    assert cuda.compile(text, arch).startswith(b"\x7fELF")


def test_it_travels_to_other_processes(tired: str) -> None:
    path = Path(tired.partition(":")[0])
    path.write_text(
        path.read_text().replace(
            "noise_scales=", "check=lambda values: None,\n    noise_scales="
        )
    )
    layer = AnalogLinear(4, 3, tile=TileSpec.from_config({"device": {"model": tired}}))
    copied, x = pickle.loads(pickle.dumps(layer)), torch.randn(2, 4)
    assert torch.equal(layer(x), copied(x))


@pytest.mark.gpu
def test_it_trains_on_a_gpu(aihw, tired: str) -> None:
    words = [
        f"device={tired}",
        "run.epochs=1",
        "dataset.train_samples=200",
        "run.device=cuda",
        "--allow-code",
    ]
    assert aihw("train", *words).code == 0
