"""One module for each category of the reference files; each has `measure(setup, seed) ->
Measurement`, or `measure(setup, seed, ids)` where the set-up leaves open what is recorded."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence

from tests.golden.figures import Measurement
from tests.golden.setups import NotBuilt, Object

Measure = Callable[[Object, int], Measurement]


def find(category: str, ids: Sequence[str] = ()) -> Measure:
    """The measurement of a category such as `A_device_response`, with the records `ids` if they are
    known. Raises NotBuilt if there is none."""
    name = category.partition("_")[2]
    if name not in {module.name for module in pkgutil.iter_modules(__path__)}:
        raise NotBuilt(f"category {category}")
    measure: Measure = importlib.import_module(f"{__name__}.{name}").measure
    if "ids" not in inspect.signature(measure).parameters:
        return measure
    return functools.partial(measure, ids=ids)
