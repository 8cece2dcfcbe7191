"""Networks to tiles and back: weights, rules, names, and what is refused."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.nn import (
    AnalogConv2d,
    AnalogLinear,
    AnalogTile,
    analog_tiles,
    convert_to_analog,
    convert_to_digital,
    exchange_settings,
    named_analog_layers,
)
from engine.optim import AnalogSGD
from engine.presets import preset
from tests.nn.layers import EXAMPLES, LAYERS, NOISY, PERFECT, spec


class Net(nn.Module):
    """Two convolutions in a block, then two layers, of which one is used twice."""

    def __init__(self) -> None:
        super().__init__()
        first, second = (
            nn.Conv2d(1, 4, 3, padding="same"),
            nn.Conv2d(4, 4, 3, stride=2, bias=False),
        )
        self.block = nn.Sequential(first, nn.ReLU(), second)
        self.fc1 = nn.Linear(36, 36)
        self.fc2 = nn.Linear(36, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.block(x).flatten(1)
        return self.fc2(self.fc1(torch.relu(self.fc1(h))))


def net() -> Net:
    torch.manual_seed(1)
    return Net()


def test_a_network_keeps_its_function_there_and_back() -> None:
    original, x = net().eval(), torch.randn(3, 1, 8, 8)
    analog = convert_to_analog(original, spec(PERFECT))
    assert isinstance(original.fc1, nn.Linear) and isinstance(analog.fc1, AnalogLinear)
    assert len(list(analog_tiles(analog))) == 4 and not any(
        m.training for m in analog.modules()
    )
    torch.testing.assert_close(analog(x), original(x), rtol=1e-4, atol=1e-5)
    back = convert_to_digital(analog)
    assert not list(analog_tiles(back)) and isinstance(analog.fc1, AnalogLinear)
    torch.testing.assert_close(back(x), original(x), rtol=1e-4, atol=1e-5)
    assert [tuple(p.shape) for p in back.parameters()] == [
        tuple(p.shape) for p in original.parameters()
    ]


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("bias", [True, False])
def test_every_layer_alone(kind: type[Any], bias: bool) -> None:
    digital = kind.digital(**EXAMPLES[kind].settings, bias=bias)
    analog = convert_to_analog(digital, spec(PERFECT, max_input_size=5))
    assert type(analog) is kind
    back = convert_to_digital(analog)
    assert type(back) is kind.digital and repr(back) == repr(digital)
    assert all(
        torch.equal(a, b)
        for a, b in zip(back.parameters(), digital.parameters(), strict=True)
    )
    assert any("bias" in name for name, _ in back.named_parameters()) == bias


def test_rules_of_layers_and_exclusions() -> None:
    noisy = spec(NOISY)
    analog = convert_to_analog(
        net(), spec(PERFECT), layers={"fc*": None, "fc2": noisy}, exclude=["block.0"]
    )
    assert type(analog.fc1) is nn.Linear and type(analog.block[0]) is nn.Conv2d
    assert type(analog.block[2]) is AnalogConv2d
    assert next(analog_tiles(analog.fc2)).tile.spec == noisy
    assert next(analog_tiles(analog.block)).tile.spec == spec(PERFECT)
    untouched = convert_to_analog(net(), noisy, exclude=["block"]).block
    assert [type(m) for m in untouched] == [nn.Conv2d, nn.ReLU, nn.Conv2d]


def test_a_function_may_choose() -> None:
    asked: dict[str, str] = {}

    def choose(name: str, layer: nn.Module) -> Any:
        asked[name] = type(layer).__name__
        return spec(PERFECT) if name == "fc1" else None

    analog = convert_to_analog(net(), choose)
    assert asked == {
        "block.0": "Conv2d",
        "block.2": "Conv2d",
        "fc1": "Linear",
        "fc2": "Linear",
    }
    assert [
        name for name, m in analog.named_modules() if isinstance(m, AnalogTile)
    ] == ["fc1.grid.tiles.0"]


def test_a_shared_layer_stays_shared_and_a_frozen_one_frozen() -> None:
    model = net()
    model.again = model.fc1  # type: ignore[assignment]
    model.fc2.requires_grad_(False)
    analog = convert_to_analog(model, spec(PERFECT))
    assert analog.again is analog.fc1
    assert not any(p.requires_grad for p in analog.fc2.parameters())
    assert all(p.requires_grad for p in analog.fc1.parameters())


class Tied(nn.Module):
    """An output layer that shares the weights of an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(5, 3), nn.Linear(3, 5)
        self.out.weight = self.embed.weight


