"""A few cases of the reference files on this engine, whole; `make golden` runs all of them."""

import copy
import json
from functools import partial

import pytest

from engine.exchange.aihwkit import periphery
from tests.golden.runner import run_case
from tests.golden.shared import GOLDEN, needs_golden

CASES = [
    "A.SoftBounds.mult",
    "A.preset.Capacitor",
    "B.GokmenVlasov.batch10.bl10.um1ublm1",
    "C.forward.bm_iterative_low_bound",
    "C.backward.default",
    "E.TikiTaka_v1_gamma.sb",
    "E.MixedPrecision.sb",
    "D.PCM.scales",
    "D.ReRamCMO",
    "E.OneSided.sb",
    "F.modifier.AddNormal",
    "F.modifier.MultNormal.torch_tile",
    "F.modifier.Discretize",
    "F.modifier.ProgNoise_mirror",
    "F.clip_then_remap",
    "G.decay",
]


def case_of(name):
    for path in sorted((GOLDEN / "public").glob(f"{name[0]}_*.json")):
        for case in json.loads(path.read_text())["cases"]:
            if case["name"] == name:
                return case
    raise LookupError(name)


@needs_golden
@pytest.mark.parametrize("name", CASES)
def test_case_agrees_with_the_reference(name):
    _, verdict, _ = run_case(case_of(name), 1)
    assert not verdict.problem
    assert not verdict.missing
    assert not verdict.beyond
    assert verdict.passed


@needs_golden
def test_a_case_without_records_is_measured_from_its_set_up():
    case = case_of("C.forward.res_only")
    mine, verdict, _ = run_case(
        {key: case[key] for key in ("name", "category", "setup")}, 1
    )
    assert verdict.passed
    assert mine is not None
    assert [r["id"] for r in mine["records"]] == [r["id"] for r in case["records"]]


VARIED = {
    "never": ("E.TikiTaka_v1.sb", {"transfer_every": 0.0}),
    "never mixed": ("E.MixedPrecision.sb", {"transfer_every": 0}),
    "no rows": ("E.MixedPrecision.sb", {"n_rows_per_transfer": 0}),
    "one bin": ("E.MixedPrecision.sb", {"n_x_bins": 1}),
    "steps": ("E.AGAD.sb", {"transfer_update": {"res": 30}}),
}


@needs_golden
@pytest.mark.parametrize("name", VARIED)
def test_what_the_release_never_writes_learns_nothing(name):
    base, device = VARIED[name]
    learned, records = trained(base, device)
    assert records["w_rmse/epoch2"]["mean"] == records["w_rmse/epoch0"]["mean"]
    assert not learned


PAST = (
    "E.TikiTaka_v1.sb",
    "E.ChoppedTTv2.sb",
    "E.MixedPrecision.sb",
    "E.VectorCell.const",
    "E.OneSided.sb",
)


@needs_golden
@pytest.mark.parametrize("base", PAST)
def test_without_pulses_the_visible_weight_learns_exactly(base):
    learned, records = trained(base, {}, {"pulse_type": "None"})
    assert records["w_rmse/epoch2"]["std"] < 1e-6
    assert learned


UNUSED = {
    "reset": ("E.TTv2_buffered.sb", {"with_reset_prob": 0.5}),
    "outputs": ("E.AGAD.sb", {"out_chop_prob": 0.3, "no_buffer": True}),
    "period": (
        "E.ChoppedTTv2.sb",
        {"transfer_every_vec": [1.0, 0.0], "transfer_lr_vec": [1.0, 0.0]},
    ),
    "rows": ("E.MixedPrecision.sb", {"n_rows_per_transfer": 9}),
    "copy": ("E.OneSided.sb", {"copy_inverted": True}),
}


@needs_golden
@pytest.mark.parametrize("name", UNUSED)
def test_what_the_release_never_looks_at_changes_nothing(name):
    base, device = UNUSED[name]
    assert trained(base, device)[1] == trained(base, {})[1]


