"""Physics is float32, whatever torch's default type is: equal bits of all that tiles can do."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import linalg
from engine.algorithms import algorithm_names
from engine.experiment.data import load_data
from engine.inference import Converter, InferenceSpec, program
from engine.inference.settings import Wires
from engine.nn import (
    AnalogLayer,
    AnalogLinear,
    Calibration,
    analog_summary,
    analog_tiles,
    calibrate,
    convert_to_analog,
    convert_to_digital,
)
from engine.optim import make_optimizer
from engine.presets import inference, preset
from engine.settings import ROOT
from engine.tile.settings import TileSpec
from tests.nn.layers import LAYERS, NOISY, batch, call, make, weights
from tests.nn.test_layers_hwa import NOISY as NOISY_HWA

DTYPES = (torch.float64, torch.float16, torch.bfloat16)
# Functions of torch whose result has the default type unless another one is named.
FACTORIES = {
    "arange", "as_tensor", "asarray", "empty", "empty_strided", "eye", "full", "linspace", "logspace",
    "normal", "ones", "rand", "randn", "range", "scalar_tensor", "tensor", "zeros",
}  # fmt: skip
RANK = {"lrtt": {"rank": 2}}
ALGORITHMS = [name for name in algorithm_names() if name not in ("digital", "hwa")]
READS: dict[str, dict[str, Any]] = {
    "asymmetry": {"w_read_asymmetry_dtod": 0.1, "mv_type": "PosNegSeparate"},
    "average": {"noise_management": "AverageAbsMax"},
    "bitwise": {
        "mv_type": "BitWise",
        "bound_management": "None",
        "noise_management": "None",
    },
    "iterative": {"out_bound": 0.5, "bound_management": "Iterative"},
    "noise of weights": {"w_noise_type": "AdditiveConstant", "w_noise": 0.05},
    "spreads": {"out_nonlinearity": 0.1, "out_nonlinearity_std": 0.1},
    "split": {
        "mv_type": "SplitMode",
        "bound_management": "None",
        "noise_management": "None",
    },
    "voltage drop": {"ir_drop": 1.0},
}


@pytest.fixture(autouse=True)
def _float32_again() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


def same_for_all(work: Callable[[], list[Tensor]]) -> None:
    """The same bits, in the same types, under every default type."""
    torch.manual_seed(1)
    wanted = work()
    assert all(t.isfinite().all() for t in wanted if t.is_floating_point())
    for kind in DTYPES:
        torch.set_default_dtype(kind)
        torch.manual_seed(1)
        for number, (found, right) in enumerate(zip(work(), wanted, strict=True)):
            assert found.dtype is right.dtype, f"{kind}, value {number}"
            assert torch.equal(found, right), f"{kind}, value {number}"


def trained(layer: Any, x: Tensor) -> list[Tensor]:
    """Two steps, an evaluation, and what is left."""
    optimizer = make_optimizer(layer, {"name": "analog_sgd", "lr": 0.1})
    outputs = []
    for _ in range(2):
        optimizer.zero_grad()
        y = call(layer, x)
        y.square().sum().backward()
        optimizer.step()
        outputs.append(y.detach())
    outputs.append(call(layer.eval(), x).detach())
    return [
        *outputs,
        *(v for v in layer.state_dict().values() if isinstance(v, Tensor)),
    ]


@pytest.mark.parametrize("base", [NOISY, NOISY_HWA], ids=["pulses", "gradients"])
@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_layers(kind: type[AnalogLayer], base: dict[str, Any]) -> None:
    x = batch(kind)
    same_for_all(lambda: [*trained(layer := make(kind, base), x), weights(layer)])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_algorithms(name: str) -> None:
    tile = {"mapping": {"weight_scaling_omega": 0.5}}
    spec = TileSpec.from_config(
        {
            "device": NOISY["device"],
            "algorithm": {"name": name, **RANK.get(name, {})},
            "tile": tile,
        }
    )
    same_for_all(
        lambda: trained(
            AnalogLinear(6, 4, tile=spec, seed=1),
            torch.linspace(-1, 1, 18, dtype=torch.float32).view(3, 6),
        )
    )


@pytest.mark.parametrize("name", ["ecram2", "pcm", "gokmen_vlasov"])
def test_groups_and_presets(name: str) -> None:
    x = torch.linspace(-1, 1, 18, dtype=torch.float32).view(3, 6)
    same_for_all(lambda: trained(AnalogLinear(6, 4, tile=preset(name), seed=1), x))


@pytest.mark.parametrize("name", READS)
def test_products(name: str) -> None:
    spec = TileSpec.from_config(
        {"device": {"model": "ideal"}, "tile": {"forward": READS[name]}}
    )
    x = torch.linspace(-1, 1, 18, dtype=torch.float32).view(3, 6)
    same_for_all(lambda: trained(AnalogLinear(6, 4, tile=spec, seed=1), x))


def test_cells() -> None:
    def work() -> list[Tensor]:
        array = (
            AnalogLinear(6, 4, tile=TileSpec.from_config(NOISY), seed=1)
            .grid.tiles[0]
            .tile.array
        )
        for name, values in (("pulse", [3]), ("decay", []), ("diffuse", []), ("clip", [0.3]),
                             ("reset", [0, 2]), ("drift", [10.0])):  # fmt: skip
            getattr(array, name)(*values)
        return [
            array.weight.data,
            array.cells,
            array.persistent,
            torch.tensor(array.granularity, dtype=torch.float64),
        ]

    same_for_all(work)


@pytest.mark.parametrize("compensation", ["global", "per_column", "exact_reference"])
def test_inference(compensation: str) -> None:
    def work() -> list[Tensor]:
        layer = AnalogLinear(8, 4, tile=preset("idealized"), seed=1).eval()
        spec = inference("pcm", compensation=compensation)
        with program(layer, spec, seed=1) as programmed:
            first = layer.get_weights()[0]
            programmed.drift_to("1h")
            factors = [f for f in programmed.factors if f is not None]
            return [
                first,
                layer.get_weights()[0],
                *factors,
                layer(torch.ones(2, 8, dtype=torch.float32)).detach(),
            ]

    same_for_all(work)


def test_wires_and_pulses() -> None:
    from engine.inference import pulses

    io = {"bound_management": "None", "noise_management": "None"}
    tile = TileSpec.from_config({"device": {"model": "ideal"}, "tile": {"forward": io}})
    spec = InferenceSpec(
        "none",
        converter=Converter("n_pair", significance=[1.0, 0.5]),
        wires=Wires(resistance=1.0, read_noise=0.1),
    )

    def work() -> list[Tensor]:
        layer = AnalogLinear(8, 4, tile=tile, seed=1).eval()
        written = AnalogLinear(6, 4, tile=TileSpec.from_config(NOISY), seed=1)
        left = pulses.write(written, rounds=3)
        with program(layer, spec, seed=1):
            y = layer(torch.ones(2, 8, dtype=torch.float32))
        return [
            y.detach(),
            written.get_weights()[0],
            torch.tensor(left, dtype=torch.float64),
        ]

    same_for_all(work)


def test_export(tmp_path: Path) -> None:
    from engine.inference import export

    def work() -> list[Tensor]:
        layer = AnalogLinear(8, 4, tile=preset("ideal"), seed=1)
        export.save(layer, tmp_path / "g.csv")
        export.load(layer, tmp_path / "g.csv")
        return [layer.get_weights()[0]]

    same_for_all(work)


def test_solvers() -> None:
    rows = [[0.1, 0.25, 1.0001], [0.3, -0.2, 0.7]]

    def work() -> list[Tensor]:
        matrix = linalg.AnalogMatrix(rows, "idealized", seed=1)
        matrix.update([0.1, 0.2], [1.0, 0.3, 0.2])
        y = [
            torch.as_tensor(v)
            for v in (matrix @ [1.0, 2.0, 3.0003], matrix.rmatvec([0.1, 0.2]))
        ]
        return [matrix.get(), *y]

    same_for_all(work)


def test_calibration_and_summary() -> None:
    def work() -> list[Tensor]:
        layer = AnalogLinear(6, 3, tile=preset("standard_hwa"), seed=1)
        data = [torch.linspace(-2, 3, 60, dtype=torch.float32).view(10, 6)] * 2
        ranges = calibrate(layer, data, Calibration(rows=7, output_quantile=0.9))
        analog_summary(layer, (1, 6))
        return [torch.tensor(list(ranges.values()), dtype=torch.float64)]

    same_for_all(work)


def test_conversion() -> None:
    def work() -> list[Tensor]:
        torch.manual_seed(1)
        network = torch.nn.Sequential(torch.nn.Linear(4, 3, dtype=torch.float32))
        analog = convert_to_analog(network, preset("idealized"))
        digital = convert_to_digital(analog)
        return [
            *digital.state_dict().values(),
            *(t.get_weights() for t in analog_tiles(analog)),
        ]

    same_for_all(work)


def test_data() -> None:
    def work() -> list[Tensor]:
        data = load_data({"name": "digits", "test_part": 0.2})
        return [data.train_x, data.train_y, data.test_x, data.test_y]

    same_for_all(work)


def test_no_tensor_is_made_in_the_default_type() -> None:
    """Also where no test above comes by. Functions that take the type of another tensor may."""
    found = []
    for path in sorted((ROOT / "engine").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(
                node.func, ast.Attribute
            ):
                continue
            made = (
                ast.unparse(node.func).startswith("torch.")
                and node.func.attr in FACTORIES
            )
            named = any(keyword.arg == "dtype" for keyword in node.keywords)
            if made and not named and not _copies_an_array(node):
                found.append(
                    f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
                )
    assert not found, "name a dtype"


def _copies_an_array(node: ast.Call) -> bool:
    """`torch.tensor(pixels)` of the files of images takes the type of the NumPy array."""
    return ast.unparse(node) in ("torch.tensor(images)", "torch.tensor(labels)")
