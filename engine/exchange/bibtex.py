"""The papers of a run as BibTeX: whole entries where one stands beside the recipes, otherwise what
the citation says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from engine.settings import data_dirs

DOI = re.compile(r"doi:\s*(10\.\S+?)(?=[,;)\s]|$)")
ARXIV = re.compile(r"arXiv:\s*(\d{4}\.\d{4,5})")
ARXIV_DOI = "10.48550/arxiv."
YEAR = re.compile(r"\b((?:19|20)\d\d)\b")
# Authors are taken where there can be no doubt: joined by `&`, or with others.
NAME = r"[A-Z][\w'-]*(?: [A-Z][\w'-]*)*"
AUTHORS = re.compile(rf"({NAME}(?:, {NAME})*(?: & {NAME}| et al\.))[, (]")
ENTRY = re.compile(r"@\w+\{[^@]*\}", re.S)
FIELD = re.compile(r"^\s*(?P<name>\w+)\s*=\s*[{\"](?P<value>.*?)[}\"],?\s*$", re.M)


def bibtex(citations: Sequence[str]) -> str:
    """Entries of all papers that citations name, each once; a citation that names none becomes a
    comment."""
    known = dict(_known())
    found: dict[str, str] = {}
    rest: list[str] = []
    for text in citations:
        references = list(_references(text))
        rest += [] if references else [f"% {' '.join(text.split())}"]
        for ids, reference in references:
            if any(one in found for one in ids):
                continue
            entry = next((known[one] for one in ids if one in known), None)
            if entry is None:
                entry = _entry(ids, reference, set(_keys(found.values())))
            found |= dict.fromkeys(ids, entry)
    entries = list(dict.fromkeys(found.values()))
    return "\n\n".join([*entries, *rest]) + "\n"


def _known() -> Iterator[tuple[str, str]]:
    """The entries beside the recipes, by DOI and arXiv number."""
    for root in data_dirs():
        for path in sorted((root / "experiments").glob("*/*.bib")):
            for entry in ENTRY.findall(path.read_text(encoding="utf-8")):
                fields = {m["name"].lower(): m["value"] for m in FIELD.finditer(entry)}
                for name in ("doi", "eprint"):
                    if name in fields:
                        yield _id(fields[name]), entry.strip()


def _references(text: str) -> Iterator[tuple[list[str], str]]:
    """Each paper of a citation: its numbers, and what is said of it."""
    pieces = re.split(r"; ", text)
    for piece in pieces:
        ids = [_id(one) for one in (*DOI.findall(piece), *ARXIV.findall(piece))]
        if ids:
            yield list(dict.fromkeys(ids)), piece
        elif piece[:1].isupper() and YEAR.search(piece):
            yield [piece], piece


def _id(text: str) -> str:
    """A DOI or arXiv number in one form."""
    return text.strip().lower().removeprefix(ARXIV_DOI).removeprefix("arxiv:")


def _entry(ids: Sequence[str], text: str, taken: set[str]) -> str:
    """An entry of what a citation says; the citation itself is its note, as it may say more."""
    fields: dict[str, str] = {}
    authors, year = AUTHORS.search(text), YEAR.search(text)
    if authors is not None:
        fields["author"] = _authors(authors[1])
    if year is not None:
        fields["year"] = year[1]
    for one in ids:
        if one.startswith("10."):
            fields["doi"] = one
        elif ARXIV.match(f"arXiv:{one}"):
            fields |= {"eprint": one, "archiveprefix": "arXiv"}
    fields["note"] = re.sub(r"([&%#_])", r"\\\1", " ".join(text.split()))
    width = max(map(len, fields))
    lines = ",\n".join(f"  {name:<{width}} = {{{value}}}" for name, value in fields.items())
    return f"@misc{{{_free(_key(fields, text), taken)},\n{lines}\n}}"


def _authors(text: str) -> str:
    """Names joined as BibTeX wants them."""
    names = re.split(r", | & | and ", text.replace(" et al.", ", others").strip(" ,"))
    # A family name of two words must not be taken for a first and a last name.
    return " and ".join(f"{{{name}}}" if " " in name else name for name in names if name)


def _key(fields: dict[str, str], text: str) -> str:
    """The last name of the first author and the year, or the first word of the citation."""
    first = fields.get("author", text).split(" and ")[0].split()
    name = first[-1] if "author" in fields else first[0]
    return re.sub(r"\W", "", name).lower() + fields.get("year", "")


def _free(key: str, taken: set[str]) -> str:
    """The key, with a letter after it if another entry has it."""
    letters = (chr(code) for code in range(ord("b"), ord("z") + 1))
    return key if key not in taken else next(key + one for one in letters if key + one not in taken)


def _keys(entries: Iterable[str]) -> Iterator[str]:
    for entry in entries:
        yield entry.partition("{")[2].partition(",")[0]
