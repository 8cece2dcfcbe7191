"""Command line of the golden runner: a line for each case, exit code 1 if one fails or cannot be measured."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from tests.golden.compare import Case, Verdict, compare_case, has_figures, relative_tolerance
from tests.golden.figures import Measurement
from tests.golden.measure import find
from tests.golden.setups import seed_of

KEPT = ("name", "category", "description", "setup", "unsupported")


def main(arguments: list[str] | None = None) -> int:
    """Measures every case of REF, writes OUT, compares where REF has figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("ref", type=Path, metavar="REF.json")
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT.json")
    parser.add_argument("--cases", default="", metavar="REGEX", help="only cases whose name matches")
    parser.add_argument("--seed", type=int, default=1, help="another seed draws other devices and noise")
    parser.add_argument("--verbose", action="store_true", help="list every figure beyond the limit")
    options = parser.parse_args(arguments)
    reference = json.loads(options.ref.read_text())
    measured: list[Case] = []
    bad = 0
    for case in reference["cases"]:
        if re.search(options.cases, case["name"]):
            mine, verdict, seconds = run_case(case, options.seed)
            measured += [mine] if mine else []
            bad += not verdict.passed
            report(case, verdict, seconds, options.verbose)
    if options.out:
        head = {k: v for k, v in reference.items() if k not in ("cases", "source")}
        options.out.write_text(json.dumps(head | {"source": "aihw", "cases": measured}, indent=1) + "\n")
    print(f"{len(measured)} cases measured, {bad} failing")
    return 1 if bad else 0


def run_case(case: Case, salt: int) -> tuple[Case | None, Verdict, float]:
    """Measures one case from its set-up and compares; a case that cannot be measured gets a verdict with the reason."""
    started = time.perf_counter()
    mine = {key: case[key] for key in KEPT if key in case}
    if "unsupported" in case:
        return mine, Verdict(case["name"]), 0.0
    try:
        measurement: Measurement = find(category_of(case))(case["setup"], seed_of(case["name"], salt))
    # One case that the engine refuses must not hide the others.
    except Exception as error:
        problem = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
        return None, Verdict(case["name"], problem=problem), time.perf_counter() - started
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


def report(case: Case, verdict: Verdict, seconds: float, verbose: bool) -> None:
    """One line, and with `verbose` a line for every figure beyond the limit."""
    name = verdict.name
    if "unsupported" in case:
        line = f"skip  {name}: the reference does not support it"
    elif verdict.problem:
        line = f"FAIL  {name}: {verdict.problem.splitlines()[0]}"
    elif not has_figures(case):
        line = f"done  {name}: measured in {seconds:.1f} s, no figures to compare"
    else:
        line = f"{'ok  ' if verdict.passed else 'FAIL'}  {name}: {_summary(verdict)}, {seconds:.1f} s"
    print(line, flush=True)
    for d in verdict.beyond if verbose else []:
        print(f"        {d.record} {d.figure}: z {d.z:.1f}, reference {d.reference}, mine {d.mine}")


def _summary(verdict: Verdict) -> str:
    worst = max((d.z for d in verdict.differences), default=0.0)
    text = f"{len(verdict.differences)} figures, rms z {verdict.rms:.2f}, largest {worst:.2f}"
    if verdict.missing:
        text += f", missing {len(verdict.missing)} ({verdict.missing[0]})"
    if verdict.beyond:
        first: Any = verdict.beyond[0]
        text += f" [{len(verdict.beyond)} beyond: {first.record} {first.figure} {first.reference} mine {first.mine}]"
    return text


if __name__ == "__main__":
    sys.exit(main())
