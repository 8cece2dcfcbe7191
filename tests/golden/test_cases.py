"""A few cases of the reference files on this engine, whole; `make golden` runs all of them."""

import json

import pytest

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
    mine, verdict, _ = run_case({key: case[key] for key in ("name", "category", "setup")}, 1)
    assert verdict.passed
    assert mine is not None
    assert [r["id"] for r in mine["records"]] == [r["id"] for r in case["records"]]


def test_what_is_not_built_fails_with_the_reason():
    device = {"class": "UnheardOfDevice"}
    case = {"name": "A.x", "category": "A_device_response", "setup": {"device": device}}
    mine, verdict, _ = run_case(case, 1)
    assert mine is None
    assert not verdict.passed
    assert "UnheardOfDevice" in verdict.problem
    _, verdict, _ = run_case({"name": "Z.x", "category": "Z_unknown", "setup": {}}, 1)
    assert "Z_unknown" in verdict.problem
