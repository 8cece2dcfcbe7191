"""Layers that learn by gradients through analog products: gradients, what a mini-batch shares, what
a step does."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.nn import AnalogConv2d, AnalogLinear, AnalogTile, analog_tiles, set_exact
from engine.optim import make_optimizer, settle_after_steps
from engine.tile.settings import TileSpec

OUT, IN, BATCH, STEP = 7, 12, 9, 1e-2
PERFECT: dict[str, Any] = {"forward": {"is_perfect": True}}
SCALED = {"mapping": {"weight_scaling_omega": 0.6, "weight_scaling_columnwise": True, "learn_out_scaling": True,
                      "out_scaling_columnwise": True}}  # fmt: skip
NOISE = {"modifier": {"type": "AddNormal", "std_dev": 0.2}}
FIXED_RANGE = {
    "enable": True,
    "init_from_data": 0,
    "init_value": 0.8,
    "decay": 0.0,
    "gradient_relative": False,
}


def spec(**tile: Any) -> TileSpec:
    return TileSpec.from_config(
        {
            "device": {"model": "ideal"},
            "algorithm": {"name": "hwa"},
            "tile": PERFECT | tile,
        }
    )


def linear(**tile: Any) -> AnalogLinear:
    torch.manual_seed(1)
    return AnalogLinear(IN, OUT, tile=spec(**tile), seed=2)


def tile_of(layer: nn.Module) -> AnalogTile:
    return next(analog_tiles(layer))


def inputs(*shape: int) -> Tensor:
    return torch.randn(
        *(shape or (BATCH, IN)), generator=torch.Generator().manual_seed(3)
    )


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def slope(loss: Any, value: Tensor, way: Tensor) -> Tensor:
    """The change of the loss along `way`, from finite differences."""
    start = value.detach().clone()
    sides = []
    for sign in (1, -1):
        value.data.copy_(start + sign * STEP * way)
        sides.append(loss().detach())
    value.data.copy_(start)
    return (sides[0] - sides[1]) / (2 * STEP)


@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize(
    "mapping",
    [{}, {"max_input_size": 5, "max_output_size": 4}, {"learn_out_scaling": True}],
)
def test_gradients(kind: str, mapping: dict[str, Any]) -> None:
    torch.manual_seed(1)
    settings = spec(mapping=mapping)
    layer = (
        linear(mapping=mapping)
        if kind == "linear"
        else AnalogConv2d(3, 4, 2, padding=1, tile=settings, seed=2)
    )
    x = (inputs() if kind == "linear" else inputs(2, 3, 5, 5)).requires_grad_()

    def loss() -> Tensor:
        return torch.sin(layer(x).double()).sum()

    loss().backward()
    for number, value in enumerate([x, *layer.parameters()]):
        way = torch.randn(value.shape, generator=torch.Generator().manual_seed(number))
        way = way / way.norm()
        assert value.grad is not None
        torch.testing.assert_close(
            (value.grad * way).sum().double(),
            slope(loss, value, way),
            rtol=2e-3,
            atol=2e-4,
        )


def test_gradient_of_the_input_range() -> None:
    """Where every cut-off input asks for a larger range, and none is turned down, it is the true
    one."""
    layer, x = linear(input_range=FIXED_RANGE), inputs()
    state = tile_of(layer).state
    # The loss falls with every output beyond the range, on both sides.
    w = tile_of(layer).tile.weight
    w.data.copy_(w.data.abs())

    def loss() -> Tensor:
        return -(layer(x.abs()) * torch.arange(1.0, OUT + 1)).double().sum()

    loss().backward()
    found = state.input_range.value
    torch.testing.assert_close(
        found.grad.double().sum(),
        slope(loss, found, torch.ones(1)),
        rtol=2e-3,
        atol=1e-3,
    )
    layer.zero_grad()
    (-loss()).backward()
    assert found.grad.item() == 0.0, "nothing asks for a smaller one but its decay"


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("over", [False, True])
def test_inputs_and_weights_behind_a_range(stop: bool, over: bool) -> None:
    layer = linear(
        input_range=FIXED_RANGE | {"stop_at_range": stop, "gradient_over_range": over}
    )
    x, d = inputs().requires_grad_(), inputs(BATCH, OUT)
    layer(x).backward(d)
    w = tile_of(layer).tile.weight
    assert x.grad is not None and w.grad is not None
    wanted = d @ w.detach()
    torch.testing.assert_close(
        x.grad, torch.where(x.abs() > 0.8, 0.0, wanted) if stop else wanted
    )
    torch.testing.assert_close(
        w.grad, d.T @ x.detach().clamp(-0.8, 0.8) / (0.8 if over else 1.0)
    )


def test_a_step_changes_logical_weights_as_if_unscaled() -> None:
    layer, x, d = linear(**SCALED), inputs(), inputs(BATCH, OUT)
    before, _ = layer.get_weights()
    weight = tile_of(layer).tile.weight
    layer(x).backward(d)
    torch.optim.SGD([weight], lr=0.1).step()
    torch.testing.assert_close(layer.get_weights()[0], before - 0.1 * d.T @ x)


def test_a_mini_batch_shares_its_disturbance_with_its_gradients() -> None:
    layer, x, d = linear(**NOISE), inputs().requires_grad_(), inputs(BATCH, OUT)
    tile = tile_of(layer)
    optimizer = make_optimizer(layer, {"name": "sgd", "lr": 0.0})
    y = layer(x)
    assert torch.equal(y, layer(x))
    met = tile.state.copy.clone()
    assert not torch.allclose(met, tile.tile.weight)
    y.backward(d)
    assert x.grad is not None and tile.tile.weight.grad is not None
    torch.testing.assert_close(x.grad, d @ met)
    torch.testing.assert_close(tile.tile.weight.grad, d.T @ x.detach())
    optimizer.step()
    assert not torch.equal(y, layer(x)), "the next mini-batch meets others"
    layer.eval()
    torch.testing.assert_close(
        layer(x), torch.nn.functional.linear(x, *layer.get_weights())
    )


def test_evaluation_is_disturbed_only_if_asked_for_and_leaves_training_alone() -> None:
    asked = {"modifier": NOISE["modifier"] | {"enable_during_test": True}}
    one, other, x = linear(**asked), linear(**asked), inputs()
    other.eval()
    assert not torch.equal(other(x), other(x))
    assert torch.equal(one(x), other.train()(x))


def test_each_product_has_its_own_disturbance_if_asked_for() -> None:
    layer, x = (
        linear(modifier=NOISE["modifier"] | {"per_forward": True}),
        inputs().requires_grad_(),
    )
    first = layer(x)
    tile = tile_of(layer)
    met, second = tile.state.copy.clone(), layer(x)
    assert not torch.equal(first, second)
    (gradient,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(gradient, met.sum(0).expand(BATCH, IN))


def test_outputs_at_the_bound_of_the_adc_give_no_gradient_to_inputs() -> None:
    forward = {
        "bound_management": "None",
        "noise_management": "None",
        "inp_res": -1,
        "out_res": -1,
        "out_noise": 0.0,
    }
    layer, x, d = (
        linear(forward=forward | {"out_bound": 0.3}),
        inputs().clamp(-1, 1).requires_grad_(),
        inputs(BATCH, OUT),
    )
    w = tile_of(layer).tile.weight
    clipped = (x @ w.T).abs() >= 0.3
    assert 0.1 < clipped.float().mean() < 0.9
    layer(x).backward(d)
    assert x.grad is not None and w.grad is not None
    torch.testing.assert_close(x.grad, d.masked_fill(clipped, 0.0) @ w.detach())
    torch.testing.assert_close(w.grad, d.T @ x.detach())


@pytest.mark.parametrize("per_input", [False, True])
def test_clipped_outputs_push_the_range_up(per_input: bool) -> None:
    forward = {
        "bound_management": "None",
        "noise_management": "None",
        "inp_res": -1,
        "out_res": -1,
        "out_noise": 0.0,
    }
    ranges = FIXED_RANGE | {
        "manage_output_clipping": True,
        "clipped_per_input": per_input,
    }
    layer, x, d = (
        linear(forward=forward | {"out_bound": 0.3}, input_range=ranges),
        inputs(),
        inputs(BATCH, OUT),
    )
    w, found = tile_of(layer).tile.weight, tile_of(layer).state.input_range.value
    clipped = (x.clamp(-0.8, 0.8) / 0.8 @ w.T).abs() >= 0.3
    layer(x).backward(d)
    back = d.masked_fill(clipped, 0.0) @ w.detach()
    pull = (
        torch.where(x >= 0.8, back.clamp(max=0), 0.0).sum()
        - torch.where(x <= -0.8, back.clamp(min=0), 0.0).sum()
    )
    share = clipped.sum() / (x.numel() if per_input else d.numel())
    assert share > 0.05
    torch.testing.assert_close(found.grad, (pull - share * 0.8).view(1))


def clipped_run(settled_by: str) -> dict[str, Tensor]:
    """Three steps of Adam with clip and remap; who tells the tile of them must not matter."""
    layer, x = (
        linear(
            **SCALED,
            clip={"type": "LayerGaussian", "sigma": 1.0},
            remap={"type": "ChannelwiseSymmetric"},
        ),
        inputs(),
    )
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    if settled_by == "optimizer":
        settle_after_steps(optimizer, layer)
    for _ in range(3):
        optimizer.zero_grad()
        layer(x).square().sum().backward()
        optimizer.step()
    if settled_by == "evaluation":
        layer.eval()
    tiles = {name: value.clone() for name, value in layer.state_dict().items()}
    return {name: value for name, value in tiles.items() if value.is_floating_point()}


@pytest.mark.parametrize("settled_by", ["state", "evaluation"])
def test_any_optimizer_settles_its_tiles(settled_by: str) -> None:
    wanted, found = clipped_run("optimizer"), clipped_run(settled_by)
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    weight = next(value for name, value in found.items() if name.endswith("weight"))
    torch.testing.assert_close(weight.abs().amax(1), torch.ones(OUT))


def test_copies_and_moves_are_no_steps() -> None:
    layer = linear(clip={"type": "LayerGaussian", "sigma": 1.0})
    layer(inputs())
    start = tile_of(layer).tile.weight.detach().clone()
    for moved in (copy.deepcopy(layer), layer.to("cpu"), layer.double()):
        moved(inputs())
        assert (
            torch.equal(tile_of(moved).tile.weight, start)
            and tile_of(moved).tile.weight.dtype == torch.float32
        )
    other = linear(clip={"type": "LayerGaussian", "sigma": 1.0})
    other.load_state_dict(layer.state_dict())
    other(inputs())
    assert torch.equal(tile_of(other).tile.weight, start)


def test_threads_do_not_matter_in_exact_mode() -> None:
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        layer = AnalogLinear(
            IN,
            OUT,
            tile=spec(**NOISE, **SCALED, forward={}, input_range={"enable": True}),
            seed=2,
        )
        set_exact(layer)
        optimizer, x = (
            make_optimizer(layer, {"name": "adam", "lr": 0.01}),
            inputs(300, IN).requires_grad_(),
        )
        for _ in range(2):
            layer(x).square().sum().backward()
            optimizer.step()
        found.append(
            [
                value.detach().clone()
                for value in (x.grad, *layer.parameters())
                if value is not None
            ]
        )
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


UNMANAGED = {"noise_management": "None", "bound_management": "None"}
WRONG: dict[str, Any] = {
    "coeffs": ({"modifier": {"coeffs": [0.1] * 9}}, "modifier.coeffs must be at most 8 numbers, not 9"),
    "res": ({"modifier": {"type": "Discretize"}}, "modifier.res must be > 0"),
    "type": ({"modifier": {"type": "AddNorml"}}, "nearest: AddNormal"),
    "clip": ({"clip": {"type": "Gaussian"}}, "tile.clip.type must be one of"),
    "range": ({"remap": {"max_scale_range": 2, "remapped_wmax": 0.5}}, "needs remapped_wmax 1, not 0.5"),
    "bound": ({"forward": UNMANAGED | {"inp_bound": 2}, "input_range": {"enable": True}}, "inp_bound 1, not 2"),
    "managed": ({"forward": {}, "input_range": {"enable": True, "manage_output_clipping": True}}, "needs an ADC bound"),
    "negative": ({"modifier": {"std_dev": -1}}, "tile.modifier.std_dev must be >= 0, not -1"),
    "key": ({"modifier": {"std": 1}}, "tile.modifier has no key 'std'; nearest: std_dev"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings_are_told_in_one_line(name: str) -> None:
    tile, told = WRONG[name]
    with pytest.raises(ValueError, match=r".") as problem:
        linear(**tile)
    assert told in str(problem.value) and "\n" not in str(problem.value)


def test_what_needs_gradients_is_refused_elsewhere() -> None:
    for tile, name in (
        ({"input_range": {"enable": True}}, "input_range"),
        (NOISE, "modifier"),
    ):
        with pytest.raises(
            ValueError, match=f"tile.{name} needs weights that learn by gradients"
        ):
            AnalogLinear(3, 2, tile=TileSpec.from_config({"tile": tile}))
    with pytest.raises(ValueError, match="it needs device=ideal, not constant_step"):
        AnalogLinear(3, 2, tile=TileSpec.from_config({"algorithm": {"name": "hwa"}}))
    pulsed = nn.Sequential(AnalogLinear(3, 2, tile=TileSpec()), nn.Linear(2, 2))
    beside = make_optimizer(pulsed, {"name": "adam"})
    assert [group["lr"] for group in beside.param_groups] == [0.01, 0.1]
    with pytest.raises(ValueError, match=r"optimizer\.momentum means nothing to adam"):
        make_optimizer(linear(), {"name": "adam", "momentum": 0.9})
    with pytest.raises(ValueError, match="nesterov needs a momentum > 0"):
        make_optimizer(linear(), {"name": "sgd", "nesterov": True})
