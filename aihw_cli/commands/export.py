"""`aihw export`: a recorded run as files for other programs, other people, and a paper."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aihw_cli.arguments import Arguments, Command, Option
from aihw_cli.output import say
from aihw_cli.report import note
from engine.settings import UserError, user_path
from engine.trust import files
from engine.trust.code import check_code_in
from engine.trust.text import visible

if TYPE_CHECKING:
    from torch import nn

    from engine.records.run import Run

CODE = Option("--allow-code", "allow a device file of the run's own to run")
MANY = 10**9
SAMPLES = 3


def export(arguments: Arguments) -> int:
    """Find the runs, and write them in the form that is asked for."""
    from aihw_cli.records.pick import pick

    form = arguments.options.get("--to", "")
    if form not in FORMS:
        raise UserError(f"--to must be one of {', '.join(FORMS)}, not {form!r}")
    picked = pick(arguments.words)
    # A table and a list of papers join many runs; everything else is about one.
    if form not in JOINED and len(picked.runs) != 1:
        names = ", ".join(str(run.folder) for run in picked.runs[:3])
        raise UserError(
            f"--to {form} takes one run, not {len(picked.runs)}: {names}, ..."
        )
    if form != "latex" and arguments.has("--metric"):
        raise UserError(f"--metric is for --to latex, not for {form}")
    out = arguments.options.get("--out")
    if form in FILES:
        write, suffix = FILES[form]
        say(write(picked.runs[0], user_path(out or _name(picked.runs[0], suffix))))
        return 0
    text = _latex(picked, arguments) if form == "latex" else TEXTS[form](picked.runs)
    if out is None:
        say(text, end="")
    else:
        _write_text(user_path(out), text)
        what = (
            picked.runs[0].folder
            if len(picked.runs) == 1
            else f"{len(picked.runs)} runs"
        )
        say(f"{out} holds the {form} of {what}")
    return 0


def _name(run: Run, suffix: str) -> str:
    """`digits-0a1b2c3d4e5f-1.onnx`, in the current folder."""
    return re.sub(r"[^\w.+-]+", "-", str(run.record["id"])) + suffix


def _network(run: Run) -> nn.Module:
    from engine.experiment.runs import DONE, run_status
    from engine.records.network import load

    if run_status(run.folder) not in DONE:
        note(
            f"{run.folder} is {run_status(run.folder)}: its last checkpoint is exported"
        )
    return load(run.folder)


def _torch(run: Run, path: Path) -> str:
    from engine.exchange.network import write_torch

    write_torch(_network(run), path)
    return f"{path} holds the logical weights of {run.folder}, by torch's names"


def _safetensors(run: Run, path: Path) -> str:
    from engine.exchange.network import write_safetensors

    write_safetensors(_network(run), path)
    return f"{path} holds the logical weights of {run.folder}, by torch's names"


def _onnx(run: Run, path: Path) -> str:
    from engine.exchange.network import write_onnx
    from engine.experiment.runs import read_config
    from engine.records.network import example

    model = _network(run)
    checked = write_onnx(model, example(read_config(run.folder), SAMPLES), path)
    return f"{path} computes what {run.folder} does in floating point ({checked})"


def _aihwkit(run: Run, path: Path) -> str:
    from engine.exchange import aihwkit
    from engine.experiment.runs import read_config

    batch = int(read_config(run.folder)["dataset"]["batch_size"])
    # The writer of safetensors replaces what is there.
    if path.exists():
        raise UserError(f"{path} is there already; name another file with --out")
    aihwkit.save(_network(run), path, batch_size=batch)
    return (
        f"{path} holds the tiles of {run.folder}; beside aihwkit, with a model of the same shape:\n"
        f'  import export_aihwkit; export_aihwkit.load(model, "{path.name}")\n'
        "  (aihw import --exporter > export_aihwkit.py)"
    )


def _recipe(runs: Sequence[Run]) -> str:
    import yaml

    from aihw_cli.records.portable import portable
    from engine.experiment.runs import read_config

    (run,) = runs
    config = read_config(run.folder)
    check_code_in(config, run.folder)
    values, needed = portable(config)
    for line in needed:
        note(line)
    head = [
        f"# The recipe of run {run.record['id']}, seed {config['run']['seed']}.",
        f"# aihw {run.record.get('versions', {}).get('aihw') or '?'}, commit "
        f"{run.record.get('commit') or 'not known'}. Run it with: aihw train conf=FILE",
    ]
    text = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=100)
    # A line break in a record would end the comment: what follows would be a setting.
    return "\n".join([*map(visible, head), text])


def _bibtex(runs: Sequence[Run]) -> str:
    from engine.exchange.bibtex import bibtex
    from engine.experiment.runs import read_record

    cited = [
        text for run in runs for text in read_record(run.folder).get("citations") or []
    ]
    return bibtex(list(dict.fromkeys(map(str, cited))))


def _latex(picked: Any, arguments: Arguments) -> str:
    """Mean and interval of a metric over the seeds, a row for each configuration."""
    from aihw_cli.records.listing import metric_of
    from engine.exchange.latex import table
    from engine.records.group import over_seeds

    metric = metric_of(picked, arguments)
    groups = [(group, group.spread(metric)) for group in over_seeds(picked.runs)]
    rows = [
        {**group.keys, "mean": found.mean, "half": found.ci95, "count": found.count}
        for group, found in groups
    ]
    # The hash is what made the groups; it tells a reader nothing.
    for row in rows:
        row.pop("hash", None)
    if not any(row["count"] for row in rows):
        raise UserError(f"no run has a result {metric} yet")
    if any(row["count"] == 1 for row in rows):
        note("one run of a configuration has no interval; seeds=3 makes more")
    ids = ", ".join(str(run.record["id"]) for run in picked.runs)
    return table(rows, metric, comment=f"aihw export: runs {visible(ids)}")


def _write_text(path: Path, text: str) -> None:
    try:
        files.write_new(path, text.encode("utf-8"))
    except FileExistsError:
        raise UserError(
            f"{path} is there already; name another file with --out"
        ) from None
    except OSError as problem:
        raise UserError(f"cannot write {path}: {problem.strerror or problem}") from None


# What writes each form that is a file, and the suffix of that file.
FILES: dict[str, tuple[Callable[[Run, Path], str], str]] = {
    "torch": (_torch, ".pt"),
    "safetensors": (_safetensors, ".safetensors"),
    "onnx": (_onnx, ".onnx"),
    "aihwkit": (_aihwkit, ".aihwkit.safetensors"),
}
# Forms that are text, which goes to the terminal without --out.
TEXTS: dict[str, Callable[[Sequence[Run]], str]] = {
    "recipe": _recipe,
    "bibtex": _bibtex,
}
FORMS = (*FILES, *TEXTS, "latex")
JOINED = ("bibtex", "latex")
EXAMPLES: Sequence[tuple[str, str]] = (
    (
        "aihw export RUN_DIR --to torch",
        "logical weights for torch.load, by torch's names",
    ),
    (
        "aihw export RUN_DIR --to onnx --out net.onnx",
        "a network that runs without aihw",
    ),
    (
        "aihw export RUN_DIR --to recipe > again.yaml",
        "then anywhere: aihw train conf=again.yaml",
    ),
    ("aihw export RUN_DIR --to bibtex", "the papers that a run, or a sweep, rests on"),
    ("aihw export runs/my-sweep --to latex", "a table of means with 95 % intervals"),
    ("aihw export RUN_DIR --to aihwkit", "tiles for a model of aihwkit"),
)
COMMANDS = (
    Command(
        "export",
        "write a run for other programs, other people, or a paper",
        "aihw export RUN_DIR --to FORM [--out FILE] [--metric KEY] [--allow-code]",
        tuple(EXAMPLES),
        export,
        (
            Option("--to", f"the form: {', '.join(FORMS)}", "FORM"),
            Option("--out", "the file; text goes to the terminal without it", "FILE"),
            Option(
                "--metric", "latex: the result that is looked at (test_accuracy)", "KEY"
            ),
            CODE,
        ),
        (1, MANY),
        "torch, safetensors and onnx hold the logical weights, without tiles and noise; a file of ONNX is\n"
        "compared with the network where onnxruntime is installed (pip install 'aihw[onnx]'). A recipe is\n"
        "composed again before it is written: it gives the same run. bibtex and latex take several runs, a sweep, or\n"
        "conditions as `aihw runs` does.",
    ),
)
