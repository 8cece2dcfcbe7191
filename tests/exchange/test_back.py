"""Networks of this engine as files that the script beside aihwkit loads."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.exchange import aihwkit
from engine.exchange.aihwkit.file import read_source
from engine.exchange.aihwkit.restore import SCRATCH, values_of
from engine.nn import AnalogLinear
from engine.presets import preset
from engine.settings import ROOT, UserError
from engine.tile.settings import AlgorithmSpec
from tests.exchange.test_models import DATA, NAMES, on_tiles

# The interpreter of an environment with aihwkit, which cannot share one with this engine.
PYTHON = os.environ.get("AIHWKIT_PYTHON", "")
# What aihwkit sets in its own way, also when it loads a checkpoint of itself.
DRAWN_ANEW = ("persistent_weights", "hidden_weights")


@pytest.mark.parametrize("name", NAMES)
def test_names_and_values_are_those_of_the_exporter(name: str, tmp_path: Path) -> None:
    aihwkit.save(on_tiles(name)[0], tmp_path / "back.safetensors")
    theirs, back = (
        read_source(DATA / f"{name}.safetensors"),
        read_source_of_ours(tmp_path),
    )
    assert {k.replace(".array.0.0", "") for k in theirs.tiles} == set(back.tiles)
    ours = {k: v for k, v in theirs.digital.items() if not k.startswith("check.")}
    assert set(ours) == set(back.digital)
    for grid, tiles in theirs.tiles.items():
        for tile, own in zip(tiles, back.tiles[grid], strict=True):
            given, found = values_of(tile), values_of(own)
            hidden = {key for key in given if key.startswith("hidden.")}
            assert hidden == {key for key in found if key.startswith("hidden.")}
            for key in hidden | {"weights"}:
                torch.testing.assert_close(found[key], given[key], atol=1e-6, rtol=0)
            extra = {
                k for k in given if k.startswith("extra.") and not SCRATCH.search(k[6:])
            }
            assert {k for k in found if k.startswith("extra.")} <= extra | {
                "extra.last_update_m_batch"
            }


def read_source_of_ours(folder: Path):
    """A file of ours, which holds no settings, read like one of the exporter."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = folder / "back.safetensors"
    with safe_open(path, "pt") as file:
        content = json.loads(file.metadata()["content"])
    content["configs"] = [{"class": "None"}]
    metadata = {"format": content["format"], "content": json.dumps(content)}
    save_file(load_file(path), path, metadata)
    return read_source(path)


def test_what_aihwkit_does_not_have_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.safetensors"
    with pytest.raises(UserError, match="no analog tile"):
        aihwkit.save(nn.Linear(2, 2), path)
    for name, settings in (("lrtt", {"rank": 2}), ("residual_v2", {})):
        start = preset("lrtt_idealized") if name == "lrtt" else preset("idealized")
        tile = replace(start, algorithm=AlgorithmSpec(name, settings))
        with pytest.raises(UserError, match=f"no algorithm like {name}"):
            aihwkit.save(AnalogLinear(6, 5, tile=tile), path)
    assert not path.exists()


@pytest.mark.skipif(
    not PYTHON, reason="AIHWKIT_PYTHON names no interpreter with aihwkit"
)
def test_aihwkit_computes_what_it_did(tmp_path: Path) -> None:
    for name in NAMES:
        aihwkit.save(on_tiles(name)[0], tmp_path / f"{name}.safetensors")
    command = [PYTHON, "-m", "tests.exchange.check_back", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *found, presets, programmed = [
        json.loads(line) for line in done.stdout.splitlines()
    ]
    assert presets["changed"] == []
    assert programmed["errors"][0] == 0 < programmed["errors"][1]
    assert "the trained ones are carried" in programmed["told"][0]
    assert "it has drifted" in programmed["told"][1]
    assert [one["name"] for one in found] == NAMES
    for one in found:
        assert one["error"] < 1e-5
        assert all(any(word in line for word in DRAWN_ANEW) for line in one["lost"])
