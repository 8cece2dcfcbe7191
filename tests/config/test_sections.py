"""Settings in Python: checked at the line that changes them, shown by what differs."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from engine.config.fields import Param
from engine.config.sections import Settings, declarations
from engine.experiment.config import SECTIONS
from engine.experiment.tasks import TRAIN, find_task, task_names
from engine.inference.settings import InferenceSpec
from engine.presets import inference, members, preset
from engine.tile.settings import GROUPS, IO, TILE_PARTS, TileSpec, Update

# What is wrong, the error, and the words that it must hold.
REFUSED: dict[str, tuple[Callable[[TileSpec], Any], type[Exception], str]] = {
    "name": (
        lambda s: setattr(s.forward, "out_nois", 0),
        AttributeError,
        "IO has no setting 'out_nois'; nearest: out_noise",
    ),
    "limit": (
        lambda s: setattr(s.forward, "out_noise", -3),
        ValueError,
        "out_noise must be >= 0",
    ),
    "type": (
        lambda s: setattr(s.update, "desired_bl", 1.5),
        ValueError,
        "a whole number",
    ),
    "choice": (
        lambda s: setattr(s.update, "pulse_type", "Stochastik"),
        ValueError,
        "nearest: Stochastic",
    ),
    "section": (
        lambda s: setattr(s, "forwad", IO()),
        AttributeError,
        "nearest: forward",
    ),
    "no section": (
        lambda s: setattr(s, "forward", 3),
        ValueError,
        "forward must hold settings",
    ),
    "other section": (
        lambda s: setattr(s, "forward", Update()),
        ValueError,
        "must hold settings",
    ),
    "within": (
        lambda s: setattr(s, "forward", {"out_noise": -1}),
        ValueError,
        "forward.out_noise must be >= 0",
    ),
    "made": (lambda _: IO(out_noise=-1), ValueError, "out_noise must be >= 0"),
    "device": (
        lambda s: s.device.params.__setitem__("dw_mim", 1),
        KeyError,
        "nearest: dw_min",
    ),
    "device value": (
        lambda s: s.device.params.update(dw_min=-1),
        ValueError,
        "dw_min must be > 0",
    ),
    "algorithm": (
        lambda s: s.algorithm.params.__setitem__("fast_l", 1),
        KeyError,
        "nearest: fast_lr",
    ),
    "hwa": (
        lambda s: setattr(s.modifier, "std_dv", 1),
        AttributeError,
        "nearest: std_dev",
    ),
}


@pytest.mark.parametrize("change, error, words", REFUSED.values(), ids=REFUSED)
def test_refused_where_it_is_set(
    change: Callable[[TileSpec], Any], error: type[Exception], words: str
) -> None:
    spec = preset("tiki_taka_ecram")
    before = copy.deepcopy(spec)
    with pytest.raises(error) as caught:
        change(spec)
    assert words in str(caught.value)
    assert spec == before


def test_what_is_right_is_set() -> None:
    spec = preset("ecram")
    spec.forward.out_noise = 0.25
    spec.update.desired_bl = 7
    spec.device.params["dw_min"] = 0.5
    spec.backward = {"is_perfect": True}  # type: ignore[assignment]
    assert (spec.forward.out_noise, spec.update.desired_bl) == (0.25, 7)
    assert spec.device.params["dw_min"] == 0.5 and spec.backward == IO(is_perfect=True)


@pytest.mark.parametrize("name", list(members("preset"))[::3])
def test_a_copy_is_equal_and_checked_as_well(name: str) -> None:
    spec = preset(name)
    for made in (copy.deepcopy(spec), pickle.loads(pickle.dumps(spec))):
        assert made == spec
        with pytest.raises(ValueError, match="out_noise"):
            made.forward.out_noise = -1
        if spec.device.params:
            with pytest.raises(KeyError, match="no parameter"):
                made.device.params["nothing_like_it"] = 1


def test_what_is_shown_is_what_differs() -> None:
    assert str(IO()) == "IO()"
    assert str(IO(out_noise=0.125)) == "IO(out_noise=0.125)"
    lines = str(preset("ecram", forward={"inp_res": 0.25})).splitlines()
    assert lines[0].startswith("device: linear_step, dw_min=0.002, dw_min_dtod=0.1, ")
    assert "dw_min_std" not in lines[0]  # it is at its default
    assert lines[1] == "algorithm: sgd"
    assert lines[2] == "forward: inp_res=0.25, out_bound=20, out_noise=0.1"
    assert len(lines) == 4


@pytest.mark.parametrize("name", members("preset"))
def test_a_preset_is_shown_in_a_few_lines(name: str) -> None:
    text = str(preset(name))
    assert len(text.splitlines()) <= 10 and max(map(len, text.splitlines())) < 400
    assert "{" not in text


def test_inference_is_checked_as_well() -> None:
    spec = inference("pcm")
    with pytest.raises(AttributeError, match="nearest: repeats"):
        spec.repeat = 3  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="g_max must be > 0"):
        spec.converter.g_max = 0.0


def test_every_section_declares_all_its_settings() -> None:
    tasks = [find_task(name).Settings for name in task_names() if name != TRAIN]
    kinds = [*TILE_PARTS.values(), *GROUPS.values(), *SECTIONS.values(), *tasks]
    for kind in (*kinds, InferenceSpec):
        for name, declared in declarations(kind).items():
            if isinstance(declared, Param):
                assert declared.meaning or declared.default in ({}, None), (
                    f"{kind.__name__}.{name}"
                )
                # Where a list is empty, nothing but the declaration says what it holds.
                annotation = str(kind.__annotations__.get(name, ""))
                if annotation.startswith("list[") and not declared.free:
                    item = (
                        "Any"
                        if declared.item is object
                        else declared.item_kind.__name__
                    )
                    assert annotation == f"list[{item}]"
            else:
                assert issubclass(declared, Settings)
