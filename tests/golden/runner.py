"""Measures cases from their set-ups and compares, several at the same time."""

from __future__ import annotations

import functools
import multiprocessing
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.golden.compare import (
    Case,
    Verdict,
    compare_case,
    has_figures,
    relative_tolerance,
)
from tests.golden.figures import Measurement
from tests.golden.measure import find
from tests.golden.setups import described, lacks_protocol, seed_of

KEPT = ("name", "category", "description", "setup", "unsupported")
Outcome = tuple[Case | None, Verdict, float]


def run_cases(
    cases: list[Case], salt: int, jobs: int, device: str = "cpu"
) -> Iterator[Outcome]:
    """Outcomes in the order of the cases. The arrays are small: a core for each case beats two
    cores for one."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        max(1, jobs), mp_context=context, initializer=one_thread, initargs=(device,)
    ) as pool:
        outcomes: Iterable[Outcome] = pool.map(
            functools.partial(run_case, salt=salt), cases
        )
        yield from outcomes


def one_thread(device: str) -> None:
    """Leaves the other cores to the other processes; new arrays live on `device`."""
    import torch

    torch.set_num_threads(1)
    torch.set_default_device(device)


def run_case(case: Case, salt: int) -> Outcome:
    """Measures one case from its set-up and compares; a case that cannot be measured gets a verdict
    with the reason."""
    started = time.perf_counter()
    mine = {key: case[key] for key in KEPT if key in case}
    if "unsupported" not in mine and lacks_protocol(case["setup"]):
        mine["unsupported"] = "the set-up names parameters and nothing to measure"
    if "unsupported" in mine:
        return mine, Verdict(case["name"]), 0.0
    ids = [record["id"] for record in case.get("records") or ()]
    try:
        measurement: Measurement = find(category_of(case), ids)(
            described(case["setup"]), seed_of(case["name"], salt)
        )
    # One case that the engine refuses must not hide the others.
    except Exception as error:
        problem = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
        return (
            None,
            Verdict(case["name"], problem=problem),
            time.perf_counter() - started,
        )
    mine |= {"groups": measurement.groups, "records": measurement.records}
    verdict = Verdict(case["name"])
    if has_figures(case):
        verdict = compare_case(case, measurement.records, relative_tolerance(case))
    return mine, verdict, time.perf_counter() - started


CATEGORIES = {
    "A": "A_device_response",
    "B": "B_update",
    "C": "C_io",
    "D": "D_inference",
    "E": "E_training",
    "F": "F_modifier",
    "G": "G_ops",
}


def category_of(case: Case) -> str:
    """The category, from the first letter of the name where it is not told."""
    return str(case.get("category") or CATEGORIES.get(case["name"][:1], case["name"]))
