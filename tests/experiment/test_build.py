"""Models: their layouts, which layers are digital, and what is said of settings that do not
exist."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.experiment.build import build, layer_config
from engine.experiment.data import TEXT, Info
from engine.experiment.members import find_member, member_names
from engine.settings import UserError
from tests.experiment.helpers import analog_config, small_config

MNIST, CHARACTERS = Info((1, 28, 28), 10), Info((5,), 87, TEXT)
CPU = torch.device("cpu")
LAYOUTS = {
    "fcn": [(256, 784), (256,), (128, 256), (128,), (10, 128), (10,)],
    "lenet": [(16, 1, 5, 5), (16,), (32, 16, 5, 5), (32,), (128, 512), (128,), (10, 128), (10,)],
    "mlp": [(20, 784), (20,), (30, 20), (30,), (10, 30), (10,)],
    "resnet": [
        (16, 1, 3, 3), (16,), (16,),
        *[(16, 16, 3, 3), (16, 16, 3, 3), (16,), (16,), (16,), (16,)],
        *[(32, 16, 3, 3), (32, 32, 3, 3), (32,), (32,), (32,), (32,)],
        *[(64, 32, 3, 3), (64, 64, 3, 3), (64,), (64,), (64,), (64,)],
        (10, 64), (10,),
    ],
    "vgg8": [
        *[(48, 1, 3, 3), (48,), (48, 48, 3, 3), (48,), (48,), (48,)],
        *[(96, 48, 3, 3), (96,), (96, 96, 3, 3), (96,), (96,), (96,)],
        *[(144, 96, 3, 3), (144,), (144, 144, 3, 3), (144,), (144,), (144,)],
        (384, 1296), (384,), (10, 384), (10,),
    ],
}  # fmt: skip


def takes_text(name: str) -> bool:
    """Whether a model is one for texts."""
    return getattr(find_member("models", name), "TAKES", "") == TEXT


def test_every_model_is_looked_at() -> None:
    of_images = {name for name in member_names("models") if not takes_text(name)}
    assert of_images == {*LAYOUTS, "torchvision"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(tmp_path: Path, name: str) -> None:
    config = small_config(tmp_path)
    config["model"] = {"name": name, **({"hidden": [20, 30]} if name == "mlp" else {})}
    model, _ = build(config, MNIST, CPU)
    assert [tuple(p.shape) for p in model.parameters()] == LAYOUTS[name]
    output = model(torch.rand(3, 1, 28, 28))
    assert output.shape == (3, 10)
    assert torch.allclose(output.exp().sum(1), torch.ones(3), atol=1e-5)


def _sizes(model: str) -> list[str]:
    """The settings of a model that are numbers of units or layers."""
    settings = inspect.signature(find_member("models", model).build).parameters.values()
    return [s.name for s in settings if type(s.default) is int or s.default == (64,)]


@pytest.mark.parametrize("size", [0, -3])
@pytest.mark.parametrize(
    ("name", "key"),
    [(name, key) for name in member_names("models") for key in _sizes(name)],
)
def test_no_model_has_layers_of_nothing(
    tmp_path: Path, name: str, key: str, size: int
) -> None:
    config = small_config(tmp_path, loss={"name": "cross_entropy"})
    config["model"] = {"name": name, key: [size] if name == "mlp" else size}
    with pytest.raises(UserError, match=f"model {name}: .*{key}.* must be 1 at least"):
        build(config, CHARACTERS if takes_text(name) else MNIST, CPU)


def network_for_text(folder: Path, name: str) -> nn.Module:
    """A model for texts of 87 kinds of characters, which are read five at a time."""
    config = small_config(folder, loss={"name": "cross_entropy"})
    config["model"] = {"name": name, "hidden": 64}
    model, _ = build(config, CHARACTERS, CPU)
    return model


@pytest.mark.parametrize("name", [*filter(takes_text, member_names("models"))])
def test_networks_for_text_score_every_next_character(
    tmp_path: Path, name: str
) -> None:
    model = network_for_text(tmp_path, name)
    assert model(torch.randint(87, (3, 5))).shape == (3, 87, 5)


def test_the_lstm_of_one_matrix_is_that_of_two(tmp_path: Path) -> None:
    combined, apart = (
        network_for_text(tmp_path, name) for name in ("char_lstm_combined", "char_lstm")
    )
    for own, twin in zip(combined.layers, apart.layers, strict=True):
        own.matrix.weight.data = torch.cat([twin.weight_ih_l0, twin.weight_hh_l0], 1)
        own.matrix.bias.data = twin.bias_ih_l0 + twin.bias_hh_l0
    combined.scores.load_state_dict(apart.scores.state_dict())
    x = torch.randint(87, (3, 5))
    for _ in range(2):  # the second batch goes on from the state of the first
        torch.testing.assert_close(combined(x), apart(x), rtol=1e-4, atol=1e-5)


def test_layout_of_the_network_for_text(tmp_path: Path) -> None:
    model = network_for_text(tmp_path, "char_lstm")
    lstm = [(256, 64), (256,), (256,)]
    assert [tuple(p.shape) for p in model.parameters()] == [
        (256, 87),
        *lstm,
        (256, 64),
        *lstm,
        (87, 64),
        (87,),
    ]
    assert sum(p.numel() for p in model.parameters()) == 77_591 + 2 * 256, (
        "torch has two biases a gate"
    )
    assert model(torch.randint(87, (3, 5))).shape == (3, 87, 5)


def test_networks_of_torchvision_by_name(tmp_path: Path) -> None:
    from torchvision.models import squeezenet1_1

    config = small_config(tmp_path)
    config["model"] = {"name": "torchvision", "arch": "squeezenet1_1"}
    model, _ = build(config, MNIST, CPU)
    assert [p.shape for p in model.parameters()] == [
        p.shape for p in squeezenet1_1(num_classes=10).parameters()
    ]
    output = model.eval()(torch.rand(2, 1, 28, 28))
    torch.testing.assert_close(output.exp().sum(1), torch.ones(2))
    with pytest.raises(
        UserError, match=r"model\.arch: torchvision has no 'resnet19'; nearest: resnet1"
    ):
        build(
            {**config, "model": {"name": "torchvision", "arch": "resnet19"}}, MNIST, CPU
        )


def test_patterns_choose_the_layers_of_a_network(tmp_path: Path) -> None:
    config = analog_config(tmp_path)
    config["model"] = {"name": "torchvision", "arch": "squeezenet1_1"}
    config["layers"] = {
        "features.*": {"algorithm": "digital"},
        "features.3.*": {"algorithm": {"name": "sgd"}},
        "features.3.expand3x3": {"device": {"dw_min": 0.002}},
    }
    model, _ = build(config, MNIST, CPU)
    found = {
        name: tile
        for name, tile in model.named_modules()
        if type(tile).__name__ == "AnalogTile"
    }
    names = sorted({name.partition(".grid")[0] for name in found})
    assert names == [f"network.{name}" for name in ("classifier.1", *(f"features.3.{e}" for e in (
        "expand1x1", "expand3x3", "squeeze")))]  # fmt: skip
    steps = {
        name: tile.tile.spec.device.params["dw_min"] for name, tile in found.items()
    }
    assert [name for name, step in steps.items() if step == 0.002] == [
        "network.features.3.expand3x3.grid.tiles.0"
    ]
    with pytest.raises(UserError, match=r"has no layer 'feature\.\*'; nearest: "):
        build({**config, "layers": {"feature.*": {"algorithm": "digital"}}}, MNIST, CPU)


def test_what_cannot_be_converted_is_named_with_the_rule_that_helps(
    tmp_path: Path,
) -> None:
    config = analog_config(tmp_path)
    write_module = "from torch import nn\nNet = lambda: nn.Sequential(nn.Conv2d(1, 1, 3, padding_mode='circular'))\n"
    (tmp_path / "net.py").write_text(write_module)
    config["model"] = {"name": f"{tmp_path}/net.py:Net"}
    config["layers"] = {}
    line = r"Conv2d with padding_mode circular\).*leave them digital with layers: {0: {algorithm: digital}"
    with pytest.raises(UserError, match=line) as caught:
        build(config, MNIST, CPU)
    assert "\n" not in str(caught.value)


def test_models_and_datasets_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="model mlp takes images, dataset digits holds text"
    ):
        build(small_config(tmp_path), CHARACTERS, CPU)
    config = {**small_config(tmp_path), "model": {"name": "char_lstm"}}
    with pytest.raises(
        UserError, match="model char_lstm takes text, dataset digits holds images"
    ):
        build(config, MNIST, CPU)


@pytest.mark.parametrize("kind", ["datasets", "models"])
def test_every_member_says_what_it_is_and_has_its_functions(kind: str) -> None:
    functions = {"datasets": ("files", "load"), "models": ("build",)}[kind]
    for name in member_names(kind):
        member = find_member(kind, name)
        assert member.ABOUT.endswith(".") and isinstance(member.SOURCE, str), name
        assert all(callable(getattr(member, function)) for function in functions), name


def test_analog_layers_stand_where_the_configuration_wants_them(tmp_path: Path) -> None:
    model, optimizer = build(analog_config(tmp_path), MNIST, CPU)
    kinds = [type(layer).__name__ for layer in model.children()]
    assert kinds == ["Flatten", "AnalogLinear", "Sigmoid", "Linear", "LogSoftmax"]
    assert (
        type(model).__name__ == "AnalogSequential"
        and type(optimizer).__name__ == "AnalogSGD"
    )
    _, digital = build(small_config(tmp_path), MNIST, CPU)
    assert (
        type(digital).__name__ == "AnalogSGD"
        and digital.param_groups[0]["momentum"] == 0.5
    )


def test_analog_settings_that_are_wrong_name_the_layer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"layer fc1: dw_min must be > 0, not -1"):
        build(analog_config(tmp_path, device={"dw_min": -1.0}), MNIST, CPU)


def test_lenet_refuses_images_that_are_too_small(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="16 x 16 at least, not 8 x 8"):
        build(
            small_config(tmp_path) | {"model": {"name": "lenet"}},
            Info((1, 8, 8), 10),
            CPU,
        )


def test_output_follows_the_loss(tmp_path: Path) -> None:
    for loss, last in (
        ("nll", torch.nn.LogSoftmax),
        ("cross_entropy", torch.nn.Identity),
        ("mse", torch.nn.Identity),
    ):
        model, _ = build(small_config(tmp_path, loss={"name": loss}), MNIST, CPU)
        assert isinstance(list(model.children())[-1], last)


def test_weights_follow_the_seed(tmp_path: Path) -> None:
    weights = []
    for seed in (1, 1, 2):
        torch.rand(3)
        model, _ = build(small_config(tmp_path, run={"seed": seed}), MNIST, CPU)
        weights.append(next(model.parameters()).detach().clone())
    assert torch.equal(weights[0], weights[1]) and not torch.equal(
        weights[0], weights[2]
    )


def test_layer_settings_go_over_the_common_ones() -> None:
    config = {
        "device": {"model": "soft_bounds", "dw_min": 0.1},
        "algorithm": {"name": "sgd", "x": 1},
        "tile": {"forward": {"out_noise": 0.1, "inp_bound": 1.0}},
        "layers": {
            "fc1": {"device": {"dw_min": 0.2}, "tile": {"forward": {"out_noise": 0.0}}},
            "fc2": {
                "device": {"model": "constant_step", "w_max": 1.0},
                "algorithm": "digital",
            },
        },
    }
    assert layer_config(config, "fc1") == {
        "device": {"model": "soft_bounds", "dw_min": 0.2},
        "algorithm": {"name": "sgd", "x": 1},
        "tile": {"forward": {"out_noise": 0.0, "inp_bound": 1.0}},
    }
    second = layer_config(config, "fc2")
    assert second["device"] == {"model": "constant_step", "w_max": 1.0} and second[
        "algorithm"
    ] == {"name": "digital"}
    assert layer_config(config, "fc3")["device"] == config["device"]


@pytest.mark.parametrize(
    ("section", "values", "line"),
    [
        ("model", {"name": "mpl"}, "no model 'mpl'; nearest: mlp"),
        ("model", {"hiden": [3]}, "has no setting 'hiden'; nearest: hidden"),
        (
            "model",
            {"activation": "tan"},
            r"model\.activation: must be one of sigmoid, tanh, relu, not 'tan'",
        ),
        (
            "layers",
            {"fc22": {"algorithm": "digital"}},
            "has no layer 'fc22'; nearest: fc2",
        ),
        ("layers", {"fc2": {"devise": {}}}, r"layers\.fc2: no key 'devise'"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(
    tmp_path: Path, section: str, values: dict, line: str
) -> None:
    with pytest.raises(UserError, match=line) as caught:
        build(small_config(tmp_path, **{section: values}), MNIST, CPU)
    assert len(str(caught.value).splitlines()) == 1
