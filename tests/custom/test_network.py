"""`model=my.py:Net`: a network of the user's in training, evaluation, sweeps, search and resume."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.experiment.runs import read_config
from tests.cli.conftest import Result, write

Aihw = Callable[..., Result]
SMALL = (
    "run.epochs=1",
    "dataset.train_samples=40",
    "dataset.test_samples=20",
    "algorithm=digital",
    "--allow-code",
)
VIT = "model=nets.py:TinyViT"


def run_of(result: Result) -> Path:
    """The folder of a run that was reported as JSON."""
    assert result.code == 0, result.err
    return Path(json.loads(result.out)["folder"])


def test_it_trains_is_shown_evaluated_exported_and_trained_further(
    aihw: Aihw, networks: Path
) -> None:
    shown = aihw(
        "show", "--model", "nets.py:TinyViT", "model.width=6", "--allow-code", "--json"
    )
    layers = {row["layer"]: row for row in json.loads(shown.out)["layers"]}
    assert (
        layers["patches"]["kind"] == "AnalogConv2d" and "blocks.0.attention" in layers
    )
    run = run_of(aihw("train", VIT, "model.width=6", *SMALL, "--json"))
    config = read_config(run)["model"]
    assert config["name"] == f"{networks}:TinyViT" and config["width"] == 6
    assert config["num_classes"] is None and config["scales"] == [1.0, 2.0]
    assert "norm" not in config, "a class cannot stand in YAML"
    refused = aihw("eval", str(run), "inference.times=[1s]", "inference.repeats=1")
    assert refused.code == 2 and "--allow-code" in refused.err
    done = aihw(
        "eval", str(run), "inference.times=[1s]", "inference.repeats=1", "--allow-code"
    )
    assert done.code == 0, done.err
    assert (
        aihw("export", str(run), "--to", "torch", "--out", "w.pt", "--allow-code").code
        == 0
    )
    names = torch.load("w.pt", weights_only=True)
    assert "head.weight" in names and "blocks.0.mlp.0.weight" in names
    words = (
        "model.width=6",
        "inference.times=[1s]",
        "inference.repeats=1",
        "--allow-code",
    )
    assert aihw("eval", "w.pt", VIT, "dataset=digits", *words).code == 0
    further = aihw(
        "train", VIT, "model.width=6", "model.weights=w.pt", *SMALL, "--json"
    )
    assert run_of(further) != run


def test_layers_of_it_may_stay_digital(aihw: Aihw, networks: Path) -> None:
    rule = "layers={blocks.*:{algorithm:digital}}"
    done = aihw("show", "--model", "nets.py:TinyViT", rule, "--allow-code", "--json")
    found = json.loads(done.out)["layers"]
    assert [row["layer"] for row in found if row["tiles"]] == ["patches", "head"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((VIT, "model.widht=8"), "unknown key model.widht; nearest: model.width"),
        ((VIT, "model.width=a"), "model.width must be a number, not 'a'"),
        ((VIT, "model.act=tanh"), "model.act must be one of gelu, relu"),
        ((VIT, "model.scales=[a]"), "model.scales[0] must be a number"),
        ((VIT, "model.hidden=0.5"), "model.hidden must be a whole number, not 0.5"),
        ((VIT, "model.norm=x"), "unknown key model.norm"),
        (("model=nets.py:Needs",), "model nets.py:Needs needs model.width (int)"),
        (
            ("model=nets.py:Needs", "model.width=63"),
            "nets.py line 53 in forward: RuntimeError: mat1 and mat2 shapes cannot be multiplied",
        ),
        (
            ("model=nets.py:Needs", "model.width=64", "model.classes=7"),
            "returns 2 x 7 for 2 samples of 1 x 8 x 8; the loss nll wants 2 x 10",
        ),
        (("model=nets.py:Pair", "model.width=64"), "returns a tuple, not a tensor"),
        (
            ("model=nets.py:Broken",),
            "nets.py line 59 in __init__: NameError: name 'widht' is not defined",
        ),
        (("model=nets.py:number",), "gives int, not a network (torch.nn.Module)"),
        (
            ("model=nets.py:TinyVit",),
            "has no network 'TinyVit'; it has Broken, Later, Needs, ",
        ),
        (("model=nets.py",), "name one of its networks as nets.py:NAME; it has Broken"),
        (("model=nest.py:TinyViT",), "no network file"),
        (("model=nets:TinyVit",), "has no network 'TinyVit'"),
        (
            ("model=no.such.module:Net",),
            "there is no module no.such.module with a network",
        ),
        (
            (VIT, "layers={haed:{algorithm:digital}}"),
            "has no layer 'haed'; nearest: head",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line_before_the_data_are_read(
    aihw: Aihw,
    networks: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    line: str,
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the data were read")

    monkeypatch.setattr("engine.experiment.loop.load_data", never)
    done = aihw("train", *words, *SMALL)
    assert done.code == 2 and line in done.err and len(done.err.splitlines()) == 1, (
        done.err
    )
    assert not Path("runs").exists()


def test_a_file_that_cannot_be_read_as_python(aihw: Aihw, folder: Path) -> None:
    write(folder / "bad.py", "import torch\nclass Net(\n")
    done = aihw("train", "model=bad.py:Net", *SMALL)
    assert done.code == 2 and "bad.py line 2: SyntaxError" in done.err
    write(folder / "worse.py", "import nothing_like_this\n")
    done = aihw("train", "model=worse.py:Net", *SMALL)
    assert (
        "worse.py line 1: ModuleNotFoundError: No module named 'nothing_like_this'"
        in done.err
    )


def test_an_error_in_training_is_a_line_with_its_traceback_in_the_log(
    aihw: Aihw, networks: Path
) -> None:
    done = aihw("train", "model=nets.py:Later", *SMALL)
    assert done.code == 2 and len(done.err.splitlines()) == 1
    assert "nets.py line 72 in forward: RuntimeError: too many calls" in done.err
    log = next(Path("runs").glob("*/*/log.txt")).read_text()
    assert "Traceback" in log and "and a second line" in log
    again = aihw("train", "model=nets.py:Broken", *SMALL, "--debug")
    assert "Traceback" in again.err and again.err.splitlines()[-1].startswith(
        "error: model nets"
    )


def test_the_text_of_its_files_decides_the_run(
    aihw: Aihw, networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_of(aihw("train", VIT, *SMALL, "--json"))
    networks.write_text("# A comment more.\n" + networks.read_text())
    assert run_of(aihw("train", VIT, *SMALL, "--json")) == first
    blocks = networks.with_name("blocks.py")
    blocks.write_text(blocks.read_text().replace("nn.GELU()", "nn.ReLU()"))
    monkeypatch.delitem(sys.modules, "blocks")
    networks.write_text(
        "# Yet another one, so that it is read again.\n" + networks.read_text()
    )
    assert run_of(aihw("train", VIT, *SMALL, "--json")) != first
    record = json.loads((first / "run.json").read_text())
    write(first / "run.json", json.dumps({**record, "status": "interrupted"}))
    (first / "summary.json").unlink()
    refused = aihw("resume", str(first), "--allow-code")
    assert refused.code == 2
    assert (
        "the Python file of its network or dataset changed since it began"
        in refused.err
    )


def test_an_interrupted_run_goes_on_with_the_same_bits(
    aihw: Aihw, networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (VIT, "run.epochs=2", "preset=idealized", "optimizer.lr=0.1", *SMALL[1:3])
    whole = run_of(aihw("train", *words, "--allow-code", "--json"))
    expected = (whole / "metrics.csv").read_text().splitlines()
    from engine.experiment import train as module

    write_metrics = module.RunFolder.write_metrics

    def stop(self: object, rows: list[object]) -> None:
        write_metrics(self, rows)  # type: ignore[arg-type]
        if len(rows) == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.RunFolder, "write_metrics", stop)
        stopped = aihw("train", *words, "--allow-code", "--again")
    assert stopped.code == 130 and "--allow-code" in stopped.err
    run = next(path for path in Path("runs/digits").glob("*-2"))
    assert aihw("resume", str(run)).code == 2
    assert aihw("resume", str(run), "--allow-code").code == 0
    found = (run / "metrics.csv").read_text().splitlines()
    assert [line.rpartition(",")[0] for line in found] == [
        line.rpartition(",")[0] for line in expected
    ]


def test_a_recipe_names_it_with_its_settings(
    aihw: Aihw, networks: Path, folder: Path
) -> None:
    write(
        folder / "r.yaml",
        "model: {name: 'nets.py:TinyViT', width: 4}\nrun: {epochs: 1}\n",
    )
    refused = aihw("validate", "r.yaml")
    assert (
        refused.code == 2 and "model.name=nets.py:TinyViT runs the code" in refused.err
    )
    done = aihw("validate", "r.yaml", "--allow-code", "--json")
    model = json.loads(done.out)["model"]
    assert model["width"] == 4 and "activation" not in model, "that is one of mlp"
    write(folder / "f.yaml", "model: {name: fcn}\nrun: {epochs: 1}\n")
    assert aihw("validate", "f.yaml").code == 0
    named = aihw("train", "model.hidden=0.5", "model.name=nets.py:TinyViT", *SMALL)
    assert "model.hidden must be a whole number" in named.err


def test_a_sweep_over_networks_finds_the_bad_one_first(
    aihw: Aihw, networks: Path
) -> None:
    bad = aihw("train", "-m", f"{VIT},nets.py:Broken", *SMALL)
    assert bad.code == 2 and "NameError" in bad.err and "nets.py:Broken" in bad.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("arch", ["vgg11", "vit_b_16"])
def test_torchvision_takes_the_classes_and_sizes_of_the_data(
    aihw: Aihw, folder: Path, arch: str
) -> None:
    done = aihw("train", "model.name=torchvision", f"model.arch={arch}", *SMALL)
    assert done.code == 2 and len(done.err.splitlines()) == 1
    assert f"model.arch: {arch} does not take images of 8 x 8" in done.err


def test_weights_that_do_not_fit_are_named(aihw: Aihw, networks: Path) -> None:
    state = {"fc.weight": torch.zeros(3, 64), "fc.biass": torch.zeros(10)}
    torch.save(state, "w.th")
    words = ("model=nets.py:Needs", "model.width=64", "model.weights=w.th", *SMALL)
    done = aihw("train", *words)
    assert done.code == 2
    for part in (
        "missing: fc.bias",
        "unexpected: fc.biass",
        "3x64 instead of 10x64",
    ):
        assert part in done.err
    both = aihw("train", *words, "run.start=w.th")
    assert both.code == 2 and "give one of them" in both.err
    assert (
        "it takes a file of tensors" in aihw("train", *words, "model.weights=runs").err
    )


def test_weights_of_a_built_in_network(aihw: Aihw, folder: Path) -> None:
    state = {"1.weight": torch.randn(64, 64), "1.bias": torch.zeros(64)}
    torch.save(
        {**state, "3.weight": torch.zeros(10, 64), "3.bias": torch.ones(10)}, "w.pt"
    )
    run = run_of(
        aihw("train", "model.weights=w.pt", "optimizer.lr=0.0", *SMALL, "--json")
    )
    assert read_config(run)["model"]["weights"] == str(folder / "w.pt")
    assert aihw("export", str(run), "--to", "torch", "--out", "out.pt").code == 0
    found = torch.load("out.pt", weights_only=True)
    torch.testing.assert_close(found["1.weight"], state["1.weight"])


def test_devices_and_noise_models_come_from_modules_as_well(
    aihw: Aihw, folder: Path
) -> None:
    write(
        folder / "my_cells.py",
        "from engine.devices import Device, base_params\n"
        "Cell = Device(name='cell', about='Equal steps.', formula='w', params=base_params(),\n"
        "              step='w += up ? c.dwmin_up : -c.dwmin_down;')\n",
    )
    words = ("device=my_cells:Cell", "run.epochs=1", "dataset.train_samples=20")
    assert aihw("train", *words).code == 2
    done = aihw("train", *words, "--allow-code", "--json")
    assert read_config(run_of(done))["device"]["model"] == "my_cells:Cell"
