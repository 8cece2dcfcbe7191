"""Networks of others on perfect tiles give what they gave before: torchvision's and torch's
transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from engine.nn import (
    AnalogLinear,
    AnalogMultiheadAttention,
    analog_tiles,
    convert_to_analog,
    convert_to_digital,
)
from tests.nn.layers import PERFECT, spec


def made(build: Any) -> nn.Module:
    """A network with statistics of its own in its normalisations, as after some training."""
    torch.manual_seed(1)
    network = build().eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2.0)
    return network


NETWORKS: dict[str, tuple[Any, int, tuple[int, ...]]] = {
    "resnet18": (lambda: models.resnet18(num_classes=10), 21, (2, 3, 32, 32)),
    "vgg11": (lambda: models.vgg11(num_classes=10).features, 8, (2, 3, 32, 32)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_vision(name: str) -> None:
    build, layers, shape = NETWORKS[name]
    network, x = made(build), torch.randn(shape)
    analog = convert_to_analog(
        network, spec(PERFECT, max_input_size=0, max_output_size=0)
    )
    assert len(list(analog_tiles(analog))) == layers
    with torch.no_grad():
        wanted = network(x)
        torch.testing.assert_close(analog(x), wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            convert_to_digital(analog)(x), wanted, rtol=1e-4, atol=1e-5
        )


def test_patterns_choose_layers_of_a_network() -> None:
    network = made(lambda: models.resnet18(num_classes=10))
    few = spec(PERFECT, max_input_size=256)
    rules = {"*": None, "layer1.*": spec(PERFECT), "layer1.1.conv2": few}
    analog: Any = convert_to_analog(network, spec(PERFECT), layers=rules, inplace=True)
    assert analog is network and type(network.fc) is nn.Linear
    assert len(list(analog_tiles(analog))) == 3 * 2 + 3, (
        "the last convolution is split into tiles of 192 inputs"
    )
    assert [t.tile.array.in_size for t in analog_tiles(analog.layer1[1].conv2)] == [
        192,
        192,
        192,
    ]


def encoder(**settings: Any) -> nn.TransformerEncoder:
    """Two layers; their normalisations and biases are no longer as they start."""
    torch.manual_seed(2)
    layer = nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, **settings)
    network = nn.TransformerEncoder(
        layer, 2, enable_nested_tensor=settings.get("batch_first", False)
    )
    for parameter in network.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, 0.5, 0.2)
    return network


HIDDEN = torch.tensor(
    [[False, False, False, False, True], [False, False, True, True, True]]
)
MASKS: dict[str, dict[str, Tensor]] = {
    "none": {},
    "padding": {"src_key_padding_mask": HIDDEN},
    "causal": {"mask": nn.Transformer.generate_square_subsequent_mask(5)},
    "both": {"src_key_padding_mask": HIDDEN, "mask": torch.ones(5, 5).triu(1).bool()},
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize(
    "settings", [{"batch_first": True}, {"norm_first": True}, {"bias": False}], ids=str
)
@pytest.mark.parametrize(
    "excluded",
    [(), ("*.self_attn",), ("*.linear*",)],
    ids=["all", "attention", "linear"],
)
def test_transformer_encoder(
    masks: str, settings: dict[str, Any], excluded: tuple[str, ...]
) -> None:
    network = encoder(**settings)
    analog: Any = convert_to_analog(network, spec(PERFECT), exclude=excluded)
    x = torch.randn(2, 5, 16) if settings.get("batch_first") else torch.randn(5, 2, 16)
    shown = (
        ~HIDDEN
        if "src_key_padding_mask" in MASKS[masks]
        else torch.ones(2, 5, dtype=torch.bool)
    )
    shown = shown if settings.get("batch_first") else shown.T
    for training in (True, False):
        network.train(training)
        analog.train(training)
        wanted, found = (made(x, **MASKS[masks])[shown] for made in (network, analog))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(
            analog(x, **MASKS[masks])[shown], wanted, rtol=1e-4, atol=1e-5
        )
        back = convert_to_digital(analog)
        torch.testing.assert_close(
            back(x, **MASKS[masks])[shown], wanted, rtol=1e-4, atol=1e-5
        )
    kinds = {type(m) for m in analog.modules()}
    assert (AnalogMultiheadAttention in kinds) == (excluded != ("*.self_attn",))
    assert (AnalogLinear in kinds) == (excluded != ("*.linear*",))


def test_attention_of_queries_to_something_else() -> None:
    torch.manual_seed(3)
    settings = {"kdim": 6, "vdim": 5, "add_bias_kv": True, "add_zero_attn": True}
    twin = nn.MultiheadAttention(8, 2, **settings)
    analog = convert_to_analog(twin, spec(PERFECT))
    given = torch.randn(3, 2, 8), torch.randn(4, 2, 6), torch.randn(4, 2, 5)
    for ask in ({}, {"need_weights": False}, {"average_attn_weights": False}):
        torch.testing.assert_close(
            analog(*given, **ask), twin(*given, **ask), rtol=1e-4, atol=1e-5
        )
    lone = tuple(part[:, 0] for part in given)
    torch.testing.assert_close(analog(*lone), twin(*lone), rtol=1e-4, atol=1e-5)
    back = convert_to_digital(analog)
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            back.state_dict().values(), twin.state_dict().values(), strict=True
        )
    )


def test_a_layer_alone_cannot_change_in_place() -> None:
    with pytest.raises(ValueError, match="a Linear alone cannot be converted in place"):
        convert_to_analog(nn.Linear(3, 2), spec(PERFECT), inplace=True)
