"""Command line of the golden runner: a line for each case, exit code 1 if one fails or cannot be
measured."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from tests.golden.compare import Case, Verdict, has_figures
from tests.golden.runner import run_cases
from tests.golden.setups import lacks_protocol


def main(arguments: list[str] | None = None) -> int:
    """Measures every case of REF, writes OUT, compares where REF has figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("ref", type=Path, metavar="REF.json")
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT.json")
    parser.add_argument(
        "--cases", default="", metavar="REGEX", help="only cases whose name matches"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="another seed draws other devices and noise"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="cases measured at the same time",
    )
    parser.add_argument(
        "--device", default="cpu", choices=("cpu", "cuda"), help="where the arrays live"
    )
    parser.add_argument(
        "--verbose", action="store_true", help="list every figure beyond the limit"
    )
    options = parser.parse_args(arguments)
    reference = json.loads(options.ref.read_text())
    chosen = [
        case for case in reference["cases"] if re.search(options.cases, case["name"])
    ]
    measured: list[Case] = []
    bad = 0
    outcomes = run_cases(chosen, options.seed, options.jobs, options.device)
    for case, (mine, verdict, seconds) in zip(chosen, outcomes, strict=True):
        measured += [mine] if mine else []
        bad += not verdict.passed
        report(case, verdict, seconds, options.verbose)
    if options.out:
        head = {k: v for k, v in reference.items() if k not in ("cases", "source")}
        options.out.write_text(
            json.dumps(head | {"source": "aihw", "cases": measured}, indent=1) + "\n"
        )
    print(f"{len(measured)} cases measured, {bad} failing")
    return 1 if bad else 0


def report(case: Case, verdict: Verdict, seconds: float, verbose: bool) -> None:
    """One line, and with `verbose` a line for every figure beyond the limit."""
    name = verdict.name
    if "unsupported" in case:
        line = f"skip  {name}: the reference does not support it"
    elif lacks_protocol(case["setup"]):
        line = f"skip  {name}: its set-up has only {', '.join(case['setup'])}, nothing to measure"
    elif verdict.problem:
        line = f"FAIL  {name}: {verdict.problem.splitlines()[0]}"
    elif not has_figures(case):
        line = f"done  {name}: measured in {seconds:.1f} s, no figures to compare"
    else:
        line = f"{'ok  ' if verdict.passed else 'FAIL'}  {name}: {_summary(verdict)}, {seconds:.1f} s"
    print(line, flush=True)
    for d in verdict.beyond if verbose else []:
        print(
            f"        {d.record} {d.figure}: z {d.z:.1f}, reference {d.reference}, mine {d.mine}"
        )


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
