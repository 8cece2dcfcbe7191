"""The user's own Python of a run's network and dataset, as a digest of what it does.

The file that is named counts with all files beside it that it imports. Comments, layout and the
place of the files do not; an installed package counts by its version."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from engine.experiment.identity.python import python_digest
from engine.trust.code import is_code
from engine.trust.load import INSTALLED, CodeError, code_files


def code_digests(names: Mapping[str, Any]) -> dict[str, str]:
    """A digest for each section whose member is named by its code; empty if none is."""
    return {section: _digest(name) for section, name in names.items() if is_code(name)}


def _digest(name: str) -> str:
    """What the code behind a name does, and which part of it is meant."""
    home, paths = code_files(name)
    digest = hashlib.sha256(name.partition(":")[2].encode())
    for number, path in enumerate(
        sorted(paths, key=lambda path: (path != paths[0], path))
    ):
        # Only modules that are imported by their name have one that counts.
        shown = path.relative_to(home).as_posix() if number else ""
        try:
            text = python_digest(path.read_bytes())
        except SyntaxError as problem:
            raise CodeError(
                f"{path.name} line {problem.lineno}: SyntaxError"
            ) from problem
        digest.update(f"{shown} {text}\n".encode())
    if set(INSTALLED) & set(home.parts):
        digest.update(_version(name.partition(":")[0].partition(".")[0]).encode())
    return digest.hexdigest()[:16]


def _version(package: str) -> str:
    found = metadata.packages_distributions().get(package, [])
    return " ".join(f"{name} {metadata.version(name)}" for name in sorted(set(found)))
