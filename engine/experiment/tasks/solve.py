"""Linear equations solved by analog products in an inner solver and exact ones for the residual."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.experiment.config import setting
from engine.experiment.tasks import task_settings

if TYPE_CHECKING:
    from torch import Tensor

    from engine.experiment.runs import RunFolder
    from engine.experiment.train import Reporter

ABOUT = "Solve A x = b: conjugate gradients on analog products find a correction, exact products the residual."
SOURCE = "Le Gallo et al., Nat. Electron. 1:246 (2018), doi:10.1038/s41928-018-0054-8"
SECTIONS = ("device", "tile", "algorithm", "inference")
FIGURE, LOWER_IS_BETTER = "refinements", True
SEEDS = (1 << 62) - 1
Apply = Callable[["Tensor"], "Tensor"]


@dataclass
class Settings:
    """The equations and the two solvers."""

    size: int = setting(500, "number of equations", minimum=2)
    band: int = setting(
        0, "diagonals on each side of the main one; 0 = the full matrix", minimum=0
    )
    copies: int = setting(
        4,
        "arrays that hold the matrix side by side; their products are averaged",
        minimum=1,
    )
    inner_steps: int = setting(
        5,
        "steps of conjugate gradients with analog products in a refinement",
        minimum=1,
    )
    tolerance: float = setting(
        1e-5,
        "largest norm of the residual at the end",
        unit="of the norm of b",
        above=0,
    )
    most_refinements: int = setting(200, "the solver gives up after so many", minimum=1)
    time: float = setting(0.0, "age of the programmed cells", unit="s", minimum=0)


def check(settings: Settings) -> None:
    """Raises ValueError for settings that do not fit together."""
    if settings.band >= settings.size:
        raise ValueError(
            f"task.band must be < task.size = {settings.size}, not {settings.band}"
        )


def run(
    config: Mapping[str, Any], folder: RunFolder, reporter: Reporter
) -> dict[str, Any]:
    """Solve, and write the residual after each refinement."""
    import torch

    from engine.experiment.processor import processor
    from engine.experiment.tasks._arrays import mean_product, programmed_matrix
    from engine.tile.keys import derive

    settings, seed = task_settings(config, Settings), int(config["run"]["seed"])
    where = processor(config["run"])
    matrix = decaying_matrix(settings.size, settings.band)
    b = torch.rand(
        settings.size,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )
    seeds = [derive(seed, copy) & SEEDS for copy in range(settings.copies)]
    matrices = [
        programmed_matrix(config, matrix, seed=one, time=settings.time, device=where)
        for one in seeds
    ]
    rows: list[dict[str, Any]] = []

    def told(residual: float) -> None:
        rows.append({"refinement": len(rows), "residual": residual})
        folder.write_metrics(rows)
        reporter.message(f"refinement {len(rows) - 1}: residual {residual:.3g}")

    x = refine(matrix, b, settings, inner=mean_product(matrices, where), told=told)
    exact = torch.linalg.solve(matrix, b)
    return {
        "refinements": len(rows) - 1,
        "residual": rows[-1]["residual"],
        "converged": rows[-1]["residual"] <= settings.tolerance,
        "error": float((x - exact).norm() / exact.norm()),
        "digital_products": exact_steps(matrix, b, settings.tolerance),
        "devices": settings.copies * int((matrix != 0).sum()),
    }


def decaying_matrix(size: int, band: int = 0) -> Tensor:
    """Equation 3 of the paper: A_ij = 1 / |i - j|, A_ii = 1 + sqrt(i), i from 1; zero beyond the
    band."""
    import torch

    i = torch.arange(1, size + 1, dtype=torch.float64)
    distance = (i[:, None] - i[None, :]).abs()
    matrix = torch.where(distance > 0, 1 / distance.clamp(min=1), (1 + i.sqrt()).diag())
    return torch.where(distance <= band, matrix, 0.0) if band else matrix


def refine(
    matrix: Tensor,
    b: Tensor,
    settings: Settings,
    *,
    inner: Apply,
    told: Callable[[float], None],
) -> Tensor:
    """Iterative refinement: x grows by inner solutions of A z = r, where r is the exact
    residual."""
    import torch

    x, r = torch.zeros_like(b), b
    residual = 1.0
    told(residual)
    for _ in range(settings.most_refinements):
        if not settings.tolerance < residual < math.inf:
            break
        scale = r.norm()
        x = x + scale * conjugate_gradients(
            inner, r / scale, steps=settings.inner_steps
        )
        r = b - matrix @ x
        residual = float(r.norm() / b.norm())
        told(residual)
    return x


def conjugate_gradients(
    apply: Apply, b: Tensor, *, steps: int, tolerance: float = 0.0
) -> Tensor:
    """An approximate solution of A z = b after `steps` products, or fewer if the residual falls
    below `tolerance`."""
    z, _ = _conjugate_gradients(apply, b, steps, tolerance)
    return z


def exact_steps(matrix: Tensor, b: Tensor, tolerance: float) -> int:
    """Exact products that conjugate gradients alone need for the same residual."""
    _, count = _conjugate_gradients(lambda p: matrix @ p, b, 10 * len(b), tolerance)
    return count


def _conjugate_gradients(
    apply: Apply, b: Tensor, steps: int, tolerance: float
) -> tuple[Tensor, int]:
    import torch

    z, r, p = torch.zeros_like(b), b, b
    square, stop = r @ r, (tolerance * b.norm()) ** 2
    for count in range(1, steps + 1):
        product = apply(p)
        curvature = p @ product
        if not float(curvature) > 0:  # noise has made the matrix indefinite along p
            return z, count
        z, r = z + square / curvature * p, r - square / curvature * product
        last, square = square, r @ r
        if float(square) <= float(stop):
            return z, count
        p = r + square / last * p
    return z, steps
