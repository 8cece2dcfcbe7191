"""Programming whole networks: what tiles compute with, what comes back, what a seed and a call
decide."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.inference import Converter, InferenceSpec, program, restore
from engine.inference.times import label, seconds
from engine.nn import AnalogConv2d, AnalogLinear, AnalogSequential
from engine.nn.analog import analog_tiles
from engine.optim import make_optimizer
from engine.settings import UserError
from engine.tile.settings import IO, AlgorithmSpec, DeviceSpec, Mapping, TileSpec
from engine.tile.tile import Tile

PERFECT = TileSpec(
    device=DeviceSpec("ideal"),
    forward=IO(is_perfect=True),
    mapping=Mapping(max_input_size=20),
)


def network(spec: TileSpec = PERFECT) -> AnalogSequential:
    torch.manual_seed(1)
    layers = [
        AnalogConv2d(2, 3, 3, tile=spec),
        nn.Flatten(),
        AnalogLinear(48, 5, tile=spec),
    ]
    return AnalogSequential(*layers).eval()


def pixels() -> Tensor:
    return torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(2))


def weights(net: nn.Module) -> list[Tensor]:
    return [tile.tile.weight.detach().clone() for tile in analog_tiles(net)]


def test_restore_puts_everything_back() -> None:
    net = network()
    before, output = weights(net), net(pixels())
    with program(net, InferenceSpec()) as programmed:
        assert len(programmed.tiles) == len(before) > 2
        assert not torch.equal(net(pixels()), output)
        programmed.drift_to("1d")
        assert all(float(f) > 1.2 for f in programmed.factors if f is not None)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(net), strict=True))
    assert torch.equal(net(pixels()), output)


def test_exact_conductances_change_nothing_but_rounding() -> None:
    net = network()
    output = net(pixels())
    for converter in (Converter(), Converter("single_device", g_max=9.0, g_min=1.0)):
        programmed = program(net, InferenceSpec("none", converter=converter))
        programmed.drift_to("1y")
        torch.testing.assert_close(net(pixels()), output, rtol=1e-4, atol=1e-5)
        programmed.restore()


def test_the_factor_multiplies_outputs_until_it_is_switched_off() -> None:
    net = network()
    programmed = program(net, InferenceSpec())
    programmed.drift_to("1y")
    tile = programmed.tiles[0].tile
    x = torch.eye(tile.array.in_size)
    with_it = tile.mvm(x)
    programmed.compensate(False)
    plain = tile.mvm(x)
    assert programmed.factors[0] is not None
    assert torch.equal(with_it, plain * programmed.factors[0])
    assert torch.equal(plain, tile.weight.T)
    programmed.compensate()
    assert torch.equal(tile.mvm(x), with_it)
    assert float(with_it.abs().mean()) == pytest.approx(
        float(programmed.tiles[0].baseline or 0), rel=1e-5
    )


def test_compensations() -> None:
    def factors(kind: str) -> Tensor | None:
        tile = Tile(6, 40, PERFECT, seed=3)
        tile.array.set_weights(torch.linspace(-1, 1, 240).view(6, 40))
        programmed = program([tile], InferenceSpec(compensation=kind))
        programmed.drift_to("1d")
        return programmed.factors[0]

    common, exact, columns = (
        factors(kind) for kind in ("global", "exact_reference", "per_column")
    )
    assert common is not None and exact is not None and columns is not None
    assert common.shape == exact.shape == (1,)
    assert columns.shape == (6,)
    assert 0 < abs(float(common) - float(exact)) < 0.05
    assert 0.005 < float(columns.std()) < 0.2
    assert factors("none") is None


def test_lanes_draw_like_single_tiles_with_their_seeds() -> None:
    w = torch.linspace(-1, 1, 3 * 40).view(3, 40)

    def run(lanes: int, seed: int) -> tuple[Tensor, Tensor]:
        tile = Tile(3, 40, PERFECT, seed=seed, lanes=lanes)
        tile.array.set_weights(w)
        programmed = program([tile], InferenceSpec())
        programmed.drift_to(100)
        assert programmed.factors[0] is not None
        return tile.weight.detach(), programmed.factors[0].view(-1)

    both, factors = run(2, 7)
    for lane in range(2):
        alone, factor = run(1, 7 + lane)
        assert torch.equal(both[lane], alone)
        assert torch.equal(factors[lane : lane + 1], factor)


def test_noise_depends_on_seed_and_call_alone() -> None:
    def drifted(seed: int, times: tuple[Any, ...], threads: int = 1) -> list[Tensor]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            net = network()
            programmed = program(net, InferenceSpec(), seed=seed)
            for time in times:
                programmed.drift_to(time)
            return weights(net)
        finally:
            torch.set_num_threads(before)

    def same(a: list[Tensor], b: list[Tensor]) -> bool:
        return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))

    once = drifted(1, (3600,))
    assert same(once, drifted(1, ("1h",), threads=3))
    assert not same(once, drifted(2, (3600,)))
    assert not same(once, drifted(1, (3600, 3600)))  # read anew
    first, *others = once
    assert not any(
        torch.equal(first.flatten()[:10], other.flatten()[:10]) for other in others
    )


def test_a_low_rank_layer_is_programmed_with_all_its_arrays() -> None:
    algorithm = AlgorithmSpec("lrtt", {"rank": 2})
    layer = AnalogLinear(8, 6, tile=TileSpec(algorithm=algorithm), seed=1)
    assert len(program(layer, InferenceSpec()).tiles) == 3


def test_hardware_aware_weights_are_programmed() -> None:
    spec = TileSpec(
        DeviceSpec("ideal"), AlgorithmSpec("hwa"), forward=IO(is_perfect=True)
    )
    layer = AnalogLinear(8, 6, tile=spec, seed=1).eval()
    x = torch.ones(1, 8)
    before = layer(x)
    with program(layer, InferenceSpec()) as programmed:
        programmed.drift_to("1h")
        assert not torch.allclose(layer(x), before, rtol=1e-3)
    assert torch.equal(layer(x), before)


WRONG_SETTINGS: list[tuple[Any, str]] = [
    (lambda: InferenceSpec("pmc"), "nearest: pcm"),
    (lambda: InferenceSpec(noise={"t_00": 1.0}), "nearest: t_0"),
    (lambda: InferenceSpec(noise={"prog_coeff": [0.1] * 9}), "at most 8"),
    (
        lambda: InferenceSpec("reram_wan2022", noise={"coeff_times": [2.0, 1.0]}),
        "rise",
    ),
    (
        lambda: InferenceSpec("custom_drift", noise={"nu_g": [0.0, 1.0, 2.0]}),
        "same number",
    ),
    (
        lambda: InferenceSpec(converter=Converter(g_min=30.0)),
        "g_max must be above g_min",
    ),
    (
        lambda: InferenceSpec(converter=Converter("dual_pair", significance=[1.0])),
        "2 numbers",
    ),
    (
        lambda: InferenceSpec(converter=Converter("n_pair", significance=[1.0, -1.0])),
        "> 0",
    ),
    (
        lambda: InferenceSpec(
            converter=Converter("custom_pair", significance=[1.0], tables=[[0.0]])
        ),
        "2 lists",
    ),
    (
        lambda: InferenceSpec.from_config({"converter": {"g_max": 0}}),
        "converter.g_max must be > 0",
    ),
    (
        lambda: InferenceSpec.from_config({"compensation": "glbal"}),
        "nearest: global",
    ),
    (lambda: InferenceSpec(times=[]), "must be a list"),
]


@pytest.mark.parametrize(
    "wrong, message", WRONG_SETTINGS, ids=[m for _, m in WRONG_SETTINGS]
)
def test_wrong_settings_are_refused_in_one_line(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_one_line_for_what_cannot_be() -> None:
    net = network()
    programmed = program(net, InferenceSpec())
    cases: list[tuple[Any, str]] = [
        (lambda: programmed.drift_to(-1), "must not be negative"),
        (lambda: programmed.drift_to("3 lightyears"), "unknown unit 'lightyears'"),
        (lambda: program(nn.Linear(2, 2), InferenceSpec()), "no analog tiles"),
    ]
    for wrong, message in cases:
        with pytest.raises(ValueError, match=message) as caught:
            wrong()
        assert "\n" not in str(caught.value)
    broken = network()
    *_, last = analog_tiles(broken)
    last.tile.weight.data[0, 0] = float("nan")
    before = weights(broken)
    with pytest.raises(UserError, match="not finite"):
        program(broken, InferenceSpec())
    for left, was in zip(weights(broken), before, strict=True):
        assert torch.equal(left.nan_to_num(), was.nan_to_num()), (
            "a part stays programmed"
        )


def test_programming_twice_is_refused_until_the_weights_are_restored() -> None:
    net = network()
    before = weights(net)
    first = program(net, InferenceSpec(), seed=1)
    with pytest.raises(UserError, match="programmed already"):
        program(net, InferenceSpec(), seed=2)
    restore(copy.deepcopy(net))
    assert not torch.equal(weights(net)[0], before[0]), "a copy is another network"
    restore(net)
    assert all(torch.equal(a, b) for a, b in zip(weights(net), before, strict=True))
    second = program(net, InferenceSpec(), seed=2)
    for late in (lambda: first.drift_to("1h"), first.restore):
        with pytest.raises(UserError, match="restored, or programmed anew"):
            late()
    second.drift_to("1h")
    second.restore()
    second.restore()
    with pytest.raises(UserError, match="restored"):
        second.drift_to("1d")
    assert all(torch.equal(a, b) for a, b in zip(weights(net), before, strict=True))


def test_a_copy_of_a_programmed_network_can_be_restored() -> None:
    net = network()
    before = weights(net)
    program(net, InferenceSpec(), seed=1)
    for made in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert not torch.equal(weights(made)[0], before[0])
        restore(made)
        assert all(
            torch.equal(a, b) for a, b in zip(weights(made), before, strict=True)
        )


@pytest.mark.parametrize("algorithm", ["sgd", "hwa"])
def test_programmed_tiles_do_not_learn(algorithm: str) -> None:
    device = "ideal" if algorithm == "hwa" else "constant_step"
    spec = TileSpec(DeviceSpec(device), AlgorithmSpec(algorithm))
    layer = AnalogLinear(8, 6, tile=spec, seed=1)
    optimizer = make_optimizer(layer, {"name": "analog_sgd", "lr": 0.1})
    with program(layer, InferenceSpec()):
        layer(torch.ones(2, 8)).sum().backward()
        with pytest.raises(UserError, match="programmed"):
            optimizer.step()


def test_tables_must_give_weights_back() -> None:
    tables = [[0.0, 5.0, 15.0], [15.0, 5.0, 0.0]]
    with pytest.raises(UserError, match="do not give the weight back"):
        InferenceSpec(
            converter=Converter(
                "custom_pair", significance=[1.0], tables=[[0, 1, 15], [15, 5, 0]]
            )
        )
    InferenceSpec(converter=Converter("custom_pair", significance=[1.0], tables=tables))


@pytest.mark.parametrize(
    ("text", "number"),
    [("1s", 1), ("2 min", 120), ("1h", 3600), ("1.5d", 129600), ("1y", 31536000), ("0", 0), (20, 20),
     ("2 days", 172800), ("1month", 2628000), ("1e3s", 1000)],
)  # fmt: skip
def test_times(text: Any, number: float) -> None:
    assert seconds(text) == number
    assert seconds(label(number)) == pytest.approx(number, rel=1e-3)


def test_a_noise_model_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from engine.devices.base import Param\nfrom engine.inference.base import NoiseModel\n"
        "Mine = NoiseModel('mine', 'halves', 'G / 2', {'share': Param(0.5)}, program='g = p.share * g;')\n"
    )
    tile = Tile(2, 3, PERFECT)
    tile.array.set_weights(torch.tensor([[0.1, -0.2, 0.4], [0.0, 0.8, -0.8]]))
    before = tile.weight.detach().clone()
    program([tile], InferenceSpec(f"{file}:Mine", noise={"share": 0.25}))
    torch.testing.assert_close(tile.weight.detach(), before / 4)
    with pytest.raises(ValueError, match="it has Mine"):
        InferenceSpec(f"{file}:Yours")
