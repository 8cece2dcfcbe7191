"""Recurrent layers: every form that torch's take, noise of every time step, and learning over
time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    unpack_sequence,
)

from engine.nn import AnalogGRU, AnalogLSTM, AnalogRNN, analog_tiles
from engine.optim import AnalogSGD
from engine.tile.settings import TileSpec
from tests.nn.layers import NOISY, PERFECT, spec

KINDS = (AnalogRNN, AnalogLSTM, AnalogGRU)
FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "layers": {"num_layers": 3},
    "both ways": {"bidirectional": True},
    "layers both ways": {"num_layers": 2, "bidirectional": True, "batch_first": True},
    "no bias": {"bias": False, "num_layers": 2},
}
ids = {"ids": lambda value: value if isinstance(value, str) else value.__name__}


def pair(kind: Any, **settings: Any) -> tuple[Any, nn.Module]:
    """An analog layer on perfect tiles and torch's with the same weights."""
    torch.manual_seed(2)
    layer = kind(4, 6, **settings, tile=spec(PERFECT, max_output_size=8))
    twin = kind.digital(4, 6, **settings)
    twin.load_state_dict(layer.logical_weights())
    return layer, twin


def states(result: Any) -> list[Tensor]:
    """Output and last states in a list."""
    y, last = result
    return [
        y.data if isinstance(y, PackedSequence) else y,
        *(last if isinstance(last, tuple) else (last,)),
    ]


def first_state(kind: Any, layer: Any, *batch: int) -> Any:
    """A random first state."""
    sizes = layer.sizes
    shape = (len(sizes.parts), *batch)
    h = torch.randn(*shape, sizes.state_size, requires_grad=True)
    return (h, torch.randn(*shape, 6, requires_grad=True)) if kind is AnalogLSTM else h


def agree(
    kind: Any,
    x: Tensor,
    batch: tuple[int, ...],
    packs: Any = lambda x: x,
    **settings: Any,
) -> None:
    """Outputs, last states, all gradients and the weights after a step are those of torch's
    layer."""
    layer, twin = pair(kind, **settings)
    for given in (None, first_state(kind, layer, *batch)):
        leaves = (
            [x, *(given if isinstance(given, tuple) else (given,))]
            if given is not None
            else [x]
        )
        found, wanted = (states(made(packs(x), given)) for made in (layer, twin))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        flows = [torch.randn_like(part) for part in found]
        grads = [
            torch.autograd.grad(parts, leaves, flows, retain_graph=True)
            for parts in (found, wanted)
        ]
        torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)
        torch.autograd.backward(found, flows)
        torch.autograd.backward(wanted, flows)
    AnalogSGD(layer.parameters(), lr=0.1).step()
    torch.optim.SGD(twin.parameters(), lr=0.1).step()
    torch.testing.assert_close(
        layer.logical_weights(), dict(twin.state_dict()), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS, **ids)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_torchs(kind: Any, form: str) -> None:
    agree(
        kind,
        torch.randn(5, 3, 4, requires_grad=True),
        (5 if FORMS[form].get("batch_first") else 3,),
        **FORMS[form],
    )


@pytest.mark.parametrize("kind", KINDS, **ids)
@pytest.mark.parametrize("batch_first", [True, False])
def test_a_sequence_without_a_batch(kind: Any, batch_first: bool) -> None:
    agree(
        kind,
        torch.randn(5, 4, requires_grad=True),
        (),
        num_layers=2,
        batch_first=batch_first,
    )


@pytest.mark.parametrize("kind", KINDS, **ids)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("lengths", [(6, 4, 4, 1), (2, 6, 1, 5), (3, 3)], ids=str)
def test_packed_sequences_are_torchs(
    kind: Any, form: str, lengths: tuple[int, ...]
) -> None:
    def packs(x: Tensor) -> PackedSequence:
        return pack_padded_sequence(
            x, torch.tensor(lengths), batch_first=True, enforce_sorted=False
        )

    agree(
        kind,
        torch.randn(len(lengths), 6, 4, requires_grad=True),
        (len(lengths),),
        packs,
        **FORMS[form],
    )


