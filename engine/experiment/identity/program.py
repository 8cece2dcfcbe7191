"""Which program a run was done by: a digest of the engine's Python, and the versions beside it.

The hash of a run does not hold them, or every commit would rename every run. They are recorded with
the run instead, so that a run is not continued by another program without a word.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.experiment.identity.python import python_digest
from engine.experiment.record import git_commit, now, versions
from engine.settings import ROOT, cache_dir

ENGINE = ROOT / "engine"
LENGTH = 16
# What reads and describes runs, but computes nothing of their results. All other files count.
NOT_DECIDING = (
    "records",
    "experiment/reproduce",
    "experiment/writers",
    "experiment/identity",
    "experiment/files.py",
    "experiment/record.py",
    "experiment/runs.py",
    "nn/summary.py",
)
# Packages whose version may change the bits of a result.
PACKAGES = ("python", "torch", "numpy")


def this_program() -> dict[str, Any]:
    """The program that runs now: commit, digest of the engine, and versions of packages."""
    found = versions()
    return {
        "commit": git_commit(),
        "engine": engine_digest(),
        **{name: found[name] for name in PACKAGES},
    }


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What may change a result between two programs, each in a few words; the commit alone does
    not, since most commits touch other files."""
    found = [
        f"{name} {before.get(name)} is now {after.get(name)}"
        for name in PACKAGES
        if before.get(name) != after.get(name)
    ]
    if before.get("engine") == after.get("engine"):
        return found
    return [f"aihw {_name(before)} is now {_name(after)}", *found]


def _name(program: Mapping[str, Any]) -> str:
    """The commit if there is one, else the digest of the engine."""
    commit = str(program.get("commit") or "")
    if not commit:
        return f"(engine {program.get('engine')})"
    return commit[:12] + ("-dirty" if commit.endswith("-dirty") else "")


@functools.cache
def engine_digest() -> str:
    """A digest of all Python files of the engine that decide results, without their comments.

    Parsing them takes some tenths of a second, so that the answer is kept in the cache under the
    times and sizes of the files.
    """
    # The names of the files and their times stand for their content, which changes with them.
    paths = [path for path in sorted(ENGINE.rglob("*.py")) if _decides(path)]
    stamps = [
        (str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in paths
    ]
    key = hashlib.sha256(repr(stamps).encode()).hexdigest()[:LENGTH]
    kept = cache_dir() / "program" / key
    try:
        found = kept.read_text(encoding="ascii")
        if len(found) == LENGTH and found.isalnum():
            return found
    except (OSError, ValueError):
        pass
    found = digest_of(paths)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept.write_text(found, encoding="ascii")
    except OSError:
        pass  # it is parsed again next time
    return found


def digest_of(paths: list[Path]) -> str:
    """A digest of what some Python files do. Their names count: they are how modules find each
    other."""
    digest = hashlib.sha256()
    for path in paths:
        name = (
            path.relative_to(ENGINE).as_posix()
            if path.is_relative_to(ENGINE)
            else path.name
        )
        digest.update(f"{name} {python_digest(path.read_bytes())}\n".encode())
    return digest.hexdigest()[:LENGTH]


def _decides(path: Path) -> bool:
    name = path.relative_to(ENGINE).as_posix()
    return not any(name == part or name.startswith(f"{part}/") for part in NOT_DECIDING)


def stretch(epoch: int = 0, step: int = 0) -> dict[str, Any]:
    """The entry of run.json for what this program does of a run, from a place in it on."""
    return {"epoch": epoch, "step": step, "started": now(), **this_program()}


def changed_since(record: Mapping[str, Any]) -> list[str]:
    """How this program differs from the one that worked on a run last; empty if it does not."""
    stretches = record.get("stretches")
    if not stretches:
        return [
            "it was begun by an earlier version of aihw, which did not record its program"
        ]
    return changes(stretches[-1], this_program())


def described(stretches: list[Mapping[str, Any]]) -> str:
    """The programs that worked on a run, in a line: `aihw 1a2b3c from epoch 0, aihw ...`."""
    parts = [
        f"aihw {_name(part)} from epoch {part.get('epoch')}, step {part.get('step')}"
        for part in stretches
    ]
    return "; ".join(parts)
