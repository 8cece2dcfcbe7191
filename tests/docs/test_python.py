"""docs/python.md: its blocks run, and every cell of its tables holds: `refused` raises, anything
else works. What works equals torch to the digit, or to the bit, in tests/torch_features."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint

from engine.nn import AnalogLinear, convert_to_analog
from engine.optim import AnalogSGD, digital_parameters
from engine.presets import preset
from engine.settings import ROOT
from tests.docs.pages import run_page

PAGE = ROOT / "docs" / "python.md"
ROW = re.compile(r"^\| (?!feature |-)(.+?) \| (.+?) \| (.+?) \|$", re.M)
TILES = {"pulsed": "ecram", "hardware-aware": "standard_hwa"}
# Rows that need several processes.
ELSEWHERE = {
    "`DistributedDataParallel`": "test_distributed_training",
    "`fully_shard`, `DataParallel` over several GPUs": "test_distributed_training",
}


def layer(kind: str) -> AnalogLinear:
    return AnalogLinear(4, 3, tile=preset(TILES[kind]), seed=1)


def backward(module: nn.Module, **of_x: Any) -> Tensor:
    x = torch.linspace(-1, 1, 8, **of_x).view(2, 4).requires_grad_()
    y: Tensor = module(x)
    y.float().square().sum().backward()
    return y


def stepped(kind: str, change: Callable[[nn.Module], Any]) -> None:
    """Something done to the gradients of a layer, then a step."""
    module = layer(kind)
    optimizer = AnalogSGD(module.parameters(), lr=0.1)
    backward(module)
    change(module)
    optimizer.step()


def other_optimizer(kind: str) -> None:
    module = layer(kind)
    optimizer = torch.optim.Adam(module.parameters())
    backward(module)
    optimizer.step()


def weight_of(module: AnalogLinear) -> nn.Parameter:
    return next(
        p for name, p in module.named_parameters() if name.endswith("array.weight")
    )


def scaler(kind: str) -> None:
    module, scale = layer(kind), torch.amp.GradScaler("cpu")
    optimizer = AnalogSGD(module.parameters(), lr=0.1)
    scale.scale(module(torch.ones(2, 4)).sum()).backward()
    scale.step(optimizer)
    scale.update()


def gradient(kind: str, of: Callable[[AnalogLinear, Tensor], Any]) -> None:
    module, x = layer(kind), torch.ones(2, 4, requires_grad=True)
    torch.autograd.grad(module(x).sum(), of(module, x))


def second(kind: str) -> None:
    x = torch.ones(2, 4, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(kind)(x).square().sum(), x, create_graph=True)
    slope.sum().backward()


def checkpointed(kind: str) -> None:
    for reentrant in (False, True):
        module = layer(kind)
        backward(lambda x, m=module, r=reentrant: checkpoint(m, x, use_reentrant=r))


def hooked(kind: str) -> None:
    module = layer(kind)
    module.register_forward_hook(lambda *_: None)
    module.register_full_backward_hook(lambda *_: None)
    backward(module)


def watched(kind: str) -> None:
    with torch.autograd.detect_anomaly():
        backward(layer(kind))
    with torch.inference_mode():
        layer(kind)(torch.ones(2, 4))


def transformed(kind: str) -> None:
    """All of them must raise: the first that does not fails the test."""
    module, x = layer(kind), torch.ones(2, 4)
    attempts: list[Callable[[], Any]] = [
        lambda: torch.func.vmap(module)(x.unsqueeze(1)),
        lambda: torch.func.jvp(module, (x,), (x,)),
        lambda: torch.func.grad(lambda v: module(v).sum())(x),
        lambda: torch.func.jacrev(module)(x),
        lambda: _forward_mode(module, x),
    ]
    _all_raise(attempts)


def _forward_mode(module: nn.Module, x: Tensor) -> None:
    with forward_ad.dual_level():
        module(forward_ad.make_dual(x, x))


def _all_raise(attempts: list[Callable[[], Any]]) -> None:
    for attempt in attempts[:-1]:
        with pytest.raises(REFUSALS):
            attempt()
    attempts[-1]()


def functional(kind: str) -> None:
    module = layer(kind)
    torch.func.functional_call(module, dict(module.state_dict()), (torch.ones(2, 4),))


def loaded(kind: str, **how: Any) -> None:
    module, other = layer(kind), layer(kind)
    other.load_state_dict(copy.deepcopy(module.state_dict()), **how)
    assert torch.equal(backward(module), backward(other))


def copied(kind: str) -> None:
    module = layer(kind)
    assert torch.equal(copy.deepcopy(module).get_weights()[0], module.get_weights()[0])


def pickled(kind: str) -> None:
    module = layer(kind)
    assert torch.equal(backward(pickle.loads(pickle.dumps(module))), backward(module))


def written(kind: str) -> None:
    layer(kind).set_weights(torch.zeros(3, 4), torch.zeros(3))
    with pytest.raises(ValueError):
        layer(kind).set_weights(torch.zeros(4, 3))


def pruned(kind: str) -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    prune.l1_unstructured(net[0], "weight", 0.5)
    module = layer(kind)
    prune.l1_unstructured(weight_home(module), "weight", 0.5)
    _all_raise(
        [lambda: convert_to_analog(net, preset(TILES[kind])), lambda: backward(module)]
    )


def weight_home(module: AnalogLinear) -> nn.Module:
    return next(m for name, m in module.named_modules() if name.endswith("tile.array"))


def compiled(kind: str) -> None:
    module = layer(kind)
    backward(torch.compile(module, backend="eager"))
    AnalogSGD(module.parameters(), lr=0.1).step()
    torch._dynamo.reset()


def exported(kind: str) -> None:
    _all_raise([
        lambda: torch.export.export(layer(kind), (torch.ones(2, 4),)),
        lambda: torch.jit.script(layer(kind)),
        lambda: torch.fx.symbolic_trace(layer(kind)),
    ])  # fmt: skip


def typed(kind: str) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert backward(layer(kind), dtype=dtype).dtype is dtype
        assert backward(layer(kind).to(dtype), dtype=dtype).dtype is dtype
        assert weight_of(layer(kind).to(dtype)).dtype is torch.float32


def default(kind: str) -> None:
    wanted = backward(layer(kind), dtype=torch.float32)
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(1)
        found = backward(layer(kind), dtype=torch.float32)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype is wanted.dtype


def other_inputs(kind: str, *inputs: Tensor) -> None:
    module = layer(kind)
    _all_raise([lambda x=x: module(x) for x in inputs])


def scheduled(kind: str) -> None:
    module = layer(kind)
    optimizer = AnalogSGD(module.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.0)
    optimizer.step()
    scheduler.step()
    before = module.get_weights()[0]
    backward(module)
    optimizer.step()
    # Devices may drift, but learn nothing.
    torch.testing.assert_close(module.get_weights()[0], before, rtol=0, atol=1e-2)


def autocast(kind: str) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert backward(layer(kind)).dtype is torch.float32


def accumulated(kind: str) -> None:
    stepped(kind, backward)


def dropped(kind: str) -> None:
    def drop(module: nn.Module) -> None:
        module.zero_grad()
        assert all(p.grad is None for p in module.parameters())

    stepped(kind, drop)


ones = torch.ones(2, 4)
REFUSALS = (
    RuntimeError,
    TypeError,
    ValueError,
    NotImplementedError,
    torch.fx.proxy.TraceError,
)
ACTIONS: dict[str, Callable[[str], Any]] = {
    "`AnalogSGD`": lambda kind: stepped(kind, lambda module: None),
    "other optimizers of torch": other_optimizer,
    "`zero_grad()` of model or optimizer, `p.grad = None`": dropped,
    "gradient accumulation": accumulated,
    "`weight.grad`": lambda kind: stepped(kind, lambda m: weight_of(m).grad.mul_(0.5).norm()),
    "`clip_grad_norm_`": lambda kind: stepped(kind, lambda m: nn.utils.clip_grad_norm_(m.parameters(), 1)),
    "`clip_grad_value_`": lambda kind: stepped(kind, lambda m: nn.utils.clip_grad_value_(m.parameters(), 1)),
    "`torch.amp.GradScaler`": scaler,
    "`torch.autocast`": autocast,
    "learning rate schedulers": scheduled,
    "hooks on weights": lambda kind: weight_of(layer(kind)).register_hook(lambda g: g),
    "`torch.autograd.grad` for inputs": lambda kind: gradient(kind, lambda m, x: x),
    "`torch.autograd.grad` for weights": lambda kind: gradient(kind, lambda m, x: weight_of(m)),
    "second derivatives": second,
    "`torch.utils.checkpoint`, both ways": checkpointed,
    "hooks on layers": hooked,
    "`detect_anomaly`, `inference_mode`": watched,
    "`vmap`, `jvp`, `torch.func.grad`, `jacrev`, forward mode": transformed,
    "`torch.func.functional_call`": functional,
    "`state_dict`, `load_state_dict`": loaded,
    "`load_state_dict(assign=True)`": lambda kind: loaded(kind, assign=True),
    "`copy.deepcopy`": copied,
    "`pickle`, `torch.save(model)`, other processes": pickled,
    "`set_weights`": written,
    "pruning and parametrizations": pruned,
    "`torch.compile`": compiled,
    "`torch.export`, `torch.jit.script`, `torch.fx`": exported,
    "float16, bfloat16, float64 inputs": typed,
    "`model.half()`, `.bfloat16()`, `.double()`": typed,
    "`torch.set_default_dtype`": default,
    "integers, truth values, complex numbers, float8": lambda kind: other_inputs(
        kind, ones.long(), ones.bool(), ones + 1j, ones.to(torch.float8_e4m3fn)),
    "sparse, nested and traced tensors": lambda kind: other_inputs(
        kind, ones.to_sparse(), torch.nested.nested_tensor([ones, ones], layout=torch.jagged)),
    "devices other than CPU and CUDA": lambda kind: layer(kind).to("meta"),
}  # fmt: skip


def cells() -> list[tuple[str, str, str]]:
    """Feature, kind of tile, and what the page says of them."""
    found = []
    for feature, pulsed, aware in ROW.findall(PAGE.read_text(encoding="utf-8")):
        found.append((feature, "pulsed", pulsed))
        found.append(
            (feature, "hardware-aware", pulsed if aware == "as pulsed" else aware)
        )
    return found


def test_the_blocks_run(aihw: Callable[..., Any], folder: Path) -> None:
    assert run_page("python.md", aihw) == []


def test_every_row_is_tested() -> None:
    assert {feature for feature, _, _ in cells()} == set(ACTIONS) | set(ELSEWHERE)
    assert digital_parameters(layer("pulsed"))


@pytest.mark.parametrize(
    ("feature", "kind", "says"), [c for c in cells() if c[0] in ACTIONS]
)
def test_the_page_is_right(feature: str, kind: str, says: str) -> None:
    if not says.startswith("refused"):
        ACTIONS[feature](kind)
        return
    with pytest.raises(REFUSALS):
        ACTIONS[feature](kind)
