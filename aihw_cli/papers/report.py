"""One self-contained page for each paper: figures, tables, configuration, versions, citation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aihw_cli.papers.collect import versions
from aihw_cli.papers.figures import figures, planned
from aihw_cli.papers.markdown import spent
from aihw_cli.papers.text import cost, point_row
from engine.experiment.files import writing
from engine.experiment.reproduce.judge import ORDERING, Judgement
from engine.experiment.reproduce.spec import GRADES, Figure
from engine.experiment.runs import read_config
from engine.readers.yaml_text import dump_yaml
from engine.trust.files import read_text, write_bytes
from engine.trust.text import visible

TEMPLATE = "report.html.jinja"
STATES = {True: "holds", False: "violated", None: "not known yet"}


def write_reports(chosen: Sequence[Figure], root: Path, folder: Path) -> Iterator[Path]:
    """Write the page of every paper among the figures and yield its path."""
    with writing("the reports", folder):
        folder.mkdir(parents=True, exist_ok=True)
    for paper in dict.fromkeys(figure.paper for figure in chosen):
        text = page(paper, [figure for figure in chosen if figure.paper == paper], root)
        path = folder / f"{paper.replace('/', '-')}.html"
        with writing("the report", folder):
            write_bytes(path, text.encode())
        yield path


def page(paper: str, chosen: Sequence[Figure], root: Path) -> str:
    """The page of one paper."""
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    template = jinja2.Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    ).get_template(TEMPLATE)
    sections = [_section(figure, root) for figure in chosen]
    sources = list(dict.fromkeys(figure.source for figure in chosen))
    return template.render(
        paper=paper, sources=sources, sections=sections, bibtex=bibtex(chosen), grades=GRADES,
        machines=_machines(sections),
    )  # fmt: skip


def _shown(value: Any) -> Any:
    """What the template writes: texts of recipes and records with what is not seen as escapes;
    the pictures, which are ours, as they are."""
    return visible(value, lines=True) if type(value) is str else value


def bibtex(chosen: Sequence[Figure]) -> str:
    """The BibTeX entries beside the recipes."""
    places = {figures()[figure.name].parent for figure in chosen}
    files = sorted(path for place in places for path in place.glob("*.bib"))
    return "\n".join(read_text(path, follow=True).strip() for path in files)


def _section(figure: Figure, root: Path) -> dict[str, Any]:
    both = versions(figure, root)
    remarks = {
        "Evidence": f"{figure.evidence.rstrip('.')} [{figure.grade}: {figure.known}]",
        "Assumed": figure.assumed,
        "Left out": figure.left_out,
        "Needs": figure.needs,
        "Remark": figure.remark,
        "Cost in full": f"{cost(figure)} of one core",
    }
    return {
        "figure": figure,
        "remarks": {name: text for name, text in remarks.items() if text},
        "results": [_result(judgement) for judgement in both if judgement.present]
        or [_result(both[0])],
        "recipe": read_text(figures()[figure.name], follow=True),
    }


def _result(found: Judgement) -> dict[str, Any]:
    """A version of a figure as the template shows it; without runs only its kind and the reason."""
    scaled = found.figure.scaled if found.scaled else None
    head = {
        "found": found,
        "title": "Smaller version, judged by ordering only"
        if found.scaled
        else "In full",
        "changes": " ".join(scaled.changes) if scaled else "",
        "ordering": found.kind == ORDERING,
    }
    if not found.present:
        return {**head, "rows": []}
    from engine.experiment.reproduce.draw import curves_svg, results_svg

    rows = [point_row(point, found.figure) for point in found.points if point.values]
    if found.scaled:
        rows = [
            {k: v for k, v in row.items() if k in ("point", found.figure.axis, "seeds")}
            for row in rows
        ]
    return {
        **head,
        "rows": rows,
        "orders": [(order.text, STATES[order.holds]) for order in found.orders],
        "pictures": [svg for svg in (results_svg(found), curves_svg(found)) if svg],
        "spent": spent(found),
        "configuration": _configuration(found),
        "commands": _commands(found),
        "records": [run.record for point in found.points for run in point.runs],
    }


def _configuration(found: Judgement) -> str:
    """The resolved configuration of the first recorded run."""
    run = next(run for point in found.points for run in point.runs)
    return f"# {run.folder.parent.name}/{run.folder.name}\n" + dump_yaml(
        read_config(run.folder)
    )


def _commands(found: Judgement) -> list[str]:
    words = [
        run.words for run in planned(found.figure, scaled=found.scaled) if run.seed == 1
    ]
    return ["aihw train " + " ".join(part) for part in words]


def _machines(sections: Sequence[dict[str, Any]]) -> list[str]:
    """Versions, commits and machines of all recorded runs, each once."""
    records = [
        r
        for section in sections
        for result in section["results"]
        for r in result.get("records", [])
    ]
    told = []
    for record in records:
        packages = ", ".join(
            f"{name} {number}" for name, number in record["versions"].items() if number
        )
        host = record["host"]
        commit = str(record.get("commit") or "unknown")[:14]
        told.append(
            f"{packages}; commit {commit}; {host['system']}, {record.get('device', '')}"
        )
    return list(dict.fromkeys(told))
