"""The comparison of the golden runner: what passes, what fails, and the same z values as the
reference script."""

import importlib.util
import math

import numpy as np

from tests.golden.compare import compare_case, has_figures, relative_tolerance, z_value
from tests.golden.shared import GOLDEN, needs_golden

RECORD = {
    "id": "w/up/3",
    "n": 100,
    "mean": 0.5,
    "mean_se": 0.001,
    "std": 0.1,
    "std_se": 0.001,
}


def verdict_of(reference, **changes):
    case = {"name": "A.x", "records": [reference]}
    return compare_case(case, [reference | changes], relative=0.0)


def test_equal_figures_pass():
    verdict = verdict_of(RECORD)
    assert verdict.passed
    assert verdict.rms == 0


def test_a_mean_or_a_spread_too_far_away_fails():
    assert verdict_of(RECORD, mean=0.5 + 0.002).passed
    assert not verdict_of(RECORD, mean=0.5 + 0.008).passed
    assert not verdict_of(RECORD, std=0.1 - 0.008).passed


def test_many_small_differences_fail_by_their_rms():
    verdict = verdict_of(RECORD, mean=0.5 + 0.004, std=0.1 + 0.004)
    assert not verdict.beyond
    assert verdict.rms > 1.6
    assert not verdict.passed


def test_own_error_cannot_be_inflated():
    assert not verdict_of(RECORD, mean=0.6, mean_se=1.0).passed


def test_missing_records_and_too_few_values_fail():
    case = {"name": "A.x", "records": [RECORD]}
    assert compare_case(case, [], relative=0.0).missing == ["w/up/3"]
    assert not compare_case(case, [], relative=0.0).passed
    assert not verdict_of(RECORD, n=49).passed
    assert verdict_of(RECORD, n=50).passed


def test_values_that_are_not_numbers_fail():
    assert not verdict_of(RECORD, mean=math.nan).passed
    assert not verdict_of(RECORD, mean=None).passed
    assert not verdict_of(RECORD, n=0).passed
    assert verdict_of({"id": "w", "n": 0}).passed


def test_exact_arrays_allow_rounding_only():
    reference = {"id": "weights", "exact": [[0.1, 0.2], [0.3, 0.4]]}
    assert verdict_of(reference, exact=[[0.1, 0.2], [0.3, 0.400003]]).passed
    assert not verdict_of(reference, exact=[[0.1, 0.2], [0.3, 0.40001]]).passed
    assert not verdict_of(reference, exact=[[0.1, 0.2]]).passed


def test_training_curves_get_the_wider_tolerance():
    assert relative_tolerance({"name": "E.SGD", "category": "E_training"}) == 0.02
    assert relative_tolerance({"name": "B.x", "category": "B_update"}) == 0.005


def test_stripped_cases_are_told_from_measured_ones():
    assert has_figures({"name": "A.x", "records": [RECORD]})
    assert not has_figures({"name": "A.x", "records": [{"id": "w/up/3", "at": {}}]})
    assert not has_figures({"name": "A.x"})


@needs_golden
def test_z_values_agree_with_the_reference_script():
    spec = importlib.util.spec_from_file_location(
        "reference_compare", GOLDEN / "compare.py"
    )
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    rng = np.random.default_rng(0)
    for _ in range(300):
        a, sa, b, sb = rng.normal(size=4) * 10.0 ** rng.integers(-6, 1, size=4)
        sa, sb = abs(sa) * rng.integers(0, 2), abs(sb)
        mine = z_value(
            {"mean": a, "mean_se": sa}, {"mean": b, "mean_se": sb}, "mean", 0.005
        )
        assert mine == script.ztest(a, sa, b, sb, 2e-6, 0.005)
