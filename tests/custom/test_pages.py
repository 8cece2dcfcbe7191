"""docs/your_network.md, docs/your_data.md and docs/training.md: their commands, from top to bottom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.experiment.feeding.transforms import ALLOWED
from engine.settings import ROOT
from tests.cli.conftest import Result
from tests.custom.test_data import classes_of_images
from tests.docs.pages import run_page


def test_your_network(aihw: Callable[..., Result], folder: Path) -> None:
    classes_of_images(folder / "shapes")
    results = run_page("your_network.md", aihw)
    _, _, evaluated, exported, refused, shown = results[:6]
    assert "1 y" in evaluated.out and "checked with onnxruntime" in exported.out
    assert "--allow-code" in refused.err
    assert "blocks.0.attention" in shown.out
    unfit = next(result for result in results if "another shape" in result.err)
    assert "patches.weight 8x1x4x4 instead of 6x1x4x4" in unfit.err


def test_your_data(aihw: Callable[..., Result], folder: Path) -> None:
    classes_of_images(folder / "shapes")
    (folder / "shapes" / "cat").rename(folder / "shapes" / "circle")
    results = run_page("your_data.md", aihw)
    assert "RandomHorizontalFlip" in next(
        r.err for r in results if "transform" in r.err
    )


def test_every_transform_is_listed() -> None:
    text = (ROOT / "docs" / "your_data.md").read_text()
    assert not [name for name in ALLOWED["augment"] if name not in text]


def test_training(aihw: Callable[..., Result]) -> None:
    results = run_page("training.md", aihw)
    assert "no layer learns by pulses" in results[3].err
    assert Path("runs/digits/latest/best").is_dir()