REFUSED = {
    "padding": (
        nn.Sequential(nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular")),
        r"0 \(Conv1d with padding_mode circular\).*exclude=\['0'\]",
    ),
    "one side": (
        nn.Sequential(nn.Conv1d(4, 4, 2, padding="same")),
        "differs between the two sides",
    ),
    "types": (
        nn.ModuleDict({"a": nn.LSTMCell(3, 4), "b": nn.ConvTranspose2d(1, 1, 2)}),
        r"a \(LSTMCell\), b \(ConvT",
    ),
    "inside": (
        nn.Sequential(nn.Sequential(nn.Bilinear(2, 2, 2))),
        r"0\.0 \(Bilinear\); leave them digital with",
    ),
    "tied": (Tied(), r"out \(Linear whose weights another layer shares\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_tiles_cannot_hold_is_named_in_one_line(name: str) -> None:
    module, line = REFUSED[name]
    with pytest.raises(ValueError, match=line) as caught:
        convert_to_analog(module, spec(PERFECT))
    assert "\n" not in str(caught.value)
    assert not list(analog_tiles(module))


def test_excluded_layers_may_be_anything() -> None:
    model = nn.ModuleDict({"cell": nn.LSTMCell(3, 4), "fc": nn.Linear(4, 2)})
    analog = convert_to_analog(model, spec(PERFECT), exclude=["cell"])
    assert type(analog["cell"]) is nn.LSTMCell and type(analog["fc"]) is AnalogLinear


def test_a_name_that_is_no_layer_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="no layer is called 'fc11'; nearest: fc1"):
        convert_to_analog(net(), spec(PERFECT), layers={"fc11": None})
    with pytest.raises(ValueError, match="no layer is called 'blok'; nearest: block"):
        convert_to_analog(net(), spec(PERFECT), exclude=["blok"])


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"groups": 3},
            "groups must divide in_channels and out_channels, not 3 for 4 and 2",
        ),
        ({"groups": 0}, "not 0 for 4 and 2"),
        (
            {"kernel_size": (3, 3, 3)},
            r"kernel_size must be 2 whole numbers >= 1, not \(3, 3, 3\)",
        ),
        ({"stride": 0}, "stride must be 2 whole numbers >= 1, not 0"),
        ({"padding": "same"}, "padding must be 2 whole numbers >= 0, not 'same'"),
    ],
)
def test_wrong_arguments_of_a_convolution(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        AnalogConv2d(
            **{"in_channels": 4, "out_channels": 2, "kernel_size": 3, **settings},
            tile=spec(PERFECT),
        )


def test_a_depthwise_convolution_has_a_matrix_for_each_channel() -> None:
    torch.manual_seed(1)
    twin = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, groups=3), nn.ReLU(), nn.Conv2d(6, 2, 1)
    )
    analog = convert_to_analog(twin, spec(PERFECT))
    assert [tuple(tile.get_weights().shape) for tile in analog_tiles(analog[0])] == [
        (2, 9)
    ] * 3
    x = torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(analog(x), twin(x))
    back = convert_to_digital(analog)
    assert back[0].groups == 3
    torch.testing.assert_close(back.state_dict(), twin.state_dict())


def test_torchs_order_of_arguments() -> None:
    torch.manual_seed(1)
    own, twin = (
        AnalogConv2d(2, 4, 3, 2, 1, 1, 1, False, tile=spec(PERFECT)),
        nn.Conv2d(2, 4, 3, 2, 1, 1, 1, False),
    )
    assert convert_to_digital(own).extra_repr() == twin.extra_repr()


def evaluate(layer: nn.Module, x: Tensor, answers: Any) -> None:
    """What a worker process does with a module that it was sent."""
    answers.put(layer.eval()(x).detach().numpy())


