"""The page of a paper: whole in itself, honest about kinds, with everything that a supplement
needs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.papers.conftest import Result, figure_text, record, record_all, write

Call = Callable[..., Result]
VOID = {"meta", "br", "img", "link", "hr", "input"}


class Structure(HTMLParser):
    """Fails on tags that do not match; remembers what would be fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in VOID or tag in ("script", "iframe"):
            self.fetched.append(tag) if tag != "meta" else None
        if tag not in VOID:
            self.open.append(tag)
        self.fetched += [
            v
            for k, v in attrs
            if k in ("src", "xlink:href", "href") and v and not v.startswith("#")
        ]
        self.ids.add(values.get("id") or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()


@pytest.fixture(autouse=True)
def _anew() -> None:
    from aihw_cli.papers.collect import forget

    forget()


def page(aihw: Call) -> str:
    found = aihw("reproduce", "toy2020", "--report", "out")
    assert found.code == 0 and found.out == "out/toy2020.html\n", found.err
    return Path("out/toy2020.html").read_text(encoding="utf-8")


def test_whole_in_itself(paper: Path, aihw: Call) -> None:
    record_all()
    structure = Structure()
    structure.feed(page(aihw))
    assert structure.open == [] and structure.fetched == []
    assert "toy2020/fig1" in structure.ids


def test_holds_figure_table_configuration_versions_and_citation(
    paper: Path, aihw: Call
) -> None:
    record_all()
    text = page(aihw)
    assert text.count("<svg") == 2
    assert (
        "<td>2.15 ± 0.07</td>" in text
        and "<th>published</th>" in text
        and "in tolerance" in text
    )
    assert "dw_min:" in text and "conf=toy2020/fig1" in text
    assert "aihw 1.2.3" in text and "commit 0123456789abcd" in text
    assert "@article{toy2020," in text and "Toy &amp; Sons &lt;Ltd&gt;" in text
    assert '<span class="kind reproduced">reproduced</span>' in text


def test_the_picture_shows_results_and_expected_values(paper: Path, aihw: Call) -> None:
    record_all()
    words = re.findall(r"<text[^>]*>([^<]*)<|<!-- ([^>]*) -->", page(aihw))
    shown = {a or b for a, b in words}
    assert {"digital", "pulsed", "published, with tolerance", "epoch"} <= shown


def test_a_smaller_version_is_never_beside_published_values(
    paper: Path, aihw: Call
) -> None:
    record("run.epochs=1", "name=toy2020/fig1-scaled", error=2.0)
    text = page(aihw)
    assert "<th>published</th>" not in text and "kind reproduced" not in text
    assert "not comparable to the published values" in text


def test_memory_is_never_shown_as_published(folder: Path, aihw: Call) -> None:
    write(folder / "experiments/toy2020/fig1.yaml", figure_text(grade="MEM"))
    record_all()
    text = page(aihw)
    assert (
        "<th>to be checked</th>" in text
        and "<th>published</th>" not in text
        and "kind reproduced" not in text
    )
    assert "published, with tolerance" not in text


def test_nothing_recorded_still_gives_a_page(folder: Path, aihw: Call) -> None:
    write(folder / "experiments/toy2020/fig1.yaml", figure_text(needs="a GPU"))
    text = page(aihw)
    assert "a GPU" in text and "no run is recorded" in text and "not run here" in text


def test_every_figure_has_one_result_at_least(
    paper: Path, aihw: Call, folder: Path
) -> None:
    write(folder / "experiments/toy2020/fig0.yaml", figure_text(needs="a GPU"))
    write(folder / "experiments/toy2020/fig2.yaml", figure_text(needs="a cluster"))
    record_all()
    text = page(aihw)
    assert text.count("<h2 id=") == 3 and text.count("<h3>") == 3
    assert (
        text.count('<span class="kind not">') == 4
        and text.count('<span class="kind reproduced">') == 2
    )


def test_texts_of_recipes_and_records_are_texts(paper: Path, aihw: Call) -> None:
    record_all()
    hostile = "\x1b[31m\u202e<script>$\\frac{x$"
    write(paper, figure_text(remark=hostile, place=hostile, assumed=hostile))
    run = record(seed=1)
    entry = json.loads((run / "run.json").read_text())
    host = {**entry["host"], "system": hostile}
    write(run / "run.json", json.dumps({**entry, "host": host, "commit": hostile}))
    text = page(aihw)
    assert "<script" not in text and "&lt;script&gt;" in text
    assert all(c.isprintable() or c == "\n" for c in text) and r"\x1b[31m\u202e" in text
