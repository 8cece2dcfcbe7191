"""Networks that something else has changed, before they are put on tiles; and their tables."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import (
    parametrizations,
    prune,
    remove_spectral_norm,
    remove_weight_norm,
    spectral_norm,
    weight_norm,
)
from torch.nn.utils.parametrize import remove_parametrizations

from engine.experiment.data import Info
from engine.experiment.models import torchvision
from engine.nn import (
    AnalogLinear,
    Unconvertible,
    analog_summary,
    convert_to_analog,
    convert_to_digital,
)
from engine.presets import preset
from engine.settings import UserError
from engine.tile.settings import AlgorithmSpec, TileSpec
from tests.nn.layers import EXAMPLES, LAYERS, PERFECT, batch, call, spec

CHANGES: dict[str, tuple[Callable[[nn.Module], Any], Callable[[nn.Module], Any], str]] = {
    "pruned": (lambda m: prune.l1_unstructured(m, "weight", 0.5), lambda m: prune.remove(m, "weight"),
               "weight_orig"),
    "pruned bias": (lambda m: prune.l1_unstructured(m, "bias", 0.5), lambda m: prune.remove(m, "bias"),
                    "bias_orig"),
    "weight-normed": (weight_norm, remove_weight_norm, "weight_g, weight_v"),
    "spectral-normed": (spectral_norm, remove_spectral_norm, "weight_orig"),
    "parametrized": (parametrizations.weight_norm, lambda m: remove_parametrizations(m, "weight"),
                     "remove_parametrizations"),
    "orthogonal": (parametrizations.orthogonal, lambda m: remove_parametrizations(m, "weight"),
                   "remove_parametrizations"),
}  # fmt: skip


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(48, 4)).eval()


def reason(module: nn.Module) -> str:
    """The line that says why a network cannot be converted; it must name the layer 2."""
    with pytest.raises(Unconvertible) as caught:
        convert_to_analog(module, spec(PERFECT))
    assert caught.value.layers == ["2"] and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", CHANGES)
def test_computed_weights_are_refused_until_they_are_plain(name: str) -> None:
    change, undo, hint = CHANGES[name]
    net = network()
    change(net[2])
    assert hint in reason(net)
    x = torch.randn(2, 2, 6, 6)
    wanted = net(x)
    kept = convert_to_analog(net, spec(PERFECT), exclude=["2"], inplace=True)
    torch.testing.assert_close(kept(x), wanted, rtol=1e-4, atol=1e-5)
    undo(net[2])
    analog = convert_to_analog(net, spec(PERFECT))
    torch.testing.assert_close(analog(x), wanted, rtol=1e-4, atol=1e-5)


def weight_of_another_kind(change: Callable[[Tensor], Tensor]) -> nn.Module:
    net = network()
    net[2].weight = nn.Parameter(change(net[2].weight.detach()), requires_grad=False)
    return net


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda w: w.to_sparse(), "not sparse: take its to_dense"),
        (
            lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8),
            "quantized: take its dequan",
        ),
        (lambda w: w * 1j, "complex"),
        (lambda w: w.to("meta"), "meta"),
        (lambda w: w / 0, "not finite"),
        (lambda w: w.double() * 1e42, "not finite in float32"),
    ],
)
def test_weights_of_another_kind_are_refused(
    change: Callable[[Tensor], Tensor], kind: str
) -> None:
    net = weight_of_another_kind(change)
    assert kind in reason(net)


def test_quantized_layers_are_refused() -> None:
    net = torch.ao.quantization.quantize_dynamic(
        network(), {nn.Linear}, dtype=torch.qint8
    )
    assert "a quantized Linear: convert the network before" in reason(net)


class Transposed(nn.Module):
    """A fully connected layer of another library, which keeps its matrix the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(48, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def test_matrices_of_unknown_layers_are_not_left_digital_in_silence() -> None:
    net = network()
    net[2] = Transposed()
    assert "2 (Transposed)" in reason(net)
    assert convert_to_analog(net, spec(PERFECT), exclude=["2"])(
        torch.rand(1, 2, 6, 6)
    ).shape == (
        1,
        4,
    )
    convert_to_analog(
        nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm((3, 4)), nn.PReLU()),
        spec(PERFECT),
    )


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str
)
def test_the_type_of_a_network_stays(kind: Any, dtype: torch.dtype) -> None:
    net = nn.Sequential(kind.digital(**EXAMPLES[kind].settings)).to(dtype)
    analog = convert_to_analog(net, spec(PERFECT))
    back = convert_to_digital(analog)
    assert {p.dtype for p in back.parameters()} == {dtype}
    wanted, found = dict(net.named_parameters()), dict(back.named_parameters())
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-7)
    x = batch(kind).to(dtype)
    assert call(analog[0], x).dtype is dtype
    assert {p.dtype for p in convert_to_digital(analog.float()).parameters()} == {
        torch.float32
    }


