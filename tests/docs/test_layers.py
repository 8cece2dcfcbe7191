"""docs/layers.md: its commands and its Python, from top to bottom."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Result
from tests.docs.pages import run_page


def test_the_page(aihw: Callable[..., Result], folder: Path) -> None:
    (folder / "story.txt").write_text(
        "a cell remembers what it was told, now and then.\n" * 30, encoding="utf-8"
    )
    shown, resnet, squeezed, small, _, _, _, text, _ = run_page("layers.md", aihw)
    assert "conv1" in shown.out and "80,202 parameters" in shown.out
    assert "layer4.1.conv2" in resnet.out and " 0 in cells" not in resnet.out
    assert "classifier.1" in squeezed.out
    assert "does not take images of 8 x 8" in small.err
    assert "lstm2" in text.out
    metrics = next(folder.glob("runs/char_lstm/*/metrics.csv"))
    with metrics.open() as lines:
        assert float(next(csv.DictReader(lines))["test_perplexity"]) > 1
