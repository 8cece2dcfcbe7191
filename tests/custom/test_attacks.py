"""What a stranger's recipe, run folder or file may not do: bring code along as a network, a dataset, a
transform or weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.experiment.custom.arguments import arguments_of
from engine.settings import UserError
from engine.trust.code import code_in, code_permission
from engine.trust.load import load_code
from tests.cli.conftest import Result, write

Aihw = Callable[..., Result]
EVIL = """from pathlib import Path
Path(__file__).with_name("ran").touch()
import torch


class Net(torch.nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        self.fc = torch.nn.Linear(64, num_classes)

    def forward(self, x):
        return self.fc(x.flatten(1))


def data(train: bool):
    return torch.utils.data.TensorDataset(torch.rand(20, 1, 8, 8), torch.arange(20) % 2)
"""
SMALL = (
    "run.epochs=1",
    "dataset.train_samples=20",
    "dataset.test_samples=20",
    "algorithm=digital",
)
RECIPES = {
    "network": "model: {name: 'evil.py:Net'}",
    "network without a name": "model: {name: evil.py}",
    "network as a word": "model: evil.py:Net",
    "network of a module": "model: {name: 'evil:Net'}",
    "function of a module": "model: {name: 'os:system', command: 'touch ran'}",
    "network in a list": "model: {name: ['evil.py:Net']}",
    "network by interpolation": "claim: 'evil.py:Net'\nmodel: {name: '${claim}'}",
    "dataset": "dataset: {name: 'evil.py:data'}",
    "dataset as a word": "dataset: evil.py:data",
    "dataset of a module": "dataset: {name: 'evil:data'}",
    "member": "defaults: [{model: nice}]",
    "member of a dataset": "defaults: [{dataset: nice}]",
    "transform": "dataset: {augment: [{name: 'evil.py:Net'}]}",
    "transform of a module": "dataset: {augment: [{name: 'evil:Net'}]}",
    "transform that calls": "dataset: {augment: [{name: Lambda, lambd: 'evil:Net'}]}",
    "transform by target": "dataset: {augment: [{_target_: 'evil.Net'}]}",
    "transform with attributes": "dataset: {augment: [{name: 'functional.os.system'}]}",
    "value of a transform": "dataset: {transforms: [{name: Resize, size: {_target_: 'evil.Net'}}]}",
    "logger": "run: {log: ['evil']}",
    "optimizer": "optimizer: {name: 'evil:Net'}",
}
PRIVATE = "model: {name: 'evil.py:Net'}\nname: 'x'"


@pytest.fixture
def ran(folder: Path) -> Path:
    """A folder with code, members that name it, and the file that appears when it runs."""
    write(folder / "evil.py", EVIL)
    write(folder / "conf/model/nice.yaml", "about: nice\nname: 'evil.py:Net'\n")
    write(folder / "conf/dataset/nice.yaml", "about: nice\nname: 'evil.py:data'\n")
    # Modules that a stranger would like to be imported in place of ours.
    for name in ("torchvision.py", "wandb.py", "scipy.py"):
        write(folder / name, EVIL)
    return folder / "ran"


@pytest.mark.parametrize("text", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("verb", ["train", "validate", "show", "search"])
def test_a_recipe_brings_no_code(aihw: Aihw, ran: Path, text: str, verb: str) -> None:
    path = str(write(ran.parent / "r.yaml", f"{text}\n"))
    words = {
        "train": ["train", f"conf={path}", *SMALL],
        "validate": ["validate", path, "--as", "recipe"],
        "show": ["show", "--model", path],
        "search": [
            "search",
            f"conf={path}",
            "optimizer.lr=interval(0.1,0.2)",
            "--trials",
            "1",
        ],
    }[verb]
    done = aihw(*words)
    shows_no_data = verb == "show" and text.startswith(
        ("dataset: {augment", "run", "optimizer")
    )
    assert not ran.exists() and "Traceback" not in done.err
    assert done.code == 2 or shows_no_data, done.out


def test_with_permission_the_same_recipes_run(aihw: Aihw, ran: Path) -> None:
    for text in (
        "network",
        "network as a word",
        "network of a module",
        "member",
        "dataset",
    ):
        ran.unlink(missing_ok=True)
        path = write(ran.parent / "r.yaml", f"{RECIPES[text]}\n")
        done = aihw(
            "train", f"conf={path}", *SMALL[0:1], "algorithm=digital", "--allow-code"
        )
        assert (done.code == 0 and ran.exists()) or text == "network of a module", (
            text,
            done.err,
        )


def test_a_run_folder_and_its_manifest_bring_no_code(aihw: Aihw, ran: Path) -> None:
    words = ("model=evil.py:Net", *SMALL)
    run = Path(
        json.loads(aihw("train", *words, "--allow-code", "--json").out)["folder"]
    )
    assert aihw("train", "-m", *words, "optimizer.lr=0.1,0.2", "--allow-code").code == 0
    sweep = next(Path("runs/digits").glob("sweep-*"))
    record = json.loads((run / "run.json").read_text())
    write(run / "run.json", json.dumps({**record, "status": "interrupted"}))
    (run / "summary.json").unlink()
    ran.unlink()
    for command in (
        ("resume", str(run)),
        ("resume", str(sweep)),
        ("eval", str(run), "inference.times=[1s]"),
        ("train", f"run.start={run}", *SMALL),
        ("train", f"conf={run}/config.yaml"),
        ("export", str(run), "--to", "onnx", "--out", "x.onnx"),
        ("runs", "show", str(run)),
        ("runs",),
    ):
        done = aihw(*command)
        assert not ran.exists(), command
        assert "Traceback" not in done.err and (
            done.code != 0 or command[0] == "runs"
        ), command


class Bomb:
    """Unpickling it makes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.th", "w.bin", "w.safetensors"])
def test_weights_bring_no_code(aihw: Aihw, ran: Path, name: str) -> None:
    torch.save({"1.weight": torch.zeros(64, 64), "bomb": Bomb()}, name)
    for words in (
        ("train", f"model.weights={name}", *SMALL),
        ("train", f"run.start={name}", *SMALL),
        ("eval", name, "model=mlp", "dataset=digits"),
    ):
        done = aihw(*words)
        assert done.code == 2 and not ran.exists() and "Traceback" not in done.err, (
            done.err
        )


def test_arrays_bring_no_code(aihw: Aihw, ran: Path) -> None:
    np.savez("a.npz", x=np.array([Bomb(), Bomb()], dtype=object), y=np.arange(2))
    done = aihw("train", "dataset=npz", "dataset.path=a.npz", *SMALL[3:])
    assert (
        done.code == 2
        and not ran.exists()
        and "not a file of plain NumPy arrays" in done.err
    )


def test_a_module_beside_a_file_does_not_take_the_place_of_an_installed_one(
    aihw: Aihw, folder: Path
) -> None:
    write(folder / "torch.py", "raise RuntimeError('a stranger')\n")
    write(
        folder / "net.py",
        EVIL.partition("import torch\n")[2].join(["import torch\n", ""]),
    )
    done = aihw("train", "model=net.py:Net", *SMALL, "--allow-code")
    assert done.code == 2 and "net.py imports torch, which is " in done.err
    assert "a stranger" not in done.err


def test_the_gate_itself(ran: Path) -> None:
    nested = {
        "model": {"name": "a.py:X"},
        "dataset": {"name": "b:Y"},
        "layers": {"l": {"device": {"model": "c.py"}}},
    }
    assert dict(code_in(nested)) == {
        "model.name": "a.py:X",
        "dataset.name": "b:Y",
        "layers.l.device.model": "c.py",
    }
    assert not dict(code_in({"name": "runs.py", "optimizer": {"name": "adam"}}))
    with code_permission(False), pytest.raises(UserError, match="--allow-code"):
        load_code("evil.py:Net", "network")
    with code_permission(False), pytest.raises(UserError, match="--allow-code"):
        load_code("evil:Net", "network")
    assert not ran.exists()


def test_what_is_no_plain_value_cannot_be_set() -> None:
    def make(
        act: Any = torch.nn.ReLU, size: int = 1, *rest: int, **more: int
    ) -> None: ...

    assert list(arguments_of(make)) == ["size"]