def test_hooks_move_along() -> None:
    net, seen = network(), list[str]()
    net[2].register_forward_hook(lambda *_: seen.append("after"))
    net[2].register_forward_pre_hook(lambda *_: seen.append("before"))
    net[2].register_full_backward_hook(lambda *_: seen.append("back"))
    analog = convert_to_analog(net, spec(PERFECT))
    for module in (analog, convert_to_digital(analog)):
        seen.clear()
        module(torch.rand(1, 2, 6, 6, requires_grad=True)).sum().backward()
        assert seen == ["before", "after", "back"]


def test_a_refused_network_is_left_as_it_was() -> None:
    net = network()
    before = copy.deepcopy(net.state_dict())
    prune.l1_unstructured(net[2], "weight", 0.5)
    with pytest.raises(Unconvertible):
        convert_to_analog(net, spec(PERFECT), inplace=True)
    assert type(net[0]) is nn.Conv2d and torch.equal(net[0].weight, before["0.weight"])
    with pytest.raises(ValueError, match=r"cannot be copied .* take inplace=True"):
        convert_to_analog(net, spec(PERFECT), exclude=["2"])


# Tables.


class Root(nn.Module):
    """A network with a parameter of its own, and one that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(4))
        self.first, self.second = nn.Embedding(5, 4), nn.Embedding(5, 4)
        self.second.weight = self.first.weight
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(self.first(x.long()) + self.second(x.long()) + self.token))


def test_everything_is_counted_once() -> None:
    model = convert_to_analog(Root(), preset("idealized"))
    found = analog_summary(model, torch.zeros(1, 3))
    rows = {row.layer: row for row in found.rows}
    assert list(rows) == ["module", "first", "second", "a", "b"]
    assert [row.digital for row in rows.values()] == [4, 20, 0, 4, 2]
    assert [row.cells for row in rows.values()] == [0, 0, 0, 16, 8]
    assert [row.tiles for row in rows.values()] == [0, 0, 0, 1, 1]
    assert rows["a"].reads == rows["b"].reads == 3
    assert found.totals["parameters"] == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("tile", [
    preset("tiki_taka_ecram"), preset("ecram2"), preset("pcm"), preset("agad_ecram"),
    TileSpec(algorithm=AlgorithmSpec("lrtt", {"rank": 2})),
])  # fmt: skip
def test_cells_of_further_arrays_are_no_digital_parameters(tile: TileSpec) -> None:
    totals = analog_summary(AnalogLinear(4, 3, tile=tile), (1, 4)).totals
    assert (totals["cells"], totals["digital"]) == (12, 3)


def test_an_example_has_the_type_of_the_network() -> None:
    net = nn.Sequential(
        nn.Linear(4, 4).bfloat16(), AnalogLinear(4, 2, tile=spec(PERFECT))
    )
    assert analog_summary(net, (1, 4)).rows[1].output == "2"


def test_inputs_that_do_not_fit_are_one_line() -> None:
    class Takes(nn.Module):
        """As a layer that takes the weights out of another one."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = AnalogLinear(4, 2, tile=spec(PERFECT))

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x, self.inner.weight)

    taking = nn.Sequential(Takes())
    for net, shape, message in (
        (network(), (1, 2, 8, 8), "mat1 and mat2"),
        (taking, (1, 4), "keep these digital with exclude"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            analog_summary(net, shape)
        assert "\n" not in str(caught.value)


class Plain:
    """Leaves a network as it is."""

    def convert(self, net: nn.Module) -> nn.Module:
        return net

    def output(self) -> nn.Module:
        return nn.Identity()


def built(arch: str, size: int) -> nn.Module:
    info = Info(shape=(3, size, size), classes=10)
    return torchvision.build(Plain(), info, arch=arch)


def test_networks_of_torchvision_say_what_images_they_take() -> None:
    for arch, size, message in (
        ("alexnet", 8, "model.arch: alexnet does not take images of 8 x 8"),
        (
            "vit_b_16",
            20,
            "model.arch: vit_b_16 does not take images of 20 x 20: .*patch",
        ),
        ("squeezenet1_1", 8, "Output size is too small"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            built(arch, size)
        assert "\n" not in str(caught.value)
    assert built("squeezenet1_1", 32).training
