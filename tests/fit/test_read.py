"""Files as laboratories have them, and files that are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.fit.read import Measured, read_traces
from engine.settings import UserError

UP = [1.0 + 0.1 * k for k in range(20)]
DOWN = UP[::-1]


def read(tmp_path: Path, lines: list[str], **options: object) -> Measured:
    path = tmp_path / "data.csv"
    path.write_text("\n".join(lines) + "\n")
    return read_traces([path], **options)  # type: ignore[arg-type]


def check(measured: Measured) -> None:
    (trace,) = measured.traces
    np.testing.assert_allclose(trace.readings, UP + DOWN)
    assert trace.pulses.tolist() == [1.0] * 19 + [-1.0] * 20


def pairs(mark: str, comma: str) -> list[str]:
    rows = zip(UP, DOWN, strict=True)
    return [f"{a:.2f}{mark}{b:.2f}".replace(".", comma) for a, b in rows]


@pytest.mark.parametrize(
    ("mark", "comma"), [(",", "."), (";", ","), (";", "."), ("\t", ","), (" ", ".")]
)
def test_two_columns_with_and_without_names(
    tmp_path: Path, mark: str, comma: str
) -> None:
    check(read(tmp_path, pairs(mark, comma)))
    named = read(tmp_path, [f"LTP(uS){mark}LTD(uS)", *pairs(mark, comma)])
    check(named)
    assert named.unit == "uS"


def test_long_table_with_devices(tmp_path: Path) -> None:
    rows = [("LTP", g) for g in UP] + [("LTD", g) for g in DOWN]
    lines = ["cell,cycle,polarity,G [nS]"]
    for cell in "ab":
        lines += [f"{cell},1,{word},{value}" for word, value in rows]
    measured = read(tmp_path, lines)
    assert [trace.name for trace in measured.traces] == ["a", "b"]
    assert measured.unit == "nS"
    check(Measured(measured.traces[:1], "nS", ""))


def test_export_with_a_preamble_and_current(tmp_path: Path) -> None:
    lines = ["SetupTitle, pulses", "TestParameter, Context.MainFrame, B1500A"]
    lines += ["DataName, Voltage, Current"]
    lines += [f"DataValue, 0.5, {0.5 * value}" for value in UP + DOWN]
    measured = read(tmp_path, lines, each=20)
    assert measured.unit == "S"
    check(measured)


def test_polarity_is_found_from_the_turn(tmp_path: Path) -> None:
    lines = [f"{k},{value}" for k, value in enumerate(UP + DOWN, 1)]
    pulses = read(tmp_path, lines).traces[0].pulses
    assert abs(int((pulses > 0).sum()) - 19) <= 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["LTP,LTD", "1,2", "1,x"],
            r"data.csv:3: expected a number as down, found 'x'",
        ),
        (["a,b,c,d", "1,2,3"], "no row of numbers|data.csv"),
        (["LTP,LTD", *["1,1"] * 30], "never moves"),
        (["LTP,LTD", *pairs(",", ".")[::-1]], "is the polarity reversed"),
        (["G,polarity", "1,up", "2,sideways"], "data.csv:3: expected a polarity"),
        (["1st Row = Gbins", "1,2"], "table of steps"),
        (["LTP (parsec),LTD", "1,2"], "unit parsec is unknown"),
    ],
)
def test_bad_files_are_named_with_their_row(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, lines)
