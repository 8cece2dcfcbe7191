"""Every layer behaves as torch's layer of the same meaning, and as a torch module."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.nn import AnalogLayer, AnalogMultiheadAttention, analog_tiles
from engine.optim import AnalogSGD
from tests.nn.layers import (
    EXAMPLES,
    LAYERS,
    NOISY,
    PERFECT,
    batch,
    call,
    make,
    step,
    twin_of,
    weights,
)

pytestmark = pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
Kind = type[AnalogLayer]


def test_has_an_example(kind: Kind) -> None:
    assert kind in EXAMPLES, "add one to tests/nn/layers.py"


@pytest.mark.parametrize(
    "mapping",
    [{}, {"max_input_size": 5, "max_output_size": 2}, {"digital_bias": False}],
)
def test_perfect_tiles_compute_what_torch_computes(
    kind: Kind, mapping: dict[str, Any]
) -> None:
    layer = make(kind, PERFECT, **mapping)
    twin = twin_of(layer)
    x = batch(kind).requires_grad_()
    y, expected = call(layer, x), call(twin, x)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    flow = torch.randn_like(y)
    found, wanted = (
        torch.autograd.grad(y, x, flow)[0],
        torch.autograd.grad(expected, x, flow)[0],
    )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    (call(layer, x) * flow).sum().backward()
    (call(twin, x) * flow).sum().backward()
    AnalogSGD(layer.parameters(), lr=0.1).step()
    torch.optim.SGD(twin.parameters(), lr=0.1).step()
    torch.testing.assert_close(
        layer.logical_weights(), dict(twin.state_dict()), rtol=1e-4, atol=1e-5
    )


def test_an_input_may_be_a_view(kind: Kind) -> None:
    x = batch(kind, 8)
    view = torch.stack([x, x + 1], -1)[::2, ..., 0]
    assert not view.is_contiguous()
    assert torch.equal(
        step(make(kind, NOISY), view), step(make(kind, NOISY), x[::2].contiguous())
    )


def test_an_empty_batch_gives_an_empty_output_and_no_update(kind: Kind) -> None:
    layer, x = make(kind, NOISY), batch(kind, 0).requires_grad_()
    before = weights(layer)
    y = call(layer, x)
    assert y.shape[0] == 0 and y.shape[1:] == call(layer, batch(kind)).shape[1:]
    y.sum().backward()
    assert x.grad is not None and x.grad.shape == x.shape
    for tile in analog_tiles(layer):
        tile.learn(0.1)
    assert torch.equal(weights(layer), before)


@pytest.mark.parametrize("kind_of", [torch.bfloat16, torch.float16, torch.float64])
def test_activations_of_other_types(kind: Kind, kind_of: torch.dtype) -> None:
    x = batch(kind).to(kind_of)
    layer, same = make(kind, NOISY), make(kind, NOISY)
    y = step(layer, x.requires_grad_())
    assert y.dtype == kind_of and x.grad is not None and x.grad.dtype == kind_of
    assert torch.equal(y, step(same, x.detach().float()).to(kind_of))
    assert weights(layer).dtype == torch.float32


def test_a_model_of_half_precision_keeps_its_physics(kind: Kind) -> None:
    layer, same = make(kind, NOISY).to(torch.bfloat16), make(kind, NOISY)
    x = batch(kind).to(torch.bfloat16)
    for found, wanted in zip(analog_tiles(layer), analog_tiles(same), strict=True):
        assert torch.equal(found.get_weights(), wanted.get_weights())
    assert call(layer, x).dtype == torch.bfloat16
    tensors = (t for tile in analog_tiles(layer) for t in tile.state_dict().values())
    assert not [t for t in tensors if t.dtype == torch.bfloat16]


def test_autocast_does_not_reach_the_tiles(kind: Kind) -> None:
    layer, same, x = make(kind, PERFECT), make(kind, PERFECT), batch(kind)
    with torch.autocast("cpu", torch.bfloat16):
        y = step(layer, x)
    assert torch.equal(y, step(same, x))
    # The products of activations with each other, which attention has, are digital and no matter of
    # tiles.
    near = 1e-2 if kind is AnalogMultiheadAttention else 0.0
    torch.testing.assert_close(weights(layer), weights(same), rtol=near, atol=near)


def test_several_calls_in_a_step_learn_from_all(kind: Kind) -> None:
    x = batch(kind)
    twice, whole = make(kind, PERFECT), make(kind, PERFECT)
    step(twice, x[:1], x[1:])
    step(whole, x)
    torch.testing.assert_close(weights(twice), weights(whole))
    noisy = make(kind, NOISY)
    first, second = step(noisy, x, x, lr=0.0).chunk(2)
    assert not torch.equal(first, second), "two calls share their noise"


def test_gradients_accumulate_until_the_step(kind: Kind) -> None:
    x = batch(kind)
    several, whole = make(kind, PERFECT), make(kind, PERFECT)
    before = weights(several)
    for part in x.split(1):
        call(several, part).square().sum().backward()
    assert torch.equal(weights(several), before)
    AnalogSGD(several.parameters(), lr=0.1).step()
    step(whole, x)
    torch.testing.assert_close(weights(several), weights(whole))
    call(several, x).sum().backward()
    optimizer = AnalogSGD(several.parameters(), lr=0.1)
    optimizer.zero_grad()
    kept = weights(several)
    optimizer.step()
    assert torch.equal(weights(several), kept)


def test_gradients_of_the_input_alone_teach_nothing(kind: Kind) -> None:
    layer, x = make(kind, PERFECT), batch(kind).requires_grad_()
    torch.autograd.grad(call(layer, x).sum(), x)
    call(layer, x).sum().backward(inputs=[x])
    assert not any(tile.pending for tile in analog_tiles(layer))
    call(layer, x).sum().backward()
    assert all(tile.pending for tile in analog_tiles(layer))


def continued(layer: AnalogLayer, x: Tensor) -> list[Tensor]:
    """Two steps, an evaluation and what is left."""
    outputs = [step(layer, x), step(layer, x + 1)]
    layer.eval()
    outputs.append(call(layer, x).detach())
    layer.train()
    return [*outputs, weights(layer)]


@pytest.mark.parametrize("way", ["dictionary", "file"])
def test_a_loaded_layer_continues_with_the_same_bits(kind: Kind, way: str) -> None:
    layer, fresh, x = make(kind, NOISY), make(kind, NOISY, seed=4), batch(kind)
    step(layer, x)
    call(layer.eval(), x)
    layer.train()
    state = copy.deepcopy(layer.state_dict())
    if way == "file":
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
    fresh.load_state_dict(state, strict=True)
    assert all(
        torch.equal(a, b)
        for a, b in zip(continued(layer, x), continued(fresh, x), strict=True)
    )


def test_a_pickled_layer_continues_with_the_same_bits(kind: Kind) -> None:
    layer, x = make(kind, NOISY), batch(kind)
    step(layer, x)
    call(layer, x).sum().backward()
    copied = pickle.loads(pickle.dumps(layer))
    assert not any(tile.pending for tile in analog_tiles(copied)), (
        "a copy takes no unfinished step along"
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(continued(layer, x), continued(copied, x), strict=True)
    )


def test_a_deepcopy_has_the_same_cells_and_noise_of_its_own(kind: Kind) -> None:
    layer, x = make(kind, NOISY), batch(kind)
    step(layer, x)
    first, second = copy.deepcopy(layer), copy.deepcopy(layer)
    assert torch.equal(weights(first), weights(layer)) and torch.equal(
        weights(second), weights(layer)
    )
    for one, other in zip(analog_tiles(first), analog_tiles(layer), strict=True):
        assert torch.equal(one.tile.array.cells, other.tile.array.cells)
    outputs = [step(made, x) for made in (layer, first, second)]
    assert not any(
        torch.equal(outputs[a], outputs[b]) for a, b in ((0, 1), (0, 2), (1, 2))
    )
    assert not torch.equal(weights(first), weights(second))


def test_moving_to_where_it_is_changes_nothing(kind: Kind) -> None:
    layer, same, x = make(kind, NOISY), make(kind, NOISY), batch(kind)
    step(layer, x)
    step(same, x)
    assert torch.equal(step(layer.to("cpu"), x), step(same, x))
    assert torch.equal(weights(layer), weights(same))


def test_evaluation_does_not_change_how_it_trains(kind: Kind) -> None:
    layer, same, x = make(kind, NOISY), make(kind, NOISY), batch(kind)
    layer.eval()
    first, second = call(layer, x), call(layer, x)
    assert not torch.equal(first, second), "two evaluations share their noise"
    with torch.no_grad():
        call(layer, x)
    layer.train()
    assert torch.equal(step(layer, x), step(same, x))
    assert torch.equal(weights(layer), weights(same))


def test_without_gradients_nothing_is_kept(kind: Kind) -> None:
    layer, x = make(kind, NOISY), batch(kind)
    with torch.no_grad():
        y = call(layer, x)
    assert not y.requires_grad
    assert all(not tile.pending for tile in analog_tiles(layer))


def test_a_frozen_layer_passes_gradients_and_does_not_learn(kind: Kind) -> None:
    layer, x = make(kind, PERFECT), batch(kind).requires_grad_()
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    before = weights(layer)
    step(layer, x)
    assert (
        torch.equal(weights(layer), before)
        and x.grad is not None
        and x.grad.abs().sum() > 0
    )


def test_the_seed_decides(kind: Kind) -> None:
    x = batch(kind)
    one, same, other = (
        continued(make(kind, NOISY, seed=seed), x) for seed in (3, 3, 4)
    )
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_every_tile_of_a_layer_draws_from_a_stream_of_its_own(kind: Kind) -> None:
    tiles = list(analog_tiles(make(kind, NOISY, max_input_size=3, max_output_size=2)))
    keys = {tuple(tile.tile.array.control[0, :2].tolist()) for tile in tiles}
    assert len(keys) == len(tiles) > 1


def test_a_wrong_shape_is_named(kind: Kind) -> None:
    sample = EXAMPLES[kind].sample
    with pytest.raises(ValueError, match=f"{kind.__name__} takes x") as caught:
        call(
            make(kind, PERFECT),
            torch.zeros(2, sample[0] + 1, *(n + 1 for n in sample[1:])),
        )
    assert "\n" not in str(caught.value)


@pytest.mark.gpu
def test_the_gpu_gives_the_same_updates(kind: Kind) -> None:
    exact = {
        "device": NOISY["device"],
        "tile": {"forward": {"is_perfect": True}, "backward": {"is_perfect": True}},
    }
    layer, x = make(kind, exact), batch(kind)
    there = copy.deepcopy(layer)
    there.load_state_dict(layer.state_dict())
    there.cuda()
    flow = torch.randn_like(call(layer, x))
    call(there, x.cuda())
    for made, where in ((layer, "cpu"), (there, "cuda")):
        (call(made, x.to(where)) * flow.to(where)).sum().backward()
        AnalogSGD(made.parameters(), lr=0.1).step()
    torch.testing.assert_close(
        weights(layer), weights(there).cpu(), rtol=1e-4, atol=1e-5
    )
