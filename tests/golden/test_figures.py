"""The statistics of the golden runner against plain NumPy and brute force."""

import numpy as np
import pytest

from tests.golden.figures import figures, sample_at

GROUPS = [
    np.random.default_rng(seed).normal(3.0, 0.5 + 0.1 * seed, size=40 + seed)
    for seed in range(7)
]


def leave_one_out(statistic):
    estimates = np.array(
        [
            statistic(np.concatenate(GROUPS[:g] + GROUPS[g + 1 :]))
            for g in range(len(GROUPS))
        ]
    )
    return np.sqrt(
        (len(GROUPS) - 1) / len(GROUPS) * ((estimates - estimates.mean()) ** 2).sum()
    )


def test_mean_and_std_with_jackknife_errors():
    record = figures(GROUPS, floor=False)
    pooled = np.concatenate(GROUPS)
    assert record["n"] == pooled.size
    assert record["mean"] == pytest.approx(pooled.mean(), rel=1e-7)
    assert record["std"] == pytest.approx(pooled.std(ddof=1), rel=1e-7)
    assert record["mean_se"] == pytest.approx(leave_one_out(np.mean), rel=1e-6)
    assert record["std_se"] == pytest.approx(
        leave_one_out(lambda v: v.std(ddof=1)), rel=1e-6
    )


def test_floor_is_that_of_independent_normal_values():
    groups = [np.array([-1.0, 1.0])] * 8
    assert figures(groups, floor=False)["mean_se"] == 0
    record = figures(groups, floor=True)
    assert record["mean_se"] == pytest.approx(record["std"] / 4)
    assert record["std_se"] == pytest.approx(record["std"] / np.sqrt(2 * 15))


def test_squares_stay_accurate_far_from_zero():
    record = figures([1e4 + group for group in GROUPS], floor=False)
    assert record["std"] == pytest.approx(np.concatenate(GROUPS).std(ddof=1), rel=1e-7)


def test_equal_values_have_no_spread_and_no_error():
    record = figures([np.full(5, 0.1)] * 3, floor=True)
    assert record["std"] == pytest.approx(0, abs=1e-15)
    assert record["mean_se"] == pytest.approx(0, abs=1e-15)


def test_non_finite_values_are_left_out_and_told():
    record = figures([[1.0, 2.0, np.nan], [3.0, np.inf, 4.0]], floor=False)
    assert record["n"] == 4
    assert record["mean"] == 2.5
    assert record["nan_fraction"] == pytest.approx(1 / 3)


def test_no_value_at_all_is_a_record_without_figures():
    assert figures([[], []], floor=True) == {"n": 0}


def test_quantiles_interpolate_and_carry_the_spread_of_groups():
    record = figures(GROUPS, floor=False, quantiles=True)
    value, error = record["quantiles"]["0.25"]
    each = [np.quantile(group, 0.25) for group in GROUPS]
    assert value == pytest.approx(np.quantile(np.concatenate(GROUPS), 0.25), rel=1e-7)
    assert error == pytest.approx(np.std(each, ddof=1) / np.sqrt(len(GROUPS)), rel=1e-6)
    assert figures([[1.0], [2.0]], floor=False, quantiles=True)["quantiles"]["0.5"] == [
        1.5,
        None,
    ]


def test_sample_at_takes_for_each_record_the_set_at_a_place_by_its_spread():
    sets = [
        [{"id": "a", "std": a}, {"id": "b", "std": b}]
        for a, b in ((3, 1), (1, 9), (2, 5), (90, 4))
    ]
    assert [record["std"] for record in sample_at(0.25, sets)] == [2, 4]
    assert [record["std"] for record in sample_at(0.5, sets)] == [3, 5]