@needs_golden
@pytest.mark.parametrize("base", ["E.ChoppedTTv2.sb", "E.AGAD.sb"])
def test_what_is_not_built_is_told(base):
    setup = copy.deepcopy(case_of(base)["setup"])
    setup["device"]["no_self_transfer"] = False
    _, verdict, _ = run_case(
        {"name": base, "category": "E_training", "setup": setup}, 1
    )
    assert "no_self_transfer=false" in verdict.problem


def trained(base, device, update=None):
    """Whether a case of public figures with other settings learns in two epochs, and its
    records."""
    setup = copy.deepcopy(case_of(base)["setup"])
    for key, value in device.items():
        setup["device"][key] = (
            setup["device"][key] | value if isinstance(value, dict) else value
        )
    setup |= {"seeds": 2, "epochs": 2, "update": setup["update"] | (update or {})}
    case = {"name": base, "category": "E_training", "setup": setup}
    mine, verdict, _ = run_case(case, 1)
    assert not verdict.problem
    records = {r["id"]: r for r in mine["records"]}
    return records["w_rmse/epoch2"]["mean"] < 0.9 * records["w_rmse/epoch0"][
        "mean"
    ], records


@needs_golden
def test_more_of_what_the_release_takes_is_measured():
    cases = {
        "C.forward.default": ({"io": {"out_bound": 0.0}}, "y/x0/out0"),
        "C.forward.bm_iterative_nm_none": ({"io": {"inp_bound": 0.0}}, "y/x0/out0"),
        "F.modifier.Discretize": ({"modifier": {"res": 20.0}}, "w_mod/target-0.8000"),
        "F.modifier.AddNormal.torch_tile": (
            {"modifier": {"per_batch_sample": True}},
            "w_mod/target-0.8000",
        ),
        "F.clip.FixedValue": ({"clip": {"fixed_value": 0.0}}, "analog_weight_abs"),
    }
    means = {}
    for name, (changes, record) in cases.items():
        setup = copy.deepcopy(case_of(name)["setup"])
        for key, values in changes.items():
            setup[key] |= values
        mine, verdict, _ = run_case(
            {"name": name, "category": case_of(name)["category"], "setup": setup}, 1
        )
        assert not verdict.problem
        means[name] = next(r for r in mine["records"] if r["id"] == record)["mean"]
    assert means["F.modifier.Discretize"] == 0
    assert abs(means["F.modifier.AddNormal.torch_tile"] + 0.8) < 0.01
    assert means["F.clip.FixedValue"] < 1e-20
    assert abs(means["C.forward.default"]) > 0.1


def test_steps_that_a_pulse_type_does_not_look_at_are_left_out():
    given = {"res": 30, "x_res_implicit": 30, "d_res_implicit": 0.1, "sto_round": True}
    pulses = partial(periphery.pulses, as_released=True)
    assert pulses(given | {"pulse_type": "None"})["res"] == 0
    assert pulses(given | {"pulse_type": "MeanCount"}) == given | {
        "pulse_type": "MeanCount",
        "x_res_implicit": 0,
    }
    fires_never = given | {"pulse_type": "Stochastic", "sto_round": False}
    assert pulses(fires_never)["res"] == 0
    assert (
        pulses(given | {"pulse_type": "DeterministicImplicit"})["x_res_implicit"] == 30
    )


def test_what_is_not_built_fails_with_the_reason():
    device = {"class": "UnheardOfDevice"}
    case = {"name": "A.x", "category": "A_device_response", "setup": {"device": device}}
    mine, verdict, _ = run_case(case, 1)
    assert mine is None
    assert not verdict.passed
    assert "UnheardOfDevice" in verdict.problem
    _, verdict, _ = run_case({"name": "Z.x", "category": "Z_unknown", "setup": {}}, 1)
    assert "Z_unknown" in verdict.problem
