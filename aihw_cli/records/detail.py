"""One run in full, and several side by side: only what differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aihw_cli.arguments import table as two_columns
from aihw_cli.records.chart import Line, chart
from aihw_cli.records.listing import cell
from aihw_cli.table import as_text
from engine.experiment.identity.program import described
from engine.experiment.runs import (
    DONE,
    read_config,
    read_record,
    read_summary,
    run_status,
)
from engine.readers.run_files import read_metrics
from engine.records.differ import differing, distinguishing
from engine.records.run import DAMAGED, Run
from engine.records.select import shown
from engine.settings import UserError
from engine.trust.files import folders_in
from engine.trust.text import visible

SIDE_BY_SIDE = 6
ABOUT = (
    "id",
    "status",
    "started",
    "ended",
    "seconds",
    "commit",
    "device",
    "threads",
    "data",
)
PARTS = ("task", "device", "tile", "algorithm", "model", "dataset", "optimizer")
NAMED = ("status", "name", "task", "figure", "seed", "seconds")


def show(run: Run) -> str:
    """Everything that the folder of a run tells."""
    record = {**read_record(run.folder), "status": _status(run)}
    rows = [
        (key, cell(key, record[key])) for key in ABOUT if record.get(key) is not None
    ]
    rows.append(("host", " ".join(str(v) for v in (record.get("host") or {}).values())))
    rows.append(
        (
            "versions",
            ", ".join(
                f"{k} {v}" for k, v in (record.get("versions") or {}).items() if v
            ),
        )
    )
    rows.append(("checkpoint", _checkpoints(run.folder)))
    if len(record.get("stretches") or ()) > 1:
        rows.append(("programs", described(record["stretches"])))
    kinds = [(part, _kind(run, part)) for part in PARTS]
    result = [
        (key, cell(key, value)) for key, value in run.result.items() if key not in NAMED
    ]
    parts = [
        visible(run.folder),
        two_columns(rows),
    ]
    if made := [row for row in kinds if row[1]]:
        parts.append("made of:\n" + two_columns(made))
    if result:
        parts.append("result:\n" + two_columns(result))
    parts += [
        *_curve(run),
        *(text for text in map(_evaluation_text, evaluations(run.folder)) if text),
    ]
    papers = record.get("citations") or []
    if papers:
        parts.append("papers:\n" + "\n".join(f"  {visible(paper)}" for paper in papers))
    return "\n\n".join(parts)


def as_data(run: Run) -> dict[str, Any]:
    """The same for a script, with the whole configuration, the metrics and the evaluations."""
    record = {**read_record(run.folder), "status": _status(run)}
    data = {
        "folder": str(run.folder),
        "record": record,
        "config": read_config(run.folder),
        "result": run.result,
    }
    try:
        metrics: list[dict[str, Any]] = read_metrics(run.folder)
    except UserError as error:
        metrics, data["problem"] = [], str(error)
    return {**data, "metrics": metrics, "evaluations": list(evaluations(run.folder))}


def damage(run: Run) -> dict[str, Any]:
    """What there is to say of a run that cannot be read, for a script."""
    return {
        "folder": str(run.folder),
        "status": run.status,
        "problem": run.record["problem"],
    }


def _status(run: Run) -> str:
    return run.status if run.status == DAMAGED else run_status(run.folder)


def _kind(run: Run, part: str) -> str:
    name, settings = run.label(part), run.config.get(part, {})
    changed = [
        f"{key.rpartition('.')[2]} {shown(settings[key])}"
        for key in (f"{part}.lr",)
        if key in settings
    ]
    return ", ".join([name, *changed]) if name else ""


def _checkpoints(folder: Path) -> str:
    from engine.experiment.checkpoint import PLACE

    home = folder / "checkpoint"
    found = [path.name for path in folders_in(home) if PLACE.fullmatch(path.name)]
    if not found:
        return "none: the run can be done again, not continued or evaluated"
    epoch, batch = (int(part) for part in found[-1].split("-"))
    return f"after epoch {epoch}" + (f", step {batch}" if batch else "")


def _curve(run: Run) -> Iterator[str]:
    try:
        rows = read_metrics(run.folder)
    except UserError as error:
        if (run.folder / "metrics.csv").is_file():
            yield f"no curve: {error}"
        return
    for metric in ("test_accuracy", "train_loss"):
        points = [
            (float(row["epoch"]), float(row[metric]))
            for row in rows
            if metric in row and "epoch" in row
        ]
        if len(points) > 1:
            line = Line("", [x for x, _ in points], [y for _, y in points])
            yield "\n".join(chart([line], labels=("epoch", metric), height=8))
            return


def evaluations(folder: Path) -> Iterator[dict[str, Any]]:
    """What was evaluated with the weights of a run: the run folders below its eval/, or why one
    cannot be read."""
    for path in folders_in(folder / "eval"):
        if not path.name.startswith("."):
            data: dict[str, Any] = {"folder": str(path)}
            try:
                data |= {
                    "status": run_status(path),
                    "inference": read_config(path).get("inference"),
                }
                data |= {"result": read_summary(path)} if data["status"] in DONE else {}
            except UserError as error:
                data["problem"] = str(error)
            yield data


def _evaluation_text(data: Mapping[str, Any]) -> str:
    head = visible(
        f"evaluation {data['folder']}: {data.get('problem') or data['status']}"
    )
    result = data.get("result") or {}
    rows = [
        (str(k), cell(str(k), v))
        for k, v in result.items()
        if isinstance(v, int | float) and k not in NAMED
    ]
    points = [
        {k: cell(k, v) for k, v in point.items()}
        for point in result.get("points") or ()
    ]
    table = (
        "\n".join(f"  {line}" for line in as_text(points).splitlines())
        if points
        else ""
    )
    return "\n".join(
        part for part in (head, two_columns(rows) if rows else "", table) if part
    )


def compare(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each key in which the runs differ: presets, settings, versions, results."""
    if len(runs) < 2:
        raise UserError("aihw runs compare needs at least two runs")
    labels = [key for key in distinguishing(runs) if key not in differing(runs)]
    rows = [
        _row(key, runs, [run.value(key) for run in runs])
        for key in (*labels, *differing(runs, incidental=True))
    ]
    records = [_recorded(run) for run in runs]
    for key in dict.fromkeys(key for record in records for key in record):
        rows.append(_row(key, runs, [record.get(key) for record in records]))
    for key in dict.fromkeys(
        key for run in runs for key in run.result if key not in NAMED
    ):
        rows.append(_row(key, runs, [run.result.get(key) for run in runs]))
    return [
        row
        for row in rows
        if len({json.dumps(v, default=str) for k, v in row.items() if k != "key"}) > 1
    ]


