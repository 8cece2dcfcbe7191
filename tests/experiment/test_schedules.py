"""Learning-rate schedules against torch's own schedulers, and losses against their definitions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.optim import SGD, lr_scheduler

from engine.experiment.losses import make_loss
from engine.experiment.schedules import SHAPES, learning_rate
from engine.settings import UserError

EPOCHS = 9
CASES: list[tuple[dict[str, Any], Any]] = [
    ({"name": "constant"}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    ({"name": "step", "step_size": 2, "gamma": 0.5}, lambda o: lr_scheduler.StepLR(o, 2, gamma=0.5)),
    ({"name": "multistep", "milestones": [2, 3, 7], "gamma": 0.3},
     lambda o: lr_scheduler.MultiStepLR(o, [2, 3, 7], gamma=0.3)),
    ({"name": "exponential", "gamma": 0.8}, lambda o: lr_scheduler.ExponentialLR(o, 0.8)),
    ({"name": "cosine", "final": 0.001}, lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS, eta_min=0.001)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("schedule", "theirs"), CASES, ids=[case[0]["name"] for case in CASES]
)
def test_shape_is_torchs(schedule: dict[str, Any], theirs: Any) -> None:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    scheduler = theirs(optimizer)
    for epoch in range(EPOCHS):
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate(
            {"lr": 0.2, "schedule": schedule}, epoch, EPOCHS
        ) == pytest.approx(expected, rel=1e-12)
        optimizer.step()
        scheduler.step()


def test_every_shape_is_compared() -> None:
    assert {case[0]["name"] for case in CASES} == set(SHAPES)


def test_no_schedule_is_constant() -> None:
    assert learning_rate({"lr": 0.3}, 5, 9) == 0.3


def test_unknown_schedule() -> None:
    with pytest.raises(UserError, match="no schedule 'cosin'; there are constant"):
        learning_rate({"lr": 0.3, "schedule": {"name": "cosin"}}, 0, 9)


@pytest.mark.parametrize(("reduction", "share"), [("sum", 1.0), ("mean", 1 / 4)])
def test_losses_by_hand(reduction: str, share: float) -> None:
    output = torch.tensor([[1.0, 2.0, 0.0]] * 4)
    label = torch.tensor([0, 1, 2, 1])
    log_sum = math.log(sum(math.exp(value) for value in (1.0, 2.0, 0.0)))
    expected = sum(log_sum - (1.0, 2.0, 0.0)[int(n)] for n in label)
    cross = make_loss({"name": "cross_entropy", "reduction": reduction})(output, label)
    assert cross.item() == pytest.approx(expected * share, rel=1e-5)
    nll = make_loss({"name": "nll", "reduction": reduction})(
        output.log_softmax(1), label
    )
    assert nll.item() == pytest.approx(expected * share, rel=1e-5)
    # Squares: (0 4 0), (1 1 0), (1 4 1), (1 1 0); the mean is over samples and classes, as in
    # torch.
    squares = make_loss({"name": "mse", "reduction": reduction})(output, label)
    assert squares.item() == pytest.approx(
        14.0 if reduction == "sum" else 14.0 / 12, rel=1e-6
    )


@pytest.mark.parametrize(
    "settings", [{"name": "nnl"}, {"name": "nll", "reduction": "none"}]
)
def test_unknown_loss(settings: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"loss\."):
        make_loss(settings)
