"""Weights are taken as they fit or not at all; a tile computes with its own cells only."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from engine.linalg import AnalogMatrix
from engine.nn import AnalogConv2d, AnalogLayer, AnalogLinear, analog_tiles
from engine.optim import AnalogSGD
from tests.nn.layers import (
    LAYERS,
    NOISY,
    PERFECT,
    batch,
    call,
    make,
    spec,
    step,
    weights,
)
from tests.nn.test_layers_hwa import HWA
from tests.nn.test_layers_hwa import NOISY as NOISY_HWA

BASES = {"pulses": NOISY, "gradients": NOISY_HWA}
every_layer = pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
both = pytest.mark.parametrize("base", BASES.values(), ids=BASES)


def refused(layer: AnalogLayer, *given: Any) -> str:
    """The line of the refusal; nothing was written."""
    before = weights(layer)
    with pytest.raises((ValueError, TypeError)) as caught:
        layer.set_weights(*given)
    assert torch.equal(weights(layer), before)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "mapping", [{}, {"digital_bias": False}, {"max_input_size": 3}]
)
def test_what_does_not_fit_is_refused(mapping: dict[str, Any]) -> None:
    layer = AnalogLinear(4, 3, tile=spec(PERFECT, **mapping), seed=1)
    bare = AnalogLinear(4, 3, bias=False, tile=spec(PERFECT, **mapping), seed=1)
    conv = AnalogConv2d(2, 5, 3, bias=False, tile=spec(PERFECT, **mapping), seed=1)
    w, b = torch.full((3, 4), 0.1), torch.full((3,), 0.1)
    assert refused(layer, w.T) == "the weight must be [3, 4], not [4, 3]"
    assert refused(layer, w.flatten()) == "the weight must be [3, 4], not [12]"
    assert refused(layer, w[0]) == "the weight must be [3, 4], not [4]"
    assert (
        refused(conv, torch.rand(3, 3, 2, 5))
        == "the weight must be [5, 2, 3, 3], not [3, 3, 2, 5]"
    )
    assert (
        refused(conv, torch.rand(5, 18))
        == "the weight must be [5, 2, 3, 3], not [5, 18]"
    )
    for wrong in (torch.ones(1), torch.ones(()), torch.ones(3, 1), torch.ones(4)):
        assert refused(layer, w, wrong).startswith("the bias must be [3], not")
    assert refused(bare, w, b) == "a bias was given to a layer without one (bias=False)"
    for number in (float("nan"), float("inf"), 1e39):
        assert "not finite" in refused(
            layer, torch.full((3, 4), number, dtype=torch.float64)
        )
        assert "not finite" in refused(
            layer, w, torch.full((3,), number, dtype=torch.float64)
        )
    assert "sparse" in refused(layer, w.to_sparse())
    assert "complex" in refused(layer, w * 1j)
    assert "quantized" in refused(
        layer, torch.quantize_per_tensor(w, 0.1, 0, torch.qint8)
    )
    assert "meta" in refused(layer, w.to("meta"))
    assert refused(layer, w.tolist()) == "the weight must be a tensor, not list"


@pytest.mark.parametrize("mapping", [{}, {"digital_bias": False}])
def test_a_bias_that_is_not_given_stays(mapping: dict[str, Any]) -> None:
    layer = AnalogLinear(4, 3, tile=spec(PERFECT, **mapping), seed=1)
    bias = torch.tensor([0.1, 0.2, 0.3])
    layer.set_weights(torch.zeros(3, 4), bias)
    layer.set_weights(torch.full((3, 4), 0.5))
    found = layer.get_weights()
    torch.testing.assert_close(found, (torch.full((3, 4), 0.5), bias))


def test_other_numbers_are_converted() -> None:
    layer = AnalogLinear(2, 2, bias=False, tile=spec(PERFECT), seed=1)
    for kind in (torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int64):
        layer.set_weights(torch.tensor([[1, 0], [0, -1]], dtype=kind))
        assert torch.equal(
            layer.get_weights()[0], torch.tensor([[1.0, 0.0], [0.0, -1.0]])
        )
    layer.set_weights(torch.tensor([[0.1, 0.2], [0.3, 0.4]]).T)
    assert torch.equal(layer.get_weights()[0], torch.tensor([[0.1, 0.3], [0.2, 0.4]]))


@every_layer
def test_named_weights_must_be_all_and_fit(kind: type[AnalogLayer]) -> None:
    layer = make(kind, PERFECT)
    right, before = layer.logical_weights(), weights(layer)
    first, *_, last = right
    wrong: list[tuple[dict[str, Tensor], str]] = [
        ({n: v for n, v in right.items() if n != last}, f"{last} is missing"),
        ({**right, "weights": right[first]}, "weights is not one of"),
        ({**right, first: right[first].flatten()}, f"{first} must be"),
        ({**right, last: right[last][:-1]}, f"{last} must be"),
        ({**right, last: right[last] * float("nan")}, f"{last} holds numbers"),
    ]
    for given, message in wrong:
        with pytest.raises(ValueError, match=message):
            layer.set_logical_weights(
                {
                    **{n: v + 1 for n, v in given.items()},
                    last: given.get(last, right[last]),
                }
                if last in given
                else given
            )
        assert torch.equal(weights(layer), before), "a part was written"


def test_tiles_and_matrices_do_not_spread_weights_out() -> None:
    (tile,) = analog_tiles(AnalogLinear(4, 3, tile=spec(NOISY), seed=1))
    for write in (tile.set_weights, tile.tile.array.set_weights):
        for wrong in (torch.ones(1), torch.ones(4), torch.ones(3, 1), torch.ones(4, 3)):
            with pytest.raises(ValueError, match=r"must be \[3, 4\], not"):
                write(wrong)
    matrix = AnalogMatrix(torch.eye(2) / 2, "ideal")
    with pytest.raises(ValueError, match="not finite"):
        matrix.set([[0.1, float("nan")], [0.0, 0.1]])
    assert torch.equal(matrix.get(), torch.eye(2) / 2)


# Parameters that are put in the place of others.


@every_layer
@both
def test_loading_by_assignment_is_loading(
    kind: type[AnalogLayer], base: dict[str, Any]
) -> None:
    x = batch(kind)
    source, assigned, copied = (make(kind, base, seed=seed) for seed in (3, 4, 4))
    step(source, x)
    state = {k: v.to(torch.float64) if torch.is_tensor(v) and v.is_floating_point() and "tile" in k else v
             for k, v in copy.deepcopy(source.state_dict()).items()}  # fmt: skip
    kept = dict(assigned.named_parameters())
    optimizer = AnalogSGD(assigned.parameters(), lr=0.1)
    assigned.load_state_dict(state, assign=True)
    copied.load_state_dict(state)
    for name, tensor in assigned.state_dict().items():
        if ".tiles." in name and torch.is_tensor(tensor):
            assert torch.equal(tensor, copied.state_dict()[name])
            assert tensor.dtype is copied.state_dict()[name].dtype
    for tile in analog_tiles(assigned):
        assert any(tile.tile.weight is p for p in kept.values()), (
            "the optimizer lost its parameter"
        )
    before = weights(assigned)
    call(assigned, x).sum().backward()
    optimizer.step()
    assert not torch.equal(weights(assigned), before)


@every_layer
@both
def test_other_parameters_for_a_call_are_refused(
    kind: type[AnalogLayer], base: dict[str, Any]
) -> None:
    layer, x = make(kind, base), batch(kind)
    others = {name: torch.zeros_like(p) for name, p in layer.named_parameters()}
    arguments = (x, x, x) if kind.__name__ == "AnalogMultiheadAttention" else (x,)
    with pytest.raises(TypeError, match="were replaced"):
        torch.func.functional_call(layer, others, arguments)
    call(layer, x)


def replaced(layer: AnalogLinear, way: str) -> None:
    """Other memory, or another parameter, for the cells of a layer."""
    array = next(analog_tiles(layer)).tile.array
    weight = array.weight
    if way == "parameter":
        array.weight = nn.Parameter(torch.zeros(3, 4))
    elif way == "pruned":
        prune.l1_unstructured(array, "weight", 0.5)
    elif way == "half":
        weight.data = weight.data.half()
    elif way == "double":
        weight.data = weight.data.double()
    elif way == "transposed":
        weight.data = weight.data.T.contiguous().T
    else:
        weight.data = weight.data[:2, :2].contiguous()


@pytest.mark.parametrize(
    "base", [PERFECT, {**PERFECT, **HWA}, NOISY], ids=["perfect", "hwa", "noisy"]
)
@pytest.mark.parametrize(
    "way", ["parameter", "pruned", "half", "double", "transposed", "smaller"]
)
def test_other_memory_is_refused(way: str, base: dict[str, Any]) -> None:
    layer = AnalogLinear(4, 3, tile=spec(base), seed=1)
    layer(torch.ones(2, 4))
    replaced(layer, way)
    with pytest.raises(TypeError, match="the weights of a tile were replaced"):
        layer(torch.ones(2, 4))


def test_vectors_of_parameters_come_back() -> None:
    layer = AnalogLinear(4, 3, tile=spec({**PERFECT, **HWA}), seed=1)
    vector = nn.utils.parameters_to_vector(layer.parameters())
    nn.utils.vector_to_parameters(vector * 0.5, layer.parameters())
    w, b = (v for v in layer.get_weights() if v is not None)
    torch.testing.assert_close(layer(torch.ones(1, 4)), (w.sum(1) + b).unsqueeze(0))


# Copies: each knows its own weights.


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "copy"])
def test_every_copy_learns_by_itself(way: str) -> None:
    layer = AnalogLinear(4, 3, tile=spec(PERFECT), seed=1)
    ways: dict[str, Any] = {
        "deepcopy": copy.deepcopy, "copy": copy.copy, "pickle": lambda m: pickle.loads(pickle.dumps(m)),
    }  # fmt: skip
    made = ways[way](layer)
    for module in (made, layer):
        before = module.get_weights()[0]
        module(torch.ones(2, 4)).sum().backward()
        AnalogSGD(module.parameters(), lr=0.1).step()
        torch.testing.assert_close(module.get_weights()[0], before - 0.2)


def test_a_layer_that_was_never_read_ages() -> None:
    """Time acts on cells in each step, with a product or without."""
    layer = AnalogLinear(4, 3, tile=spec(NOISY), seed=1)
    for made in (layer, copy.deepcopy(layer)):
        before = made.get_weights()[0]
        AnalogSGD(made.parameters(), lr=0.1).step()
        assert not torch.equal(made.get_weights()[0], before)


@pytest.fixture
def overwriting() -> Iterator[None]:
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    yield
    torch.__future__.set_overwrite_module_params_on_conversion(False)


@pytest.mark.usefixtures("overwriting")
@both
def test_moves_that_make_new_parameters(base: dict[str, Any]) -> None:
    moved, same, x = (
        make(AnalogLinear, base),
        make(AnalogLinear, base),
        batch(AnalogLinear),
    )
    assert torch.equal(step(moved.to("cpu"), x), step(same, x))
    assert torch.equal(weights(moved), weights(same))


def test_tiles_live_where_there_are_kernels() -> None:
    layer = AnalogLinear(4, 3, tile=spec(PERFECT), seed=1)
    with pytest.raises(RuntimeError, match="on the CPU or on a CUDA GPU, not on meta"):
        layer.to("meta")
    with torch.device("meta"), pytest.raises(RuntimeError, match="not on meta"):
        AnalogLinear(4, 3, tile=spec(PERFECT), seed=1)


def test_a_layer_says_where_its_weights_are() -> None:
    layer = AnalogLinear(4, 3, tile=spec(PERFECT), seed=1)
    with pytest.raises(AttributeError, match=r"get_weights\(\).*exclude"):
        _ = layer.weight
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = layer.other
    assert not hasattr(layer, "bias")
