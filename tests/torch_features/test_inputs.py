"""What torch's layers refuse as input is refused here too, by name, and never cut to fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from engine.linalg import AnalogMatrix
from engine.nn import (
    AnalogLayer,
    AnalogLinear,
    AnalogLSTM,
    AnalogMultiheadAttention,
    analog_tiles,
)
from engine.presets import preset
from engine.tile.tile import Tile
from tests.nn.layers import LAYERS, NOISY, PERFECT, batch, call, make, spec
from tests.nn.test_layers_hwa import HWA

REFUSED = (torch.uint8, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn)
BASES = {"pulses": PERFECT, "gradients": {**PERFECT, **HWA}}
every_layer = pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)


@every_layer
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("dtype", REFUSED, ids=str)
def test_other_types_are_refused_by_name(
    kind: type[AnalogLayer], base: str, dtype: torch.dtype
) -> None:
    name = str(dtype).removeprefix("torch.")
    message = (
        rf"^{kind.__name__} takes floating-point inputs, not {name}: convert them with"
    )
    layer, x = make(kind, BASES[base]), batch(kind).abs().to(dtype)
    with pytest.raises(TypeError, match=message) as caught:
        call(layer, x)
    assert "\n" not in str(caught.value)


@every_layer
@pytest.mark.parametrize("base", BASES)
def test_sparse_and_traced_inputs_are_refused(
    kind: type[AnalogLayer], base: str
) -> None:
    layer, x = make(kind, BASES[base]), batch(kind)
    with pytest.raises(TypeError, match="takes dense inputs, not sparse_coo ones"):
        call(layer, x.to_sparse())
    traced = FakeTensorMode(allow_non_fake_inputs=True)
    with traced, pytest.raises(TypeError, match="cannot read a FakeTensor"):
        call(layer, traced.from_tensor(x))


@every_layer
def test_a_parameter_is_an_input_like_another(kind: type[AnalogLayer]) -> None:
    x = batch(kind)
    parameter = nn.Parameter(x.clone())
    call(make(kind, NOISY), parameter).sum().backward()
    call(make(kind, NOISY), x.requires_grad_()).sum().backward()
    assert parameter.grad is not None and x.grad is not None
    assert torch.equal(parameter.grad, x.grad)


def test_tiles_refuse_what_layers_refuse() -> None:
    layer = AnalogLinear(4, 3, tile=spec(PERFECT), seed=1)
    (tile,) = analog_tiles(layer)
    ones = torch.ones(2, 4, dtype=torch.int64)
    for read in (tile, tile.tile.mvm, layer.grid, Tile(3, 4, spec(PERFECT)).mvm):
        with pytest.raises(TypeError, match="floating-point inputs, not int64"):
            read(ones)


def test_states_keys_and_values_are_inputs_too() -> None:
    lstm = AnalogLSTM(4, 3, tile=spec(PERFECT), seed=1)
    states = tuple(torch.ones(1, 2, 3, dtype=torch.int64) for _ in range(2))
    with pytest.raises(
        TypeError, match="first state, takes floating-point inputs, not int64"
    ):
        lstm(torch.ones(5, 2, 4), states)
    packed = nn.utils.rnn.pack_sequence([torch.ones(2, 4, dtype=torch.int64)])
    with pytest.raises(
        TypeError, match="AnalogLSTM takes floating-point inputs, not int64"
    ):
        lstm(packed)
    attention = AnalogMultiheadAttention(4, 2, tile=spec(PERFECT), seed=1)
    x = torch.ones(3, 2, 4)
    for given in ((x, x.long(), x), (x, x, x.bool())):
        with pytest.raises(
            TypeError, match="AnalogMultiheadAttention takes floating-point"
        ):
            attention(*given)


@pytest.mark.parametrize(
    "vector", [[1, 2], torch.tensor([1, 2]), torch.tensor([True, False])]
)
def test_whole_vectors_give_real_products(vector: Any) -> None:
    """Solvers promote, as NumPy does: a product of whole numbers is not cut to whole numbers."""
    values = torch.tensor([[0.25, -0.125], [0.5, 0.3]])
    matrix = AnalogMatrix(values, preset("ideal", forward={"is_perfect": True}))
    found = torch.as_tensor(matrix @ vector)
    torch.testing.assert_close(
        found, values @ torch.as_tensor(vector, dtype=torch.float32)
    )


def test_complex_matrices_and_vectors_are_refused() -> None:
    matrix, values = (
        AnalogMatrix(torch.eye(2) / 2, "ideal"),
        torch.ones(2, dtype=torch.complex64),
    )
    attempts = (
        lambda: matrix @ values,
        lambda: matrix @ values.numpy(),
        lambda: matrix @ [1j, 1.0],
        lambda: matrix.rmatvec(values),
        lambda: matrix.update(values, torch.ones(2)),
        lambda: matrix.set(torch.eye(2) * 1j),
        lambda: AnalogMatrix(torch.eye(2) * 1j, "ideal"),
    )
    for attempt in attempts:
        with pytest.raises(TypeError, match="real numbers, not complex ones"):
            attempt()


def test_numbers_that_are_not_finite_come_through() -> None:
    x = torch.ones(2, 4)
    x[0, 1] = float("nan")
    for base in BASES.values():
        y: Tensor = AnalogLinear(4, 3, tile=spec(base), seed=1)(x)
        assert y[0].isnan().all() and y[1].isfinite().all()
