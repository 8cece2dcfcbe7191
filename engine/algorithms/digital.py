"""Floating-point training: no tile at all. Layers with this algorithm are ordinary torch layers."""

from __future__ import annotations

from dataclasses import dataclass

ABOUT = "The layer is an ordinary torch layer in floating point: the baseline to compare with."
FORMULA = "W <- W - lr dL/dW"
SOURCE = "Robbins & Monro, Ann. Math. Stat. 22:400 (1951), doi:10.1214/aoms/1177729586"
ARRAYS: dict[str, str] = {}
KERNELS: tuple[str, ...] = ()


@dataclass
class Settings:
    """Floating-point layers take the settings of the optimizer."""
