"""C structs as ctypes, read from the headers themselves, so that a field is declared once."""

from __future__ import annotations

import ctypes
import functools
import re
from pathlib import Path
from typing import Any

ENGINE = Path(__file__).resolve().parent.parent
TYPES = {
    "i64": ctypes.c_int64,
    "u64": ctypes.c_uint64,
    "u32": ctypes.c_uint32,
    "int": ctypes.c_int32,
    "float": ctypes.c_float,
}


def header(name: str) -> str:
    """The text of a header of engine/physics or a kernel file of engine/kernels."""
    folder = "physics" if name.endswith(".cuh") else "kernels"
    return (ENGINE / folder / name).read_text()


@functools.cache
def read_struct(header_name: str, name: str) -> type[ctypes.Structure]:
    """The struct `name` of a header as a ctypes type. Raises LookupError if the header does not
    define it."""
    found = re.search(rf"^struct {name} \{{(.*?)\}};", header(header_name), re.S | re.M)
    if found is None:
        raise LookupError(f"no struct {name} in {header_name}")
    fields = [
        field for line in found[1].split(";") if line.strip() for field in _fields(line.strip())
    ]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def _fields(declaration: str) -> list[tuple[str, type]]:
    kind, _, names = declaration.removeprefix("const ").replace("* ", " *").partition(" ")
    if kind not in TYPES and "*" not in names:
        raise LookupError(f"unknown type in {declaration!r}")
    found: list[tuple[str, type]] = []
    for item in names.split(","):
        name, _, size = item.strip().strip("*").rstrip("]").partition("[")
        plain: Any = ctypes.c_void_p if "*" in item else TYPES[kind]
        found.append((name.strip(), plain * int(size) if size else plain))
    return found
