"""C structs, enums and constants as Python values, read from the kernel texts themselves, so that
each is declared once."""

from __future__ import annotations

import ast
import ctypes
import enum
import functools
import operator
import re
from collections.abc import Mapping
from typing import Any

from engine.jit.unit import header, included_by

TYPES = {
    "i64": ctypes.c_int64,
    "u64": ctypes.c_uint64,
    "u32": ctypes.c_uint32,
    "int": ctypes.c_int32,
    "float": ctypes.c_float,
}
# What a constant of C may be computed with.
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.LShift: operator.lshift,
    ast.BitOr: operator.or_,
}


@functools.cache
def read_struct(header_name: str, name: str) -> type[ctypes.Structure]:
    """The struct `name` of a header as a ctypes type. Raises LookupError if the header does not
    define it."""
    found = re.search(rf"^struct {name} \{{(.*?)\}};", header(header_name), re.S | re.M)
    if found is None:
        raise LookupError(f"no struct {name} in {header_name}")
    body = re.sub(r"//[^\n]*", "", found[1])
    lines = [line.strip() for line in body.split(";") if line.strip()]
    fields = [field for line in lines for field in _fields(line, header_name)]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def words(header_name: str, name: str) -> int:
    """How many numbers of 32 bits a struct takes."""
    return ctypes.sizeof(read_struct(header_name, name)) // 4


@functools.cache
def read_enum(header_name: str, name: str) -> type[enum.IntEnum]:
    """The enum `name` of a header. Raises LookupError if the header does not define it."""
    for file, found, members in _enums(header_name):
        if found == name and file == header_name:
            return enum.IntEnum(name, members)  # type: ignore[return-value]
    raise LookupError(f"no enum {name} in {header_name}")


@functools.cache
def read_constant(header_name: str, name: str) -> int:
    """The whole number that a header calls `name` by #define, or in an enum, or that it includes.
    Raises LookupError if there is none."""
    known = _constants(header_name)
    if name not in known:
        raise LookupError(f"no whole number {name} in {header_name}")
    return known[name]


@functools.cache
def choice(header_name: str, name: str, value: str) -> int:
    """The number of a setting `value` ("AbsMax") in the enum `name`, whose members are named after
    it (`NM_ABS_MAX`, with one prefix for all of them or none). Raises LookupError if there is
    none."""
    members = read_enum(header_name, name)
    prefix = _prefix(list(members.__members__))
    for member in members:
        if member.name.removeprefix(prefix).replace("_", "").lower() == value.lower():
            return int(member)
    raise LookupError(f"enum {name} of {header_name} has no member for {value!r}")


def _prefix(names: list[str]) -> str:
    """The first word of all names (`NM_` of NM_NONE, NM_MAX), or nothing if they differ."""
    words = {name.partition("_")[0] for name in names}
    return f"{words.pop()}_" if len(words) == 1 and len(names) > 1 else ""


@functools.cache
def _constants(header_name: str) -> Mapping[str, int]:
    """Whole numbers by name that a file defines or includes."""
    known: dict[str, int] = {}
    for file in included_by(header_name):
        text = re.sub(r"//[^\n]*", "", header(file))
        for line in re.finditer(
            r"^#define (\w+)[ \t]+(\S[^\n]*)$|^enum\s*(?:\w+\s*)?\{(.*?)\}",
            text,
            re.S | re.M,
        ):
            if line[3] is not None:
                known |= _members(line[3], known)
            else:
                value = _evaluated(line[2].strip(), known)
                known |= {} if value is None else {line[1]: value}
    return known


@functools.cache
def _enums(header_name: str) -> list[tuple[str, str, dict[str, int]]]:
    """File, name and members of all enums that a file defines or includes."""
    known = _constants(header_name)
    return [
        (file, found[1], _members(found[2], known))
        for file in included_by(header_name)
        for found in re.finditer(
            r"^enum (\w+)\s*\{(.*?)\}",
            re.sub(r"//[^\n]*", "", header(file)),
            re.S | re.M,
        )
    ]


def _members(body: str, known: Mapping[str, int]) -> dict[str, int]:
    """The members of an enum, numbered as C does it."""
    found: dict[str, int] = {}
    following = 0
    for member in filter(None, (part.strip() for part in body.split(","))):
        name, _, expression = (part.strip() for part in member.partition("="))
        value = _evaluated(expression, {**known, **found}) if expression else following
        if value is None:
            raise LookupError(
                f"{name} = {expression}: not a sum of whole numbers of the headers"
            )
        found[name], following = value, value + 1
    return found


def _evaluated(expression: str, known: Mapping[str, int]) -> int | None:
    """The value of a constant expression of whole numbers, or None if it is something else."""

    def value(node: ast.expr) -> int:
        match node:
            case ast.Constant(int(number)):
                return number
            case ast.Name(name) if name in known:
                return known[name]
            case ast.UnaryOp(ast.USub(), operand):
                return -value(operand)
            case ast.BinOp(left, kind, right) if type(kind) in OPERATORS:
                return int(OPERATORS[type(kind)](value(left), value(right)))
        raise ValueError(expression)

    try:
        return value(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ValueError):
        return None


def _fields(declaration: str, header_name: str) -> list[tuple[str, Any]]:
    kind, _, names = (
        declaration.removeprefix("const ").replace("* ", " *").partition(" ")
    )
    if kind not in TYPES and "*" not in names:
        raise LookupError(f"unknown type in {declaration!r}")
    found: list[tuple[str, Any]] = []
    for item in names.split(","):
        name, _, size = item.strip().strip("*").rstrip("]").partition("[")
        plain: Any = ctypes.c_void_p if "*" in item else TYPES[kind]
        if size:
            plain = plain * (
                int(size) if size.isdigit() else read_constant(header_name, size)
            )
        found.append((name.strip(), plain))
    return found
