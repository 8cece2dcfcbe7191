"""AnalogSGD is one of torch's optimizers: hooks, closures, profiles and schedulers meet each step
once."""

from __future__ import annotations

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from engine.nn import AnalogLinear
from engine.optim import AnalogSGD
from tests.nn.layers import PERFECT, spec


def parts() -> tuple[AnalogLinear, AnalogSGD]:
    layer = AnalogLinear(3, 2, tile=spec(PERFECT), seed=1)
    return layer, AnalogSGD(layer.parameters(), lr=0.1)


def test_hooks_are_called_once_a_step() -> None:
    _, optimizer = parts()
    seen: list[str] = []
    before = optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    after = optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    everywhere = register_optimizer_step_post_hook(lambda *_: seen.append("everywhere"))
    optimizer.step()
    assert seen == ["before", "after", "everywhere"]
    for hook in (before, after, everywhere):
        hook.remove()
    optimizer.step()
    assert len(seen) == 3


def test_a_profile_names_the_steps() -> None:
    _, optimizer = parts()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU]
    ) as found:
        optimizer.step()
    assert [
        event.count
        for event in found.key_averages()
        if event.key == "Optimizer.step#AnalogSGD.step"
    ] == [1]


def test_a_closure_is_called_with_gradients() -> None:
    layer, optimizer = parts()
    before = layer.get_weights()[0]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = layer(torch.ones(1, 3)).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) is not None
    assert not torch.equal(layer.get_weights()[0], before)


def test_a_scheduler_changes_the_rate_of_the_tiles() -> None:
    layer, optimizer = parts()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.0)
    optimizer.step()
    scheduler.step()
    before = layer.get_weights()[0]
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert torch.equal(layer.get_weights()[0], before)
