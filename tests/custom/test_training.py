"""Training as people are used to: any optimizer beside pulses, warm-up, clipping, accumulation,
smoothing, early stopping, best checkpoints, loggers; all of it resumed to the bit."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from aihw_cli.compose import compose
from engine.experiment.lifecycle.stopping import epochs_without_gain, is_best, stops
from engine.experiment.loop import Loop
from engine.experiment.losses import make_loss
from engine.nn import AnalogLinear, convert_to_analog
from engine.optim import (
    AnalogOptimizer,
    AnalogSGD,
    digital_parameters,
    pulsed_parameters,
)
from engine.presets import preset
from engine.settings import UserError
from tests.cli.conftest import Result

Aihw = Callable[..., Result]
SMALL = [
    "dataset.train_samples=48",
    "dataset.test_samples=20",
    "dataset.batch_size=8",
    "run.epochs=2",
]


def net(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    digital = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3))
    return convert_to_analog(digital, preset("idealized"), layers={"2": None})


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    model(x).square().sum().backward()
    optimizer.step()


def test_an_optimizer_of_torch_beside_pulses() -> None:
    model, twin = net(), net()
    optimizer = AnalogOptimizer(torch.optim.SGD, model.parameters(), lr=0.1)
    plain = AnalogSGD(twin.parameters(), lr=0.1)
    for seed in range(3):
        train_step(model, optimizer, seed)
        train_step(twin, plain, seed)
    for found, wanted in zip(
        model.state_dict().values(), twin.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(found, wanted)
    assert torch.equal(model[0].get_weights()[0], twin[0].get_weights()[0])


def test_groups_state_and_schedulers_reach_both() -> None:
    model = net()
    groups = [
        {"params": digital_parameters(model)},
        {"params": pulsed_parameters(model), "lr": 0.0},
    ]
    optimizer = AnalogOptimizer(torch.optim.AdamW, groups, lr=0.01, weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.0)
    before = (
        [p.detach().clone() for p in digital_parameters(model)],
        model[0].get_weights()[0],
    )
    train_step(model, optimizer, 0)
    assert torch.equal(model[0].get_weights()[0], before[1]), "tiles at lr 0"
    moved = [p.detach().clone() for p in digital_parameters(model)]
    assert not any(torch.equal(a, b) for a, b in zip(moved, before[0], strict=True))
    scheduler.step()
    train_step(model, optimizer, 1)
    assert all(
        torch.equal(a, b) for a, b in zip(moved, digital_parameters(model), strict=True)
    )
    other = AnalogOptimizer(torch.optim.AdamW, groups, lr=0.01, weight_decay=0.1)
    other.load_state_dict(optimizer.state_dict())
    first = digital_parameters(model)[0]
    assert other.state[first]["step"] == optimizer.state[first]["step"] == 2
    for group in other.param_groups:
        group["lr"] = 0.01
    train_step(model, other, 2)
    assert other.state[first]["step"] == 3
    with pytest.raises(TypeError, match="unexpected keyword argument 'momentun'"):
        AnalogOptimizer(torch.optim.SGD, model.parameters(), lr=0.1, momentun=0.9)


def test_a_network_of_tiles_alone() -> None:
    layer = AnalogLinear(4, 3, bias=False, tile=preset("idealized"))
    optimizer = AnalogOptimizer(torch.optim.Adam, layer.parameters(), lr=0.1)
    before = layer.get_weights()[0]
    train_step(layer, optimizer, 0)
    assert not torch.equal(layer.get_weights()[0], before)


def config_of(*words: str) -> dict[str, Any]:
    return compose([*SMALL, *words]).values


def trained(loop: Loop, epochs: int = 2) -> Loop:
    while loop.place.epoch < epochs:
        for _ in loop.steps():
            pass
        loop.end_epoch(0.0)
    return loop


EVERYTHING = {
    "adam": ["optimizer=adam"],
    "adamw": [
        "optimizer=adamw", "optimizer.tile_lr=0.05", "model=lenet",
        "dataset.transforms=[{name: Resize, size: [16, 16]}]",
    ],
    "sgd": ["optimizer=sgd", "optimizer.momentum=0.9"],
    "rates": ["optimizer.tile_lr=0.2", "optimizer.warmup=7", "optimizer.schedule.name=cosine"],
    "clipping": ["optimizer.clip_grad_norm=0.1", "optimizer=adamw", "preset=hwa_add_normal"],
    "accumulation": ["optimizer.accumulate=3", "optimizer.warmup=3", "loss.reduction=mean"],
    "bfloat16": ["run.dtype=bfloat16", "layers={fc2:{algorithm:digital}}", "optimizer=adam"],
    "smoothing": ["loss.label_smoothing=0.1", "dataset.augment=[RandomInvert]", "optimizer.accumulate=2"],
}  # fmt: skip


@pytest.mark.parametrize("words", EVERYTHING.values(), ids=EVERYTHING)
def test_it_resumes_to_the_bit(words: Sequence[str]) -> None:
    config = config_of(*words)
    whole = trained(Loop(config))
    part = Loop(config)
    steps = part.steps()
    next(steps)
    next(steps)
    again = Loop(config)
    again.load(
        {key: value.clone() for key, value in part.tensors().items()}, part.state()
    )
    trained(again)
    for key, value in whole.tensors().items():
        assert torch.equal(value, again.tensors()[key]), key
    for found, wanted in zip(again.place.rows, whole.place.rows, strict=True):
        assert found == wanted


def test_warm_up_and_schedule_give_the_rates_of_both_groups() -> None:
    loop = Loop(
        config_of("optimizer.lr=0.4", "optimizer.tile_lr=0.2", "optimizer.warmup=4")
    )
    rates = []
    for _ in loop.steps():
        rates.append([round(group["lr"], 9) for group in loop.optimizer.param_groups])
    assert rates == [[0.1, 0.05], [0.2, 0.1], [0.3, 0.15], *[[0.4, 0.2]] * 3]


def test_accumulation_is_a_larger_batch() -> None:
    few = config_of("algorithm=digital", "optimizer.accumulate=3", "optimizer=sgd")
    many = config_of("algorithm=digital", "dataset.batch_size=24", "optimizer=sgd")
    for reduction in ("sum", "mean"):
        found, wanted = (
            trained(Loop({**c, "loss": {**c["loss"], "reduction": reduction}}))
            for c in (few, many)
        )
        assert found.place.steps == wanted.place.steps == 4
        torch.testing.assert_close(found.model.state_dict(), wanted.model.state_dict())
        torch.testing.assert_close(
            found.place.rows[1]["train_loss"], wanted.place.rows[1]["train_loss"]
        )


def test_clipping_bounds_the_norm_of_digital_gradients() -> None:
    loop = Loop(config_of("algorithm=digital", "optimizer.clip_grad_norm=0.01"))
    next(loop.steps())
    norm = torch.stack([p.grad.norm() for p in loop.parameters]).norm()  # type: ignore[union-attr]
    assert norm == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_label_smoothing_is_that_of_torch(reduction: str) -> None:
    x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 1])
    settings = {"reduction": reduction, "label_smoothing": 0.2}
    wanted = functional.cross_entropy(x, y, reduction=reduction, label_smoothing=0.2)
    torch.testing.assert_close(
        make_loss({"name": "cross_entropy", **settings})(x, y), wanted
    )
    found = make_loss({"name": "nll", **settings})(x.log_softmax(1), y)
    torch.testing.assert_close(found, wanted)
    target = 0.8 * functional.one_hot(y, 4) + 0.05
    squares = (x - target).square()
    # The spread of the labels itself adds a constant, which has no gradient.
    z = x.clone().requires_grad_()
    make_loss({"name": "mse", **settings})(z, y).backward()
    total = squares.requires_grad_(False)
    scale = 2 / total.numel() if reduction == "mean" else 2
    torch.testing.assert_close(z.grad, scale * (x - target))


def rows(*accuracies: float) -> list[dict[str, float]]:
    return [{"epoch": k, "valid_accuracy": a} for k, a in enumerate(accuracies, 1)]


def test_when_training_stops() -> None:
    assert epochs_without_gain(rows(0.1, 0.3, 0.3, 0.2)) == 2
    assert stops(rows(0.1, 0.3, 0.3, 0.2), 2) and not stops(rows(0.1, 0.3, 0.3, 0.2), 3)
    assert not stops(rows(0.3, 0.2), 0) and not stops([], 1)
    assert is_best(rows(0.1, 0.2)) and not is_best(rows(0.2, 0.2)) and not is_best([])


def test_early_stopping_and_the_best_checkpoint(aihw: Aihw) -> None:
    words = (
        "optimizer.lr=0.0",
        "run.patience=2",
        "run.keep_best=true",
        "dataset.valid_part=0.25",
    )
    refused = aihw("train", *SMALL, *words[:3])
    assert (
        refused.code == 2
        and "set training samples aside for it with dataset.valid_part=0.1"
        in refused.err
    )
    done = aihw("train", *SMALL, "run.epochs=9", *words, "algorithm=digital", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["epochs"] == 3 and found["best_epoch"] == 1
    assert (
        "stopped after epoch 3 of 9: no better valid_accuracy than" in found["notes"][0]
    )
    run = Path(found["folder"])
    assert [path.name[:6] for path in (run / "best").iterdir()] == ["000001"]
    assert max(path.name[:6] for path in (run / "checkpoint").iterdir()) == "000003"
    quick = ("inference.times=[1s]", "inference.repeats=1")
    assert aihw("eval", str(run), "task.checkpoint=best", *quick).code == 0
    assert aihw("train", *SMALL, f"run.start={run}/best", "algorithm=digital").code == 0
    without = json.loads(aihw("train", *SMALL, "algorithm=digital", "--json").out)[
        "folder"
    ]
    missing = aihw("eval", without, "task.checkpoint=best", *quick)
    assert missing.code == 2 and "trained without run.keep_best" in missing.err


def test_lines_of_json(aihw: Aihw) -> None:
    done = aihw("train", *SMALL, "algorithm=digital", "run.log=[jsonl]", "--json")
    run = Path(json.loads(done.out)["folder"])
    lines = [
        json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()
    ]
    with (run / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["test_loss"]) for row in table] == [
        line["test_loss"] for line in lines[:-1]
    ]
    assert lines[-1]["summary"]["status"] == "finished"


def test_a_missing_logger_is_found_before_the_first_point(
    aihw: Aihw, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *a: None if name == "wandb" else find(name, *a),
    )
    for words in (("-m", "optimizer.lr=0.1,0.2"), ()):
        done = aihw("train", *words, *SMALL, "run.log=[wandb]")
        assert done.code == 2 and "pip install 'aihw[wandb]'" in done.err
        assert not Path("runs").exists()


def test_wandb_offline(
    aihw: Aihw, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    pytest.importorskip("wandb", reason="the extra aihw[wandb] is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    done = aihw("train", *SMALL, "algorithm=digital", "run.log=[wandb]", "--json")
    assert done.code == 0, done.err
    run = Path(json.loads(done.out)["folder"])
    assert list(run.glob("wandb/offline-run-*/*.wandb"))
    assert "given up" not in (run / "log.txt").read_text()


def test_settings_of_training_that_mean_nothing(aihw: Aihw) -> None:
    done = aihw("train", *SMALL, "algorithm=digital", "optimizer.tile_lr=0.1")
    assert "optimizer.tile_lr=0.1 has no effect: no layer learns by pulses" in done.err
    with pytest.raises(UserError, match="label_smoothing must be"):
        make_loss({"name": "nll", "label_smoothing": 2.0})


def seen_formats(aihw: Aihw, monkeypatch: pytest.MonkeyPatch, *words: str) -> set[Any]:
    """The formats of the outputs of `nn.Linear` and of tiles in a short run."""
    seen = set()
    for layer in (nn.Linear, AnalogLinear):
        forward = layer.forward

        def noted(self: Any, x: Any, forward: Any = forward, layer: Any = layer) -> Any:
            y = forward(self, x)
            seen.add((layer.__name__, y.dtype))
            return y

        monkeypatch.setattr(layer, "forward", noted)
    done = aihw("train", *SMALL, "layers={fc2:{algorithm:digital}}", *words)
    assert done.code == 0, done.err
    assert ("tiles stay in float32" in done.out) == bool(words)
    return seen


def test_digital_layers_in_bfloat16(
    aihw: Aihw, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        plain = seen_formats(aihw, patch)
    assert plain == {("Linear", torch.float32), ("AnalogLinear", torch.float32)}
    short = seen_formats(aihw, monkeypatch, "run.dtype=bfloat16")
    assert short == {("Linear", torch.bfloat16), ("AnalogLinear", torch.float32)}


def test_bfloat16_is_another_run_and_keeps_its_weights_in_float32(aihw: Aihw) -> None:
    folders = []
    for dtype in ("float32", "bfloat16"):
        words = ("algorithm=digital", f"run.dtype={dtype}", "--json")
        folders.append(Path(json.loads(aihw("train", *SMALL, *words).out)["folder"]))
    assert folders[0] != folders[1]
    without = aihw("train", *SMALL, "algorithm=digital", "--json")
    assert json.loads(without.out)["folder"] == str(folders[0])
    found = max((folders[1] / "checkpoint").iterdir())
    tensors = load_file(next(found.glob("*.safetensors")))
    assert {v.dtype for k, v in tensors.items() if k.startswith("model/")} == {
        torch.float32
    }
