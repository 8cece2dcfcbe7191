"""AnalogMatrix: products with a matrix on tiles, with its transpose, and updates, in the
conventions of algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.linalg import AnalogMatrix
from engine.presets import preset
from engine.tile.settings import TileSpec

EXACT = {
    "forward": {"is_perfect": True},
    "backward": {"is_perfect": True},
    "update": {"pulse_type": "None"},
}


def exact(**mapping: int) -> TileSpec:
    return TileSpec.from_config(
        {"device": {"model": "ideal"}, "tile": {**EXACT, "mapping": mapping}}
    )


def drawn(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "mapping",
    [{}, {"max_input_size": 3, "max_output_size": 2}, {"weight_scaling_columnwise": 1}],
)
def test_perfect_tiles_compute_as_torch_does(mapping: dict[str, int]) -> None:
    values = 10 * drawn(5, 7)
    matrix = AnalogMatrix(
        values,
        exact(**{k: bool(v) if k.startswith("w") else v for k, v in mapping.items()}),
    )
    assert matrix.shape == (5, 7)
    torch.testing.assert_close(matrix.get(), values)
    for x in (drawn(7), drawn(7, 4)):
        torch.testing.assert_close(matrix @ x, values @ x, atol=1e-4, rtol=1e-5)
    for d in (drawn(5), drawn(5, 4)):
        torch.testing.assert_close(
            matrix.rmatvec(d), values.T @ d, atol=1e-4, rtol=1e-5
        )
    d, x = drawn(5, 4, seed=2), drawn(7, 4, seed=3)
    matrix.update(d, x, 0.1)
    torch.testing.assert_close(
        matrix.get(), values + 0.1 * d @ x.T, atol=1e-4, rtol=1e-5
    )
    matrix.set(values + 1)
    torch.testing.assert_close(matrix.get(), values + 1)


def test_pulses_move_the_matrix_in_the_direction_of_the_update() -> None:
    matrix = AnalogMatrix(torch.zeros(6, 5), preset("idealized"), seed=4)
    d, x = drawn(6, seed=2), drawn(5, seed=3)
    for _ in range(40):
        matrix.update(d, x, 0.005)
    wanted = 0.2 * d[:, None] * x[None, :]
    assert (matrix.get() - wanted).norm() < 0.2 * wanted.norm()


def test_noise_depends_on_the_seed_alone_and_large_matrices_fit() -> None:
    values, x = 23 * drawn(5, 600), drawn(600)
    first, again, other = (AnalogMatrix(values, "idealized", seed=s) for s in (1, 1, 2))
    assert len(list(first.grid.tiles)) == 2
    y = first.matvec(x)
    assert torch.equal(y, again.matvec(x)) and not torch.equal(y, other.matvec(x))
    assert 0 < (y - values @ x).norm() / (values @ x).norm() < 0.3


def test_numpy_gives_numpy() -> None:
    values = drawn(3, 4).numpy().astype(np.float64)
    matrix = AnalogMatrix(values, exact())
    y = matrix @ np.ones(4)
    assert isinstance(y, np.ndarray) and y.dtype == np.float64
    np.testing.assert_allclose(y, values.sum(1), rtol=1e-5)
    assert (matrix @ np.ones(4, dtype=int)).dtype == np.float32
    operator = pytest.importorskip("scipy.sparse.linalg").aslinearoperator(matrix)
    np.testing.assert_allclose(operator.H @ np.ones(3), values.sum(0), rtol=1e-5)


def test_what_does_not_fit_is_told() -> None:
    matrix = AnalogMatrix(drawn(3, 4), exact())
    with pytest.raises(
        ValueError, match="the matrix is 3 x 4 and does not fit a vector 3"
    ):
        matrix.matvec(drawn(3))
    with pytest.raises(ValueError, match="the matrix is 3 x 4, not 4 x 3"):
        matrix.set(drawn(4, 3))
    with pytest.raises(ValueError, match="d has 1 vectors, x has 2"):
        matrix.update(drawn(3), drawn(4, 2))
    with pytest.raises(ValueError, match="finite"):
        AnalogMatrix(torch.tensor([[float("nan")]]), exact())