def test_packed_outputs_unpack_in_the_order_of_the_user() -> None:
    layer, twin = pair(AnalogLSTM, bidirectional=True, proj_size=3)
    packed = pack_sequence([torch.randn(n, 4) for n in (2, 5, 3)], enforce_sorted=False)
    (mine, _), (torchs, _) = layer(packed), twin(packed)
    for found, wanted in zip(
        unpack_sequence(mine), unpack_sequence(torchs), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_states_of_packed_sequences_are_those_of_their_last_steps() -> None:
    """On noisy tiles too, where a second read would differ."""
    torch.manual_seed(3)
    layer = AnalogGRU(4, 6, tile=spec(NOISY)).eval()
    packed = pack_sequence([torch.randn(n, 4) for n in (4, 1)])
    y, last = layer(packed)
    assert (
        y.data.shape == (5, 6)
        and torch.equal(last[0, 1], y.data[1])
        and torch.equal(last[0, 0], y.data[-1])
    )


def test_relu() -> None:
    agree(
        AnalogRNN, torch.randn(5, 3, 4, requires_grad=True), (3,), nonlinearity="relu"
    )


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("form", FORMS)
def test_projected_states(form: str) -> None:
    batch = (5 if FORMS[form].get("batch_first") else 3,)
    agree(
        AnalogLSTM,
        torch.randn(5, 3, 4, requires_grad=True),
        batch,
        proj_size=2,
        **FORMS[form],
    )


def test_torchs_order_of_arguments() -> None:
    perfect = spec(PERFECT)
    rnn = AnalogRNN(4, 6, 2, "relu", False, True, 0.5, True, tile=perfect)
    assert repr(nn.RNN(4, 6, 2, "relu", False, True, 0.5, True)) == repr(
        nn.RNN(**rnn.digital_settings())
    )
    lstm = AnalogLSTM(4, 6, 2, False, True, 0.5, True, 3, tile=perfect)
    assert repr(nn.LSTM(4, 6, 2, False, True, 0.5, True, 3)) == repr(
        nn.LSTM(**lstm.digital_settings())
    )
    gru = AnalogGRU(4, 6, 2, False, True, 0.5, True, tile=perfect)
    assert repr(nn.GRU(4, 6, 2, False, True, 0.5, True)) == repr(
        nn.GRU(**gru.digital_settings())
    )


@pytest.mark.parametrize("kind", KINDS, **ids)
def test_dropout_between_layers_only_in_training(kind: Any) -> None:
    layer, twin = pair(kind, num_layers=3, dropout=0.4)
    x = torch.randn(5, 3, 4)
    for made in (layer, twin):
        made.eval()
    torch.testing.assert_close(states(layer(x)), states(twin(x)), rtol=1e-4, atol=1e-5)
    layer.train()
    first, second = layer(x)[0], layer(x)[0]
    assert not torch.allclose(first, second)
    none, _ = pair(kind, num_layers=2, dropout=1.0)
    nothing = kind.digital(6, 6)
    nothing.load_state_dict(
        {
            k.replace("l1", "l0"): v
            for k, v in none.logical_weights().items()
            if "l1" in k
        }
    )
    torch.testing.assert_close(
        none(x)[0], nothing(torch.zeros(5, 3, 6))[0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS, **ids)
def test_a_layer_has_two_grids_and_time_steps_draw_noise_of_their_own(
    kind: Any,
) -> None:
    torch.manual_seed(1)
    layer = kind(4, 6, bias=False, tile=spec(NOISY))
    tiles = list(analog_tiles(layer))
    rows = 6 * layer.gates
    assert [(t.tile.array.out_size, t.tile.array.in_size) for t in tiles] == [
        (rows, 4),
        (rows, 6),
    ]
    layer.set_logical_weights(
        {k: torch.zeros_like(v) for k, v in layer.logical_weights().items()}
    )
    before = [t.tile.array.calls for t in tiles]
    y, _ = layer(torch.ones(7, 2, 4))
    assert [t.tile.array.calls - n for t, n in zip(tiles, before, strict=True)] == [
        1,
        7,
    ]
    assert len(torch.unique(y[:, 0], dim=0)) == 7
    given = layer.ih_l0(torch.ones(7, 2, 4)).flatten(0, 1)
    assert len(torch.unique(given, dim=0)) == 14, (
        "equal inputs of different times or samples share their noise"
    )


REFUSED: dict[str, tuple[Any, str]] = {
    "features": (
        lambda m: m(torch.zeros(5, 3, 7)),
        r"AnalogLSTM takes x \[T, B, 4\] with T >= 1, not \[5, 3, 7\]",
    ),
    "no time": (lambda m: m(torch.zeros(0, 3, 4)), r"with T >= 1, not \[0, 3, 4\]"),
    "state": (
        lambda m: m(torch.zeros(5, 3, 4), (torch.zeros(1, 2, 6),) * 2),
        r"state \[1, 3, 6\], \[1, 3, 6\], not \[1",
    ),
    "packed": (
        lambda m: m(pack_sequence([torch.zeros(5, 3)])),
        r"takes packed sequences \[S, 4\], not \[5, 3\]",
    ),
    "sizes": (
        lambda m: type(m)(4, 0, tile=spec(PERFECT)),
        "hidden_size must be 1 at least, not 0",
    ),
    "dropout": (
        lambda m: type(m)(4, 6, dropout=1.5, tile=spec(PERFECT)),
        "dropout must be between 0 and 1, not 1.5",
    ),
    "projection": (
        lambda m: type(m)(4, 6, proj_size=6, tile=spec(PERFECT)),
        r"below hidden_size \(6\), not 6",
    ),
    "activation": (
        lambda m: AnalogRNN(4, 6, 1, "tan", tile=spec(PERFECT)),
        "one of tanh, relu, not 'tan'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(name: str) -> None:
    act, line = REFUSED[name]
    with pytest.raises((ValueError, TypeError), match=line) as caught:
        act(AnalogLSTM(4, 6, tile=spec(PERFECT)))
    assert "\n" not in str(caught.value)


DEVICE = {"model": "soft_bounds", "dw_min": 0.005}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd"},
    "tiki_taka": {"name": "tiki_taka", "transfer_every": 2, "fast": DEVICE},
}


def learner(algorithm: str) -> tuple[nn.Module, AnalogSGD]:
    """A layer that shall tell whether a sequence began with a positive number, and its
    optimizer."""
    torch.manual_seed(4)
    tile = TileSpec.from_config({"device": DEVICE, "algorithm": ALGORITHMS[algorithm]})
    model = AnalogGRU(1, 8, batch_first=True, tile=tile)
    return model, AnalogSGD(model.parameters(), lr=0.05)


def train(model: nn.Module, optimizer: AnalogSGD, steps: range) -> list[float]:
    """Losses of the steps."""
    losses = []
    for number in steps:
        x = torch.randn(16, 2, 1, generator=torch.Generator().manual_seed(number))
        loss = (model(x)[0][:, -1, 0] - 0.5 * x[:, 0, 0].sign()).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pulses_learn_over_time_and_continue_with_the_same_bits(algorithm: str) -> None:
    model, optimizer = learner(algorithm)
    losses = train(model, optimizer, range(120))
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20])
    again, rest = learner(algorithm)
    again.load_state_dict(model.state_dict())
    assert train(model, optimizer, range(120, 123)) == train(
        again, rest, range(120, 123)
    )


def test_long_sequences_are_one_pass_and_forgotten_steps_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.nn.analog.MAX_PENDING", 5)
    layer = AnalogGRU(4, 6, tile=spec(PERFECT))
    for _ in range(5):
        layer(torch.randn(12, 2, 4))[0].sum().backward()
    with pytest.raises(
        RuntimeError,
        match="5 backward passes without a step: analog tiles learn through",
    ):
        layer(torch.randn(12, 2, 4))[0].sum().backward()
    AnalogSGD(layer.parameters(), lr=0.1).step()
    layer(torch.randn(12, 2, 4))[0].sum().backward()
