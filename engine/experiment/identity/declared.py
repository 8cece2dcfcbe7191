"""What a device or a noise model decides, as a digest of its declaration.

Every field of the declaration counts unless it is listed as prose, so that a new field cannot be
forgotten. A file of the user's own counts as a program: its name, its place and its comments do
not.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from engine.devices.base import Device, Param
from engine.experiment.identity.python import PROSE, python_digest
from engine.experiment.identity.tokens import tokens
from engine.inference.base import NoiseModel
from engine.trust.load import PREFIX

# `check` refuses settings and changes no result; `path` only says where the declaration stands.
LEFT_OUT = PROSE | {"name", "path", "check"}
# Fields that give each name a meaning for the reader: only the names decide.
EXPLAINED = ("cells", "states", "kept")


def declaration_digest(declared: Device | NoiseModel) -> str:
    """A digest of all fields of a declaration, and of the file that it stands in if that is the
    user's own."""
    users_file = Path(declared.path) if declared.path.endswith(".py") else None
    parts: dict[str, Any] = {}
    for field in fields(declared):
        value = getattr(declared, field.name)
        if field.name not in LEFT_OUT:
            parts[field.name] = (
                list(value) if field.name in EXPLAINED else _plain(value)
            )
    if users_file is not None:
        parts["file"] = python_digest(users_file.read_bytes())
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A value of a declaration in the form of JSON. Texts are snippets of CUDA C."""
    if isinstance(value, str):
        return " ".join(tokens(value))
    if isinstance(value, Param):
        return _plain(value.default)
    if isinstance(value, Mapping):
        return [[str(key), _plain(item)] for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _module_digest(value.__module__) if callable(value) else value


@functools.cache
def _module_digest(name: str) -> str:
    """What a function of a declaration does: its whole module, with the helpers beside it. A file
    of the user's own is no module that can be found by name; it counts by itself."""
    module = None if name.startswith(PREFIX) else sys.modules.get(name)
    path = getattr(module, "__file__", None)
    return python_digest(Path(path).read_bytes()) if path else ""