def test_a_module_reaches_a_spawned_process() -> None:
    context = multiprocessing.get_context("spawn")
    analog, x = convert_to_analog(nn.Linear(6, 3), spec(NOISY)), torch.randn(4, 6)
    answers = context.Queue()
    process = context.Process(target=evaluate, args=(analog, x, answers))
    process.start()
    answer = torch.from_numpy(answers.get(timeout=120))
    process.join()
    assert torch.equal(answer, analog.eval()(x))


def small_network(tile: Any = "ecram") -> nn.Module:
    torch.manual_seed(1)
    parts = [nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Linear(4, 2)]
    return convert_to_analog(nn.Sequential(*parts), tile, layers={"3": None})


def step(model: nn.Module) -> None:
    optimizer = AnalogSGD(model.parameters(), lr=0.1)
    model(torch.linspace(-1, 1, 12).view(2, 6)).square().sum().backward()
    optimizer.step()


def cells(model: nn.Module) -> list[Tensor]:
    return [tile.tile.array.cells.clone() for tile in analog_tiles(model)]


def test_layers_by_name() -> None:
    model = small_network()
    assert [name for name, _ in named_analog_layers(model)] == ["0", "2"]
    assert all(isinstance(part, AnalogLinear) for _, part in named_analog_layers(model))


def test_another_periphery_keeps_every_cell() -> None:
    model = small_network()
    step(model)
    quiet = preset("ecram", forward={"is_perfect": True})
    other = exchange_settings(model, quiet)
    assert all(map(torch.equal, cells(model), cells(other)))
    x = torch.linspace(-1, 1, 12).view(2, 6)
    weights = model[0].get_weights()
    torch.testing.assert_close(other[0](x), nn.functional.linear(x, *weights))
    assert type(other[3]) is nn.Linear, "what was digital stays digital"
    assert all(
        tile.tile.spec.forward.is_perfect for tile in analog_tiles(other)
    ) and not any(tile.tile.spec.forward.is_perfect for tile in analog_tiles(model))
    step(other)  # the copy learns by itself
    assert torch.equal(model[0].get_weights()[0], weights[0])


def test_another_device_gets_the_weights_on_new_cells() -> None:
    model = small_network()
    other = exchange_settings(model, "idealized", layers={"2": "ecram"})
    names = [tile.tile.spec.device.model for tile in analog_tiles(other)]
    kept = [tile.tile.spec.device.model for tile in analog_tiles(model)]
    assert names[0] == preset("idealized").device.model and names[1] == kept[1]
    assert not torch.equal(cells(model)[0], cells(other)[0])
    assert torch.equal(cells(model)[1], cells(other)[1])
    for ours, theirs in zip(model[:3:2], other[:3:2], strict=True):
        torch.testing.assert_close(
            ours.get_weights(), theirs.get_weights(), rtol=0, atol=0.02
        )


class Transposed(nn.Module):
    """A layer of the user's own: its weight is [inputs, outputs]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(inputs, outputs) / inputs)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix


def on_tiles(layer: nn.Module, tile: Any) -> nn.Module:
    made = AnalogLinear(*layer.matrix.shape, bias=False, tile=tile)
    made.set_weights(layer.matrix.detach().T)
    return made


def test_a_class_of_ones_own_is_converted_by_ones_own_function() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(Transposed(6, 5), nn.ReLU(), nn.Linear(5, 2)).eval()
    calls: list[str] = []
    model[0].register_forward_hook(lambda *_: calls.append("called"))
    perfect = preset("idealized", forward={"is_perfect": True})
    analog = convert_to_analog(model, perfect, classes={Transposed: on_tiles})
    assert [name for name, _ in named_analog_layers(analog)] == ["0", "2"]
    x = torch.rand(3, 6)
    torch.testing.assert_close(analog(x), model(x), rtol=0, atol=0.02)
    assert calls == ["called"] * 2 and not analog[0].training
    digital = convert_to_analog(
        model, perfect, classes={Transposed: on_tiles}, layers={"0": None}
    )
    assert type(digital[0]) is Transposed


def test_a_function_that_makes_no_layer_is_refused() -> None:
    model = nn.Sequential(Transposed(6, 5))
    with pytest.raises(
        ValueError, match=r"layer 0: classes\[Transposed\] returned str"
    ):
        convert_to_analog(model, "ecram", classes={Transposed: lambda *_: "tiles"})  # type: ignore[dict-item, return-value]
