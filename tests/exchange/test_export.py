"""`aihw export`: a run for other programs, other people, and a paper."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

from aihw_cli.compose import compose
from aihw_cli.main import main
from aihw_cli.records.portable import portable
from engine.exchange.bibtex import bibtex
from engine.exchange.latex import escape, interval, table
from engine.exchange.network import torch_state
from engine.experiment.runs import read_config, stored_config
from engine.nn import analog_tiles
from engine.records.network import example, load
from engine.settings import UserError
from tests.cli.conftest import Result
from tests.records.helpers import config, write_run

Call = Callable[..., Result]
WORDS = ("preset=tiki_taka_ecram", "model.hidden=[8]", "run.epochs=1", "dataset.train_samples=30",
         "dataset.test_samples=20")  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of the digits, made once."""
    place = tmp_path_factory.mktemp("trained")
    assert main(["train", *WORDS, f"run.dir={place / 'runs'}"]) == 0
    return place


@pytest.fixture
def run(trained: Path, folder: Path) -> Path:
    """That run in the folder of a test."""
    shutil.copytree(trained / "runs", folder / "runs")
    (found,) = folder.glob("runs/digits/*")
    return found


def plain() -> nn.Module:
    """The network of the run, as anyone would write it in torch."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.Sigmoid(), nn.Linear(8, 10), nn.LogSoftmax(1)
    )


def test_weights_by_torchs_names(call: Call, run: Path) -> None:
    for form, suffix in (("torch", "pt"), ("safetensors", "safetensors")):
        result = call("export", run, "--to", form, "--out", f"net.{suffix}")
        assert result.code == 0, result.err
        again = call("export", run, "--to", form, "--out", f"net.{suffix}")
        assert again.code == 2
        assert "is there already" in again.err
    state = torch.load("net.pt", weights_only=True)
    assert state.keys() == load_file("net.safetensors").keys()
    network = plain()
    network.load_state_dict(state)
    for key, value in torch_state(load(run)).items():
        torch.testing.assert_close(value, state[key], atol=0, rtol=0)
    assert (
        call("eval", "net.pt", *WORDS[1:2], "model=mlp", "inference.repeats=1").code
        == 0
    )


def test_a_network_in_onnx(call: Call, run: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    result = call("export", run, "--to", "onnx", "--out", "net.onnx")
    assert result.code == 0, result.err
    assert "checked with onnxruntime" in result.out
    x = example(read_config(run), 7)
    network = plain()
    network.load_state_dict(torch_state(load(run)))
    (y,) = onnxruntime.InferenceSession("net.onnx").run(None, {"input": x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(
            torch.from_numpy(y), network(x), atol=1e-5, rtol=1e-4
        )


def test_onnx_says_what_it_needs(
    call: Call, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.exchange.network.ONNX_EXTRA", ("no_such_package",))
    result = call("export", run, "--to", "onnx")
    assert result.code == 2
    assert "pip install 'aihw[onnx]'" in result.err


def test_a_recipe_gives_the_same_run(call: Call, run: Path, folder: Path) -> None:
    result = call("export", run, "--to", "recipe", "--out", "again.yaml")
    assert result.code == 0, result.err
    recipe = yaml.safe_load(Path("again.yaml").read_text())
    assert {"preset": "tiki_taka_ecram"} in recipe["defaults"]
    assert str(folder) not in Path("again.yaml").read_text()
    result = call("train", "conf=again.yaml")
    assert result.code == 0, result.err
    assert "finished already" in result.out + result.err
    assert len(list(folder.glob("runs/digits/*"))) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("conf=mnist_lenet_hwa", "tile.modifier.std_dev=0.1"),
        ("conf=mnist_lrtt", "layers={fc1:{algorithm:{rank:4}}}"),
        (
            "model=fcn",
            "device=reram_sb2",
            "tile=standard",
            "optimizer.schedule.name=cosine",
        ),
        ("model=resnet18", "model.arch=vgg11", "dataset=cifar10", "algorithm=agad"),
        ("conf=rasch2024/fig4",),
        ("device=floating_point", "inference=hermes", "loss.reduction=mean"),
    ],
)
def test_recipes_of_all_kinds(words: tuple[str, ...]) -> None:
    config = compose(words).values
    recipe, _ = portable(config)
    assert recipe["defaults"]


def test_files_that_a_recipe_needs_are_named(folder: Path) -> None:
    (folder / "steps.csv").write_text(
        "weight,step_up,step_down\n-1,0.1,0.1\n1,0.1,0.1\n"
    )
    config = stored_config(compose(["device=steps.csv", "run.start=old.pt"]).values)
    recipe, needed = portable(config)
    assert recipe["device"]["model"] == "steps.csv"
    assert any(
        f"{folder / 'steps.csv'}: send the file along" in line for line in needed
    )
    assert any(line.startswith("run.start") for line in needed)


def test_a_recipe_of_an_evaluation(call: Call, run: Path, folder: Path) -> None:
    few = ("dataset.test_samples=20", "inference.repeats=2", "inference.times=[1h]")
    assert call("eval", run, *few).code == 0
    (evaluation,) = run.glob("eval/*")
    result = call("export", evaluation, "--to", "recipe", "--out", "again.yaml")
    assert "task.weights: give it on the command line" in result.err
    recipe = yaml.safe_load(Path("again.yaml").read_text())
    assert recipe["inference"] == {"repeats": 2, "times": ["1h"]}
    assert "weights" not in recipe["task"]
    assert call("train", "conf=again.yaml", f"task.weights={run}").code == 0
    (again,) = folder.glob("runs/digits/*/accuracy.csv")
    assert again.read_text() == (evaluation / "accuracy.csv").read_text()


def test_a_network_whose_state_outlives_a_batch(call: Call, folder: Path) -> None:
    (folder / "story.txt").write_text("a cell remembers what it was given.\n" * 20)
    words = ("conf=char_lstm", "dataset.path=story.txt", "dataset.batch_size=4",
             "dataset.sequence_length=20", "model.hidden=8", "run.epochs=1")  # fmt: skip
    assert call("train", *words).code == 0
    (place,) = folder.glob("runs/char_lstm/*")
    assert call("export", place, "--to", "torch", "--out", "net.pt").code == 0
    assert {"scores.weight", "scores.bias"} <= set(
        torch.load("net.pt", weights_only=True)
    )
    assert call("eval", place, "inference.repeats=1", "inference.times=[1s]").code == 0
    result = call("export", place, "--to", "onnx")
    assert result.code == 2
    assert "outlives a batch" in result.err


def test_code_of_a_strangers_run_takes_permission(
    call: Call, run: Path, folder: Path
) -> None:
    (folder / "evil.py").write_text(
        "open('ran', 'w').close()\nraise ImportError('evil')\n"
    )
    settings = read_config(run)
    settings["device"]["model"] = "evil.py:Evil"
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    for form in ("torch", "safetensors", "onnx", "aihwkit", "recipe"):
        result = call("export", run, "--to", form)
        assert result.code == 2
        assert "add --allow-code" in result.err
    with pytest.raises(UserError, match="code_permission"):
        load(run)
    assert not (folder / "ran").exists()


def test_texts_of_a_record_stay_texts(call: Call, run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    record |= {
        "commit": "1\nrun: {epochs: 99}",
        "citations": ["A. Evil 2020, \\input{x}}\n}@"],
    }
    (run / "run.json").write_text(json.dumps(record))
    assert "epochs: 99" not in str(
        yaml.safe_load(call("export", run, "--to", "recipe").out)
    )
    text = call("export", run, "--to", "bibtex").out
    assert text.count("@misc") == 1
    assert "\\input" not in text


def test_the_papers_of_a_run(call: Call, run: Path) -> None:
    result = call("export", run, "--to", "bibtex")
    assert "@article{gokmen2020," in result.out  # Tiki-Taka, from beside its recipes
    assert "10.1109/iedm.2018.8614551" in result.out  # the cells, from their citation


def test_what_is_said_is_all_that_is_said() -> None:
    text = bibtex(
        [
            "Kim et al., IEDM 2019, doi:10.1109/IEDM19573.2019.8993463",
            "Kim et al., IEDM 2019, doi:10.1109/IEDM19573.2019.8993463; as fitted",
            "Krizhevsky, Learning Multiple Layers of Features, Toronto (2009)",
            "none: a round number",
        ]
    )
    assert text.count("@misc") == 2
    assert "author = {Kim and others}" in text
    assert "journal" not in text
    assert "% none: a round number" in text


def test_a_table_of_means(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIHW_CACHE", str(folder / "cache"))
    for lr in (0.1, 0.01):
        for seed in (1, 2, 3):
            write_run(folder / "runs", config(lr, seed), number=int(100 * lr))
    result = call("export", "runs", "--to", "latex")
    assert result.code == 0, result.err
    # 94.0 and 0.2 either way: 4.3 standard errors of three runs.
    assert r"0.1 & $94.00 \pm 0.50$ & 3 \\" in result.out
    assert r"\toprule" in result.out
    assert "test\\_accuracy (\\%)" in result.out
    assert call("export", "runs", "--to", "torch").code == 2


def test_intervals_to_two_digits() -> None:
    assert (
        interval({"mean": 0.91234, "half": 0.00123}, percent=True)
        == r"$91.23 \pm 0.12$"
    )
    assert interval({"mean": 3.14159, "half": math.nan}) == "$3.142$"
    assert interval({"mean": math.nan, "half": math.nan}) == "--"
    assert escape("a_b & 5%") == r"a\_b \& 5\%"
    rows = [{"device": "ecram", "lr": 0.01, "mean": 1.0, "half": 0.1, "count": 3}]
    assert "  ecram & 0.01 & " in table(rows, "test_loss", comment="two\nlines")


def test_a_run_in_three_lines(run: Path) -> None:
    model = load(run)
    tiles = list(analog_tiles(model))
    assert [tuple(tile.tile.weight.shape) for tile in tiles] == [(8, 64), (10, 8)]
    assert tiles[0].tile.array.parameter("max_bound").shape == (8, 64)
    assert model(example(read_config(run), 2)).shape == (2, 10)


def test_what_cannot_be_exported_is_said(call: Call, run: Path) -> None:
    assert "--to must be one of torch" in call("export", run).err
    assert call("export", run, "--to", "onxx").code == 2
    assert call("export", run, "--to", "torch", "--metric", "x").code == 2
    assert call("export", "nowhere", "--to", "torch").code == 2
    with pytest.raises(UserError, match="no run folder"):
        load("nowhere")
