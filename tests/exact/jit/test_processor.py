"""Which processor a run takes, and what it says where a GPU is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.experiment.processor import processor, without_gpu
from engine.jit import cuda
from engine.settings import UserError
from tests.experiment.helpers import Recorder, run, small_config

NO_CUPY = "CuPy or its compiler cannot be used (No module named 'cupy'): pip install 'aihw[cuda13]'"


@pytest.fixture
def torch_has_a_gpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Torch says so; nothing is run on it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return monkeypatch


def test_auto_takes_a_gpu_that_works(torch_has_a_gpu: pytest.MonkeyPatch) -> None:
    torch_has_a_gpu.setattr(cuda, "available", lambda: (True, "a GPU"))
    assert processor({"device": "auto"}).type == "cuda" and not without_gpu(
        {"device": "auto"}
    )
    assert processor({"device": "cpu"}).type == "cpu"


def test_auto_without_cupy_takes_the_cpu_and_says_why(
    torch_has_a_gpu: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch_has_a_gpu.setattr(cuda, "available", lambda: (False, NO_CUPY))
    reporter = Recorder()
    folder = run(small_config(tmp_path, run={"device": "auto", "epochs": 1}), reporter)
    assert reporter.messages == [f"the GPU is not used: {NO_CUPY}"]
    assert reporter.messages[0] in (folder / "log.txt").read_text()
    assert '"device": "cpu"' in (folder / "run.json").read_text()


def test_nothing_is_said_without_a_gpu_or_by_choice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (
        without_gpu({"device": "auto"}) == ""
        and processor({"device": "auto"}).type == "cpu"
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "available", lambda: (False, NO_CUPY))
    assert without_gpu({"device": "cpu"}) == ""


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        UserError,
        match=r"run\.device=cuda: torch finds no usable GPU \(.*\); run\.device=cpu works",
    ):
        processor({"device": "cuda"})