def _recorded(run: Run) -> dict[str, Any]:
    record = read_record(run.folder)
    own = {
        key: record.get(key)
        for key in ("name", "hash", "seed", "commit", "data", "device")
    }
    versions = {
        f"version of {name}": version
        for name, version in (record.get("versions") or {}).items()
    }
    host = {f"host {key}": value for key, value in (record.get("host") or {}).items()}
    return {
        "status": run.status,
        **own,
        "threads": record.get("threads"),
        **versions,
        **host,
    }


def _row(key: str, runs: Sequence[Run], values: Sequence[Any]) -> dict[str, Any]:
    return {
        "key": key,
        **{str(run.folder): value for run, value in zip(runs, values, strict=True)},
    }


def side_by_side(rows: Sequence[Mapping[str, Any]]) -> str:
    """The comparison as text: runs as columns, or as rows where they are many."""
    if not rows:
        return "the runs do not differ in anything that is recorded"
    folders = [key for key in rows[0] if key != "key"]
    if len(folders) <= SIDE_BY_SIDE:
        names = {folder: str(number) for number, folder in enumerate(folders, 1)}
        legend = two_columns([(names[folder], folder) for folder in folders])
        cells = [
            {"key": row["key"], **{names[f]: cell(row["key"], row[f]) for f in folders}}
            for row in rows
        ]
        return f"{legend}\n\n{as_text(cells)}"
    return as_text(
        [
            {"run": f, **{row["key"]: cell(row["key"], row[f]) for row in rows}}
            for f in folders
        ]
    )
