"""Run folders below a folder, and what the index keeps of each: a stamp that tells a change, and
the values."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.readers.run_files import (
    DONE,
    config_text,
    parse_config,
    read_metrics,
    read_record,
    read_summary,
)
from engine.records.run import DAMAGED, RECORDED
from engine.settings import UserError

STAMPED = ("run.json", "config.yaml", "summary.json", "metrics.csv")
DEPTH = 6
TOP = re.compile(r"^(?=[^\s#-])", re.MULTILINE)


class Search:
    """The search for run folders below `root`.

    Links are not followed: what one leads to would count twice, or come from elsewhere. `outside`
    holds those that lead to a folder elsewhere, so that nobody misses what is in it."""

    def __init__(self, root: Path, known: Collection[str]) -> None:
        self.root, self.known = str(root), known
        self.outside: list[str] = []

    def run_folders(self, inner: str = "", depth: int = DEPTH) -> Iterator[str]:
        """Paths of all run folders, relative to the root. Those that are known are not looked
        into."""
        try:
            with os.scandir(os.path.join(self.root, inner)) as entries:
                found = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError:
            return
        if any(entry.name == "run.json" for entry in found):
            yield inner
            return
        for entry in found:
            path = f"{inner}/{entry.name}" if inner else entry.name
            if entry.is_symlink():
                self._note(path)
            elif path in self.known:
                yield path
            elif depth and entry.is_dir():
                yield from self.run_folders(path, depth - 1)

    def _note(self, link: str) -> None:
        target, home = (
            os.path.realpath(os.path.join(self.root, p)) for p in (link, "")
        )
        if os.path.isdir(target) and os.path.commonpath([target, home]) != home:
            self.outside.append(link)


def stamp(folder: str) -> str:
    """Times and sizes of the files that the index reads; empty if there is no run any more."""
    parts = []
    for name in STAMPED:
        try:
            found = os.lstat(f"{folder}/{name}")
        except OSError:
            if name == "run.json":
                return ""
            parts.append("-")
        else:
            # The time of the last change to the file's permissions counts too.
            times = f"{found.st_mtime_ns:x}.{found.st_ctime_ns:x}"
            parts.append(f"{times}.{found.st_size:x}.{found.st_ino:x}")
    return " ".join(parts)


def read_values(folder: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Entries of run.json; the result, from summary.json or else the last row of the metrics; what
    is wrong with it."""
    found = read_record(folder)
    record = {key: found.get(key) for key in RECORDED}
    record |= {
        "processor": found.get("device"),
        "host": (found.get("host") or {}).get("name"),
    }
    result: dict[str, Any] = {}
    problem = ""
    try:
        # A run that is done has written its summary before it said so.
        done = found["status"] in DONE or (folder / "summary.json").is_file()
        result = _summary(folder) if done else _last_row(folder)
    except UserError as error:
        problem = str(error)
        if done:
            record["status"] = DAMAGED if found["status"] in DONE else found["status"]
            with contextlib.suppress(UserError):  # the first problem is told
                result = _last_row(folder)
    kept = {k: v for k, v in result.items() if k not in RECORDED or k == "seconds"}
    return record, kept, problem


def _summary(folder: Path) -> dict[str, Any]:
    return {
        k: v
        for k, v in read_summary(folder).items()
        if isinstance(v, int | float | str | None)
    }


def _last_row(folder: Path) -> dict[str, Any]:
    if not (folder / "metrics.csv").is_file():
        return {}
    row = (read_metrics(folder) or [{}])[-1]
    return {"epochs" if key == "epoch" else key: value for key, value in row.items()}


def config_texts(folder: Path) -> dict[str, str]:
    """The text of each section of config.yaml, by a digest. Runs of a sweep share most of them."""
    text = config_text(folder)
    # A section that refers to an anchor of another one cannot be read by itself.
    parts = (
        [text]
        if re.search(r"[:-] +[&*]\w", text)
        else [part for part in TOP.split(text) if part.strip()]
    )
    return {hashlib.sha256(part.encode()).hexdigest()[:24]: part for part in parts}


def flat_sections(text: str, folder: Path) -> dict[str, dict[str, Any]]:
    """The sections in a part of a config.yaml, each as dotted keys with their values."""
    values = parse_config(text, folder)
    return {str(key): dict(_flat(value, str(key))) for key, value in values.items()}


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}")
    else:
        yield prefix, value
