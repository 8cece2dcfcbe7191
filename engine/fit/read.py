"""Readings of pulsed devices from the text files that laboratories have; nothing in them is run.

What a file holds is found from its header and its shape: a long table (device, polarity,
conductance), two columns LTP and LTD, or a column for each device; voltage and current in place of
conductance; preambles of instruments before the header."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.readers.plain import read_text
from engine.readers.wording import shortened
from engine.settings import UserError
from engine.trust.files import TEXT_LIMIT

Floats = NDArray[np.float64]
# What columns are called, without unit and in small letters.
NAMES = {
    "device": ("device", "cell", "dut", "sample"),
    "cycle": ("cycle", "loop", "repeat"),
    "pulse": ("pulse", "pulse number", "number", "n", "index", "#"),
    "polarity": ("polarity", "direction", "sign", "type"),
    "conductance": ("conductance", "g", "gread", "g_read"),
    "voltage": ("voltage", "v", "vread", "v_read", "av"),
    "current": ("current", "i", "iread", "i_read", "ai"),
    "up": ("up", "ltp", "potentiation"),
    "down": ("down", "ltd", "depression"),
}
UP = ("up", "ltp", "set", "potentiation", "+", "p")
DOWN = ("down", "ltd", "reset", "depression", "-", "d")
TEXTS = ("device", "polarity")
UNITS = {"S": 1.0, "mS": 1e-3, "uS": 1e-6, "µS": 1e-6, "nS": 1e-9, "pS": 1e-12}
# Fewer pulses than this hold no spread, no read noise and no shape.
FEWEST = 20
MOST = 100_000


@dataclass(frozen=True)
class Trace:
    """One device: N + 1 readings, and the N pulses between them (+1 up, -1 down)."""

    name: str
    readings: Floats
    pulses: Floats


@dataclass(frozen=True)
class Measured:
    """What files hold, and how they were understood."""

    traces: tuple[Trace, ...]
    unit: str
    form: str


@dataclass(frozen=True)
class _Table:
    path: Path
    columns: tuple[str, ...]
    unit: str
    # The number of the line of each row, and its cells.
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def where(self, row: int) -> str:
        return f"{self.path}:{self.rows[row][0]}"


def read_traces(
    paths: Sequence[Path], *, columns: str = "", unit: str = "", each: int = 0
) -> Measured:
    """The devices of all files. `columns` names the columns in their order ("-" for one to skip),
    `each` says how many pulses go up before as many go down. Raises UserError with file and row."""
    traces: list[Trace] = []
    units, forms = set(), []
    for path in paths:
        table = _read_table(path, columns)
        found, form = _traces(table, each)
        traces += found
        units.add(table.unit)
        forms.append(form)
    if unit and unit not in UNITS:
        raise UserError(f"--unit {unit} is unknown; there are {', '.join(UNITS)}")
    if not unit and len(units) > 1:
        raise UserError(f"the files have different units ({', '.join(sorted(units))})")
    for trace in traces:
        _check(trace)
    names = [trace.name for trace in traces]
    if len(set(names)) < len(names):
        raise UserError(f"two devices have one name ({', '.join(sorted(names)[:5])})")
    return Measured(tuple(traces), unit or units.pop(), forms[0])


def _read_table(path: Path, columns: str) -> _Table:
    text = read_text(path, limit=TEXT_LIMIT)
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1)]
    lines = [(n, line) for n, line in lines if line and not line.startswith("#")]
    if lines and "gbins" in lines[0][1].lower():
        raise UserError(
            f"{path} is a table of steps over conductance, not of readings; "
            "`device.model=steps.csv` takes steps (columns weight, step_up, step_down)"
        )
    mark = _separator([line for _, line in lines])
    rows = [(n, _cells(line, mark)) for n, line in lines]
    start, header = _find_header(rows)
    names = [name.strip() for name in columns.split(",")] if columns else list(header)
    kinds, unit = _kinds(path, names)
    body = rows[start:]
    if not body:
        raise UserError(f"{path} holds no row of numbers")
    for n, cells in body:
        if len(cells) < len(kinds):
            raise UserError(
                f"{path}:{n}: expected {len(kinds)} columns, found {len(cells)}"
            )
    table = tuple((n, tuple(cells)) for n, cells in body)
    return _Table(path, tuple(kinds or _guess(path, table)), unit, table)


def _separator(lines: list[str]) -> str:
    """What separates the cells of most lines; "" stands for blanks."""
    for mark in (";", "\t", ","):
        if sum(mark in line for line in lines) > 0.5 * len(lines):
            return mark
    return ""


def _cells(line: str, mark: str) -> list[str]:
    cells = line.split(mark) if mark else line.split()
    stripped = [cell.strip().strip('"') for cell in cells]
    # With another separator a comma is a decimal comma.
    if mark != ",":
        stripped = [re.sub(r"^([-+]?\d*),(\d)", r"\1.\2", cell) for cell in stripped]
    # Keysight's EasyEXPERT heads each row with what it is.
    if stripped[0] in ("DataName", "DataValue"):
        del stripped[0]
    while len(stripped) > 1 and not stripped[-1]:
        del stripped[-1]
    return stripped


def _find_header(rows: list[tuple[int, list[str]]]) -> tuple[int, list[str]]:
    """Where the numbers begin, and the row of names before them (empty if there is none)."""
    for k, (_, cells) in enumerate(rows):
        named = [_kind(cell)[0] for cell in cells]
        readable = {"conductance", "current", "up", "down"} & set(named)
        if readable and not any(_number(cell) is not None for cell in cells):
            return k + 1, cells
    for k, (_, cells) in enumerate(rows):
        if all(_number(cell) is not None for cell in cells):
            before = rows[k - 1][1] if k else []
            return k, before if len(before) == len(cells) else []
    return len(rows), []


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _kind(name: str) -> tuple[str, str]:
    """The kind of a column and its unit, from its name: `G (uS)` is conductance in uS."""
    found = re.match(r"^(.*?)\s*[\[(]\s*([^\])]*?)\s*[\])]\s*$", name)
    plain, unit = (found[1], found[2]) if found else (name, "")
    plain = plain.strip().lower()
    for kind, names in NAMES.items():
        if plain in names:
            return kind, unit
    return "", unit


def _kinds(path: Path, names: list[str]) -> tuple[list[str], str]:
    """The kind of each column; a name that is not known is that of a device."""
    pairs = [("-", "") if name == "-" else _kind(name) for name in names]
    units = {
        unit for kind, unit in pairs if unit and kind not in ("voltage", "current")
    }
    if len(units - set(UNITS)) > 0 or len(units) > 1:
        raise UserError(
            f"{path}: unit {', '.join(sorted(units))} is unknown; give --unit, one of {', '.join(UNITS)}"
        )
    known = {kind for kind, _ in pairs}
    own = not known & {"conductance", "current", "up", "down"}
    kinds = [
        kind or (f"={name}" if own else "-")
        for (kind, _), name in zip(pairs, names, strict=True)
    ]
    if {"voltage", "current"} <= known:
        units = {"S"}
    return kinds, units.pop() if units else ""


def _guess(path: Path, rows: tuple[tuple[int, tuple[str, ...]], ...]) -> list[str]:
    """The kinds of columns without names."""
    width = len(rows[0][1])
    first = [_number(cells[0]) for _, cells in rows]
    counts = len(rows) > 2 and all(
        a is not None and b is not None and b - a == 1.0 for a, b in pairwise(first)
    )
    if width == 2:
        return ["pulse", "conductance"] if counts else ["up", "down"]
    if width == 3 and counts:
        return ["pulse", "up", "down"]
    raise UserError(
        f"{path}: {width} columns without names; say what they are, for example "
        "--columns device,pulse,polarity,conductance"
    )


def _column(table: _Table, kind: str) -> Floats:
    place = table.columns.index(kind)
    values = []
    for k, (_, cells) in enumerate(table.rows):
        value = _number(cells[place])
        if value is None:
            raise UserError(
                f"{table.where(k)}: expected a number as {kind.lstrip('=')}, found {shortened(cells[place], 40)!r}"
            )
        values.append(value)
    return np.array(values)


def _traces(table: _Table, each: int) -> tuple[list[Trace], str]:
    """The devices of one file and a word for its form."""
    kinds, stem = set(table.columns), table.path.stem
    if {"up", "down"} <= kinds:
        up, down = _column(table, "up"), _column(table, "down")
        pulses = np.repeat([1.0, -1.0], [len(up) - 1, len(down)])
        return [Trace(stem, np.concatenate([up, down]), pulses)], "columns up and down"
    own = [kind for kind in table.columns if kind.startswith("=")]
    if own:
        found = []
        for kind in own:
            values = _column(table, kind)
            found.append(Trace(kind[1:], values, _trains(table, values, each)))
        return found, "a column for each device"
    if "conductance" in kinds:
        values = _column(table, "conductance")
    elif {"voltage", "current"} <= kinds:
        voltage = _column(table, "voltage")
        if (voltage == 0.0).any():
            k = int(np.argmax(voltage == 0.0))
            raise UserError(f"{table.where(k)}: expected a read voltage, found 0")
        values = _column(table, "current") / voltage
    else:
        raise UserError(
            f"{table.path}: no column is called conductance, or voltage and current, or LTP and LTD; "
            "name them with --columns"
        )
    return _long(table, values, each), "long table"


def _long(table: _Table, values: Floats, each: int) -> list[Trace]:
    """The devices of a long table, each in the order of its rows."""
    names = np.array([table.path.stem] * len(values), dtype=object)
    if "device" in table.columns:
        place = table.columns.index("device")
        names = np.array([cells[place] for _, cells in table.rows], dtype=object)
    found = []
    for name in dict.fromkeys(names):
        rows = np.flatnonzero(names == name)
        if "polarity" in table.columns:
            pulses = np.array([_polarity(table, int(k)) for k in rows[1:]])
        else:
            pulses = _trains(table, values[rows], each)
        found.append(Trace(str(name), values[rows], pulses))
    return found


def _polarity(table: _Table, row: int) -> float:
    cell = table.rows[row][1][table.columns.index("polarity")]
    value = _number(cell)
    word = cell.lower()
    if word in UP or (value is not None and value > 0.0):
        return 1.0
    if word in DOWN or (value is not None and value < 0.0):
        return -1.0
    raise UserError(
        f"{table.where(row)}: expected a polarity (up, down, LTP, LTD, +1, -1), found {shortened(cell, 40)!r}"
    )


def _trains(table: _Table, values: Floats, each: int) -> Floats:
    """Which way the pulses went where the file does not say: as `each` says, or up to the highest
    reading and down from there."""
    count = len(values)
    if each > 0:
        return np.where(np.arange(1, count) // each % 2 == 0, 1.0, -1.0)
    width = max(count // 20, 1)
    smooth = np.convolve(values, np.ones(width) / width, mode="valid")
    top = int(np.argmax(smooth)) + width // 2
    rises = np.diff(smooth)
    wrong = np.concatenate(
        [rises[: top - width // 2] < 0, rises[top - width // 2 :] > 0]
    )
    if wrong.mean() > 0.4 or not FEWEST // 4 < top < count - FEWEST // 4:
        raise UserError(
            f"{table.path} does not say which pulses go up; add a column polarity, "
            "or say how many go each way: --pulses 100"
        )
    return np.where(np.arange(1, count) <= top, 1.0, -1.0)


def _check(trace: Trace) -> None:
    """One line for what no model can explain."""
    count = len(trace.pulses)
    if not FEWEST <= count <= MOST:
        raise UserError(
            f"device {trace.name} has {count} pulses; a fit takes {FEWEST} to {MOST}"
        )
    if np.ptp(trace.readings) == 0.0:
        raise UserError(f"device {trace.name} never moves: all readings are the same")
    if abs(trace.pulses.sum()) == count:
        raise UserError(f"device {trace.name} has pulses of one polarity only")
    moved = np.diff(trace.readings) * trace.pulses
    # Read noise telescopes within a train, so the true error of this mean is smaller still.
    score = float(moved.mean() / (moved.std() / np.sqrt(count) + 1e-300))
    if score < -3.0:
        raise UserError(
            f"device {trace.name} falls under up pulses and rises under down pulses: is the polarity reversed?"
        )
