"""Input ranges from data: every mode, what does not count, and that a calibrated network computes
what it should."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.nn import Calibration, analog_tiles, calibrate, convert_to_analog
from engine.tile.settings import TileSpec

RANGED: dict[str, Any] = {
    "device": {"model": "ideal"},
    "algorithm": {"name": "hwa"},
    "tile": {
        "forward": {
            "noise_management": "None",
            "bound_management": "None",
            "out_bound": 20.0,
        },
        "input_range": {"enable": True, "init_value": 0.01},
        "mapping": {"weight_scaling_omega": 1.0},
    },
}


def network(*, out_noise: float = 0.3, **ranges: Any) -> tuple[nn.Module, nn.Module]:
    """Two layers with a nonlinearity, digital and on tiles."""
    torch.manual_seed(1)
    digital = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    forward = {**RANGED["tile"]["forward"], "out_noise": out_noise}
    tile = {
        **RANGED["tile"],
        "forward": forward,
        "input_range": {**RANGED["tile"]["input_range"], **ranges},
    }
    return digital, convert_to_analog(
        digital, TileSpec.from_config({**RANGED, "tile": tile})
    )


def data(count: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(40, 6, generator=generator) * (1 + k) for k in range(count)]


def values(model: nn.Module) -> list[float]:
    return [tile.state.input_range.value.item() for tile in analog_tiles(model)]


WANTED: dict[str, Any] = {
    "max": lambda parts: torch.cat(parts).abs().max(),
    "quantile": lambda parts: torch.cat(parts).abs().quantile(0.9),
    "moving_quantile": lambda parts: torch.stack(
        [part.abs().quantile(0.9) for part in parts]
    ).mean(),
    "moving_std": lambda parts: torch.stack(
        [2.0 * part.std() for part in parts[:3]]
    ).mean(),
}


@pytest.mark.parametrize("mode", WANTED)
def test_ranges_are_those_of_the_inputs_in_floating_point(mode: str) -> None:
    digital, analog = network()
    rows = 3 if mode == "moving_std" else 1000
    found = calibrate(
        analog, data(), Calibration(mode, quantile=0.9, std_alpha=2.0, rows=rows)
    )
    assert list(found) == ["0.grid.tiles.0", "2.grid.tiles.0"]
    hidden = [digital[1](digital[0](x)).detach() for x in data()]
    hidden = [h[h.any(1)] for h in hidden]
    wanted = [float(WANTED[mode](parts)) for parts in (data(), hidden)]
    assert list(found.values()) == pytest.approx(wanted, rel=1e-4)
    assert values(analog) == pytest.approx(wanted, rel=1e-4)


def test_a_quantile_of_some_rows_of_all_batches() -> None:
    _, analog = network()
    few = calibrate(analog, data(), Calibration(quantile=1.0, rows=50))
    again = calibrate(analog, data(), Calibration(quantile=1.0, rows=50))
    other = calibrate(analog, data(), Calibration(quantile=1.0, rows=50, seed=9))
    top = calibrate(analog, data(), Calibration("max"))
    assert few == again and few != other
    assert all(0.3 * top[name] < few[name] <= top[name] for name in top)


@pytest.mark.parametrize("mode", WANTED)
def test_rows_of_zeros_do_not_count(mode: str) -> None:
    _, analog = network()
    how = Calibration(mode, quantile=0.5)
    plain = calibrate(analog, data(2), how)["0.grid.tiles.0"]
    mixed = [torch.cat([x, torch.zeros(100, 6)]) for x in data(2)] + [torch.zeros(5, 6)]
    assert calibrate(analog, mixed, how)["0.grid.tiles.0"] == pytest.approx(
        plain, rel=1e-6
    )


def test_a_calibrated_network_gives_nearly_what_the_digital_one_does() -> None:
    digital, analog = network(out_noise=0.0)
    x = data(1)[0]
    before = (analog.eval()(x) - digital(x)).norm() / digital(x).norm()
    calibrate(analog, data(1), Calibration("max"))
    after = (analog(x) - digital(x)).norm() / digital(x).norm()
    assert before > 0.5 and after < 0.05


@pytest.mark.parametrize("mode", WANTED)
def test_ranges_keep_outputs_within_the_adc_if_asked_for(mode: str) -> None:
    _, analog = network()
    tiles = list(analog_tiles(analog))
    for tile in tiles:
        tile.tile.spec.forward.out_bound = 0.05
    plain = calibrate(analog, data(), Calibration(mode, quantile=1.0))
    raised = calibrate(
        analog, data(), Calibration(mode, quantile=1.0, output_quantile=0.9)
    )
    x = torch.cat(data())
    outputs = (x @ tiles[0].tile.weight.detach().T).abs()
    first = next(iter(raised))
    assert raised[first] > plain[first]
    torch.testing.assert_close(
        raised[first], float(outputs.quantile(0.9)) / 0.05, rtol=1e-5, atol=0
    )
    torch.testing.assert_close(
        float((outputs / raised[first] <= 0.05).float().mean()), 0.9, rtol=0, atol=0.01
    )
    for tile in tiles:
        tile.tile.spec.forward.out_bound = 1e3
    assert (
        calibrate(analog, data(), Calibration(mode, quantile=1.0, output_quantile=0.9))
        == plain
    ), "none to raise"


def test_nothing_else_changes_and_training_keeps_the_ranges() -> None:
    _, analog = network(learn_input_range=False)
    analog.train()
    analog[2].eval()
    before = copy.deepcopy(analog.state_dict())
    calls = [
        (tile.tile.array.calls, tile.tile.read_calls) for tile in analog_tiles(analog)
    ]
    found = calibrate(analog, [(x, "label") for x in data()])
    assert calls == [
        (tile.tile.array.calls, tile.tile.read_calls) for tile in analog_tiles(analog)
    ]
    assert analog.training and not analog[2].training and analog[0].training
    changed = {
        k for k, v in analog.state_dict().items() if not torch.equal(v, before[k])
    }
    assert changed and all("input_range" in name for name in changed)
    analog.train()
    analog(100 * data(1)[0])
    assert values(analog) == pytest.approx(list(found.values()))
    assert not any("forward" in vars(tile) for tile in analog_tiles(analog))


def test_a_recurrent_network_and_arguments_by_name() -> None:
    torch.manual_seed(1)
    analog = convert_to_analog(nn.LSTM(6, 4), TileSpec.from_config(RANGED))
    found = calibrate(analog, [{"x": torch.randn(7, 3, 6)}], Calibration("max"))
    assert (
        list(found) == ["ih_l0.tiles.0", "hh_l0.tiles.0"]
        and 0 < found["hh_l0.tiles.0"] < 1
    )


REFUSED: dict[str, tuple[Any, str]] = {
    "data": (
        lambda model: calibrate(model, []),
        "calibration needs data: no batch was given",
    ),
    "ranges": (
        lambda _: calibrate(nn.Linear(3, 2), data()),
        r"no tile has an input range: tile\.input_range\.enable",
    ),
    "mode": (
        lambda _: Calibration("mean"),
        "one of quantile, max, moving_quantile, moving_std, not 'mean'",
    ),
    "quantile": (
        lambda _: Calibration(quantile=1.2),
        "quantile must be above 0 and at most 1, not 1.2",
    ),
    "rows": (lambda _: Calibration(rows=0), "rows must be 1 at least, not 0"),
    "alpha": (lambda _: Calibration(std_alpha=0), "std_alpha must be > 0, not 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_in_one_line(name: str) -> None:
    act, line = REFUSED[name]
    with pytest.raises(ValueError, match=line) as caught:
        act(network()[1])
    assert "\n" not in str(caught.value)


def test_an_error_in_the_data_leaves_the_tiles_as_they_were() -> None:
    _, analog = network()
    with pytest.raises(RuntimeError, match="not a batch"):
        calibrate(analog, (_fail() for _ in range(1)))
    assert (
        not any("forward" in vars(tile) for tile in analog_tiles(analog))
        and analog.training
    )


def _fail() -> Tensor:
    raise RuntimeError("not a batch")
