"""The papers of a run as BibTeX: whole entries where one stands beside the recipes, otherwise what
the citation says, and nothing more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from engine.exchange.latex import escape
from engine.settings import data_dirs

DOI = re.compile(r"doi:\s*(10\.\S+?)(?=[,;)\s]|$)")
ARXIV = re.compile(r"arXiv:\s*(\d{4}\.\d{4,5})")
YEAR = re.compile(r"\b((?:19|20)\d\d)\b")
# Every number of arXiv is a DOI as well.
ARXIV_DOI = "10.48550/arxiv."
# Authors are taken only where there can be no doubt: joined by `&`, or with others.
NAME = r"[A-Z][\w'-]*(?: [A-Z][\w'-]*)*"
AUTHORS = re.compile(rf"({NAME}(?:, {NAME})*(?: & {NAME}| et al\.))[, (]")
ENTRY = re.compile(r"@\w+\{[^@]*\}", re.S)
FIELD = re.compile(r"^\s*(?P<name>\w+)\s*=\s*[{\"](?P<value>.*?)[}\"],?\s*$", re.M)


def bibtex(citations: Sequence[str]) -> str:
    """Entries of all papers that citations name, each once; a citation that names none becomes a
    comment."""
    known, found = dict(_known()), dict[str, str]()
    comments: list[str] = []
    for text in citations:
        references = list(_references(text))
        if not references:
            comments.append(f"% {' '.join(text.split())}")
        for numbers, reference in references:
            if any(number in found for number in numbers):
                continue
            beside = [known[number] for number in numbers if number in known]
            entry = beside[0] if beside else _entry(numbers, reference, found)
            for number in numbers:
                found[number] = entry
    entries = list(dict.fromkeys(found.values()))
    return "\n\n".join([*entries, *comments]) + "\n"


def _known() -> Iterator[tuple[str, str]]:
    """The entries beside the recipes, by DOI and arXiv number."""
    for root in data_dirs():
        for path in sorted((root / "experiments").glob("*/*.bib")):
            for entry in ENTRY.findall(path.read_text(encoding="utf-8")):
                fields = {m["name"].lower(): m["value"] for m in FIELD.finditer(entry)}
                for name in ("doi", "eprint"):
                    if name in fields:
                        yield _plain(fields[name]), entry.strip()


def _references(text: str) -> Iterator[tuple[list[str], str]]:
    """Each paper of a citation: its numbers, or its text in their place, and what is said of it."""
    pieces = text.split("; ")
    for piece in pieces:
        numbers = [
            _plain(number) for number in DOI.findall(piece) + ARXIV.findall(piece)
        ]
        if numbers:
            yield list(dict.fromkeys(numbers)), piece
        elif piece[:1].isupper() and YEAR.search(piece):
            # A paper without a number; remarks, such as `as in aihwkit`, begin small.
            yield [piece], piece


def _plain(number: str) -> str:
    """A DOI or arXiv number in one form."""
    return number.strip().lower().removeprefix(ARXIV_DOI).removeprefix("arxiv:")


def _entry(numbers: Sequence[str], text: str, others: dict[str, str]) -> str:
    """An entry of what a citation says; the citation itself is its note, as it may say more."""
    fields: dict[str, str] = {}
    authors, year = AUTHORS.search(text), YEAR.search(text)
    if authors is not None:
        fields["author"] = _authors(authors[1])
    if year is not None:
        fields["year"] = year[1]
    for number in numbers:
        if number.startswith("10."):
            fields["doi"] = number
        elif ARXIV.match(f"arXiv:{number}"):
            fields["eprint"] = number
            fields["archiveprefix"] = "arXiv"
    fields["note"] = escape(" ".join(text.split()))
    key = _key(fields, text, others)
    width = max(map(len, fields))
    lines = [f"  {name:<{width}} = {{{value}}}" for name, value in fields.items()]
    return f"@misc{{{key},\n" + ",\n".join(lines) + "\n}"


def _authors(text: str) -> str:
    """Names joined as BibTeX wants them."""
    names = re.split(r", | & ", text.replace(" et al.", ", others").strip(" ,"))
    # A family name of two words must not be taken for a first and a last name.
    whole = [f"{{{name}}}" if " " in name else name for name in names if name]
    return " and ".join(whole)


def _key(fields: dict[str, str], text: str, others: dict[str, str]) -> str:
    """The name of the first author and the year, with a letter if another entry has both."""
    first = fields.get("author", text).split(" and ")[0].split()
    name = first[-1] if "author" in fields else first[0]
    key = re.sub(r"\W", "", name).lower() + fields.get("year", "")
    taken = {entry.partition("{")[2].partition(",")[0] for entry in others.values()}
    letter = ord("a")
    free = key
    while free in taken:
        letter += 1
        free = key + chr(letter)
    return free
