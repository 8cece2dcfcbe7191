"""docs/from_aihwkit.md: its commands, cut to a few samples, and its Python; its words are ours."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.settings import ROOT
from tests.docs.pages import blocks, run_blocks
from tests.experiment.helpers import write_idx
from tests.experiment.test_cifar10 import write_cifar

PAGE = ROOT / "docs" / "from_aihwkit.md"
MODEL = ROOT / "tests" / "exchange" / "data" / "digits.safetensors"
SHORT = ("run.epochs=1", "dataset.train_samples=8", "dataset.test_samples=4")


def test_the_page(aihw: Callable[..., Any], folder: Path) -> None:
    shutil.copyfile(MODEL, folder / "model.safetensors")
    (folder / "story.txt").write_text("a cell remembers what it was given.\n" * 40)
    write_idx(folder / "data")
    write_cifar(folder / "data")

    def short(*words: str) -> Any:
        training = words[0] == "train" and not any(
            word.startswith("conf=char_lstm") for word in words
        )
        return aihw(
            *words, *(SHORT if training else SHORT[:1] if words[0] == "train" else ())
        )

    run_blocks(PAGE, short)
    assert (folder / "presets.png").is_file()
    assert (folder / "back.safetensors").is_file()


def test_every_example_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("## Their examples")[2]
    numbers = {
        n
        for found in re.findall(r"^\*\*([\d, ]+)\*\*", text, re.M)
        for n in found.split(", ")
    }
    assert numbers == {f"{k:02d}" for k in range(1, 37)}


def test_its_keys_and_presets_exist() -> None:
    from aihw_cli.check import dotted
    from aihw_cli.schema import full_schema
    from engine.presets import members

    text = PAGE.read_text(encoding="utf-8").partition("## Their words")[2]
    table = text.partition("## Their examples")[0]
    keys = set(dotted(full_schema({})))
    said = set(re.findall(r"`((?:tile|inference)\.[\w.]+)=", table))
    assert said
    assert not said - keys
    for group in ("preset", "inference"):
        for name in re.findall(rf"`{group}=(\w+)`", table):
            if name != "NAME":
                assert name in members(group)
    assert len(list(blocks(PAGE))) > 10
