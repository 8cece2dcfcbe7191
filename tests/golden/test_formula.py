"""Formulas of a set-up: arithmetic over index names, nothing else."""

import numpy as np
import pytest

from tests.golden.formula import evaluate, right_hand_side
from tests.golden.setups import grid


def test_formulas_of_the_reference_files():
    k = np.arange(10)
    np.testing.assert_allclose(evaluate("1.0*0.5*(k%5==2)", k=k), 0.5 * (k % 5 == 2))
    np.testing.assert_allclose(
        evaluate("1.0*linspace(-1,1,n)", n=10), np.linspace(-1, 1, 10)
    )
    np.testing.assert_allclose(
        evaluate("8.0 * linspace(-1,1,4)[k % 4]", k=k), 8 * np.linspace(-1, 1, 4)[k % 4]
    )
    np.testing.assert_allclose(
        evaluate("1.0*0.9*abs(cos(0.2*k))", k=k), 0.9 * abs(np.cos(0.2 * k))
    )
    np.testing.assert_allclose(
        evaluate("2*frac((k+1)*sqrt(p_j)+0.0)-1", k=k, p_j=3),
        2 * ((k + 1) * 3**0.5 % 1) - 1,
    )


def test_grid_fills_the_array_from_its_indices():
    weights = grid("W[i,j] = 0.5 * sin(0.37*i + 0.61*j + 0.05*i*j)", i=3, j=4)
    assert weights.dtype == np.float32
    assert weights.shape == (3, 4)
    assert weights[2, 3] == np.float32(0.5 * np.sin(0.37 * 2 + 0.61 * 3 + 0.05 * 6))
    assert (grid("0.25", i=2, j=2) == 0.25).all()


def test_left_side_is_split_off_but_not_at_a_comparison():
    assert right_hand_side("W[i,j] = 2*i") == ("W[i,j]", "2*i")
    assert right_hand_side("k%5==2") == ("", "k%5==2")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getcwd()",
        "open('x')",
        "k.shape",
        "[1 for _ in k]",
        "lambda: 1",
        "unknown + 1",
        "'a'",
    ],
)
def test_anything_but_arithmetic_is_refused(text):
    with pytest.raises(ValueError, match="not an arithmetic formula"):
        evaluate(text, k=np.arange(3))
