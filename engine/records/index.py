"""What is known of the runs below a folder, kept in an SQLite file of the user's cache.

The folders stay the truth: each look compares their files' times with the index and reads again
what changed. An index that was deleted, is damaged or of another version is made anew. Several
processes may look at once."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from engine.experiment.runs import run_status
from engine.records.folders import (
    Search,
    config_texts,
    flat_sections,
    read_values,
    stamp,
)
from engine.records.run import DAMAGED, RECORDED, Run
from engine.settings import UserError, cache_dir, user_path
from engine.trust.files import private_folder

VERSION = 2
WAIT_SECONDS = 60.0
AT_ONCE = 500
MANY = 1000
TABLES = """
CREATE TABLE runs (folder TEXT PRIMARY KEY, stamp TEXT, record TEXT, result TEXT, parts TEXT, problem TEXT);
CREATE TABLE parts (digest TEXT PRIMARY KEY, sections TEXT);
"""
PUT = "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)"


@dataclass
class Found:
    """Runs below some folders, those that cannot be read, and a line for each problem."""

    runs: list[Run] = field(default_factory=list)
    damaged: list[Run] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def find_runs(
    folders: Sequence[Path], say: Callable[[str], None] = lambda _: None
) -> Found:
    """All runs in and below `folders`, oldest first. `say` is told of a long wait. Raises UserError
    for no folder."""
    found = Found()
    for folder in folders:
        root = user_path(folder)
        if not root.is_dir():
            raise UserError(f"there is no folder {folder}")
        _look(root, found, say)
    found.problems = sorted(dict.fromkeys(found.problems))
    if len(folders) > 1:
        found.runs, found.damaged = map(each_once, (found.runs, found.damaged))
    found.damaged.sort(key=lambda run: str(run.folder))
    found.runs.sort(key=lambda run: (str(run.record["started"]), str(run.folder)))
    return found


def each_once(runs: Sequence[Run]) -> list[Run]:
    """The runs without those that lead to a folder which another one leads to as well."""
    return list({os.path.realpath(run.folder): run for run in runs}.values())


def index_path(root: Path) -> Path:
    """Where the index of the runs below a folder is kept."""
    name = hashlib.sha256(os.path.realpath(root).encode()).hexdigest()[:16]
    return cache_dir() / "runs" / f"{name}.sqlite"


def _look(root: Path, found: Found, say: Callable[[str], None]) -> None:
    """Through the index; through one made anew if it is damaged; without one if the cache cannot be
    used."""
    try:
        path = index_path(root)
    except UserError:
        path = None  # there is no home folder, and all of this works without an index
    for place in (None,) if (root / "run.json").is_file() else (path, path, None):
        try:
            with _opened(place) as base:
                links = _refresh(base, root, say)
                _collect(base, root, found)
                found.problems += [
                    f"{root / link} is a link and was not followed: name it as a folder to list it"
                    for link in links
                ]
            return
        except (sqlite3.DatabaseError, OSError) as problem:
            if place is None:
                raise
            # A locked or unwritable index is not damaged.
            if not isinstance(problem, sqlite3.OperationalError | OSError):
                place.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path | None) -> Iterator[sqlite3.Connection]:
    """An index with its tables; None makes one in memory."""
    if path is not None:
        private_folder(path.parent)
    with closing(
        sqlite3.connect(path or ":memory:", timeout=WAIT_SECONDS, isolation_level=None)
    ) as base:
        base.execute("PRAGMA synchronous = OFF")
        if _version(base) != VERSION:
            with _writing(base):
                if _version(base) != VERSION:
                    _make_tables(base)
        yield base


def _version(base: sqlite3.Connection) -> int:
    return int(base.execute("PRAGMA user_version").fetchone()[0])


def _make_tables(base: sqlite3.Connection) -> None:
    for (name,) in base.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table'"
    ).fetchall():
        base.execute(f'DROP TABLE "{name}"')
    for statement in TABLES.strip().splitlines():
        base.execute(statement)
    base.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def _writing(base: sqlite3.Connection) -> Iterator[None]:
    """One transaction. The lock is taken at its beginning: two readers that both want to write
    would wait forever."""
    base.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        base.execute("ROLLBACK")
        raise
    base.execute("COMMIT")


def _refresh(
    base: sqlite3.Connection, root: Path, say: Callable[[str], None]
) -> list[str]:
    """Read again what is new or changed; forget what is gone. Returns links that lead elsewhere."""
    known: dict[str, str] = dict(base.execute("SELECT folder, stamp FROM runs"))
    changed, seen = [], set()
    search = Search(root, known)
    for folder in search.run_folders():
        mark = stamp(os.path.join(root, folder))
        if mark:
            seen.add(folder)
        if mark and known.get(folder) != mark:
            changed.append((folder, mark))
    gone = [(folder,) for folder in known if folder not in seen]
    if gone:
        with _writing(base):
            base.executemany("DELETE FROM runs WHERE folder = ?", gone)
    if len(changed) > MANY:
        say(f"reading {len(changed)} runs below {root} into the index")
    parts = (
        {digest for (digest,) in base.execute("SELECT digest FROM parts")}
        if changed
        else set()
    )
    rest = iter(changed)
    # In portions: what was read stays when the user does not want to wait for the rest.
    while some := list(islice(rest, AT_ONCE)):
        fresh: dict[str, str] = {}
        rows = [
            _row(root / folder, (folder, mark), parts, fresh) for folder, mark in some
        ]
        with _writing(base):
            base.executemany("INSERT OR IGNORE INTO parts VALUES (?, ?)", fresh.items())
            base.executemany(PUT, rows)
        parts |= fresh.keys()
    return search.outside


def _row(
    path: Path, name: tuple[str, str], known: set[str], fresh: dict[str, str]
) -> tuple[str, ...]:
    """What the index keeps of a run; new parts of its configuration go into `fresh`."""
    try:
        record, result, problem = read_values(path)
        texts = config_texts(path)
        for digest, text in texts.items():
            if digest not in known and digest not in fresh:
                fresh[digest] = json.dumps(flat_sections(text, path))
    except UserError as error:
        return (*name, "", "", "", f"{error}".replace("\n", " "))
    return (*name, json.dumps(record), json.dumps(result), " ".join(texts), problem)


def _collect(base: sqlite3.Connection, root: Path, found: Found) -> None:
    parts: dict[str, dict[str, Any]] = {
        digest: json.loads(text)
        for digest, text in base.execute("SELECT digest, sections FROM parts")
    }
    rows = base.execute(
        "SELECT folder, record, result, parts, problem FROM runs"
    ).fetchall()
    for folder, record, result, names, problem in rows:
        if problem:
            found.problems.append(problem)
        if not record:
            found.damaged.append(_unreadable(root / folder, problem))
            continue
        config = {
            name: values
            for part in names.split()
            for name, values in parts[part].items()
        }
        found.runs.append(
            _run(root / folder, json.loads(record), json.loads(result), config)
        )


def _unreadable(folder: Path, problem: str) -> Run:
    """A run of which nothing is known but where it lies, and why."""
    # A run of a newer version is whole, for that one.
    status = DAMAGED if DAMAGED in problem else "unreadable"
    known = {"status": status, "id": folder.name, "problem": problem}
    return Run(folder, {**dict.fromkeys(RECORDED), **known}, {}, {})


def _run(
    folder: Path, record: dict[str, Any], result: dict[str, Any], config: dict[str, Any]
) -> Run:
    if record["status"] == "running":
        record["status"] = _status(folder)
    return Run(folder, record, result, config)


def _status(folder: Path) -> str:
    """Whether a run that was running still is: its process may have died."""
    try:
        return run_status(folder)
    except UserError:
        return "interrupted"
