"""One module for each category of the reference files; each has `measure(setup, seed) ->
Measurement`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from tests.golden.figures import Measurement
from tests.golden.setups import NotBuilt

Measure = Callable[[dict[str, Any], int], Measurement]


def find(category: str) -> Measure:
    """The measurement of a category such as `A_device_response`. Raises NotBuilt if there is
    none."""
    name = category.partition("_")[2]
    if name not in {module.name for module in pkgutil.iter_modules(__path__)}:
        raise NotBuilt(f"category {category}")
    measure: Measure = importlib.import_module(f"{__name__}.{name}").measure
    return measure
