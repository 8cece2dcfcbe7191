"""Translation units: what is included, where, and how often; numbers that Python reads from the
texts."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from engine.jit import cpu, unit
from engine.jit.struct import choice, read_constant, read_enum, read_struct
from engine.jit.unit import Unit, kernel_files, unit_text

FILES = {
    "physics/base.cuh": """#pragma once
#define WIDTH 4
enum Stream { FIRST = 1, SECOND, LAST = SECOND + 16 };
""",
    "kernels/sum/shared.cuh": """#pragma once
#include "base.cuh"
#define AREA (WIDTH * WIDTH)  // cells
static int twice(int v) { return 2 * v; }
""",
    "kernels/sum/first.cu": """#include "shared.cuh"
static int first(int v) { return twice(v); }
""",
    "kernels/sum/second.cu": """#include "shared.cuh"
#include "made/part.cuh"
static int second(int v) { return twice(v) + PART; }
enum Mode { MD_NONE, MD_ABS_MAX = LAST, MD_PCM_READ };  // how
struct SumArgs { i64 items; float part[AREA], rest; const float *from, *to; };
""",
}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine with four kernel files."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(unit, "ENGINE", tmp_path)
    return tmp_path


def test_a_file_is_included_once_and_before_its_user(folders: Path) -> None:
    text = Unit({"made/part.cuh": "#define PART 3"}).text(
        "sum/first.cu", "sum/second.cu"
    )
    assert text.count("twice(int v)") == text.count("#define WIDTH") == 1
    places = [
        text.index(word)
        for word in ("WIDTH", "twice(int", "first(", "PART 3", "second(")
    ]
    assert places == sorted(places)
    assert "#include" not in text


def test_messages_of_a_compiler_name_file_and_line(folders: Path) -> None:
    broken = folders / "kernels" / "sum" / "first.cu"
    broken.write_text(broken.read_text() + "int third() { return nowhere; }")
    with pytest.raises(cpu.CompileError, match=r"sum/first\.cu:3"):
        cpu.build(unit_text("sum/first.cu"))


def test_a_namespace_keeps_what_it_includes(folders: Path) -> None:
    before = Unit()
    before.text("base.cuh")
    bodies = [Unit(inside=before).text("sum/first.cu") for _ in range(2)]
    assert bodies[0] == bodies[1]
    assert "twice" in bodies[0]
    assert "WIDTH 4" not in bodies[0]
    assert "twice" in before.text("sum/shared.cuh")


def test_an_alias_chooses_the_file_of_a_processor(folders: Path) -> None:
    (folders / "kernels" / "sum" / "either.cu").write_text(
        '#include "backend/part.cuh"'
    )
    text = Unit(aliases={"backend/part.cuh": "sum/shared.cuh"}).text("sum/either.cu")
    assert "twice(int" in text
    with pytest.raises(LookupError, match=r"backend/part\.cuh"):
        unit_text("sum/either.cu")


def test_a_missing_file_is_named(folders: Path) -> None:
    (folders / "kernels" / "lost.cu").write_text('#include "nowhere.cuh"')
    with pytest.raises(LookupError, match=r"nowhere\.cuh"):
        unit_text("lost.cu")


def test_enums_constants_and_structs_are_read_from_the_text(folders: Path) -> None:
    mode = read_enum("sum/second.cu", "Mode")
    assert [(m.name, int(m)) for m in mode] == [
        ("MD_NONE", 0),
        ("MD_ABS_MAX", 18),
        ("MD_PCM_READ", 19),
    ]
    assert [
        choice("sum/second.cu", "Mode", name) for name in ("None", "AbsMax", "PCMRead")
    ] == [
        0,
        18,
        19,
    ]
    assert read_constant("sum/second.cu", "AREA") == 16
    assert read_constant("base.cuh", "SECOND") == 2
    args = read_struct("sum/second.cu", "SumArgs")
    assert ctypes.sizeof(args) == 8 + 17 * 4 + 4 + 2 * 8
    for wrong in (lambda: read_enum("sum/second.cu", "Stream"), lambda: read_constant("base.cuh", "AREA"),
                  lambda: choice("sum/second.cu", "Mode", "Absent")):  # fmt: skip
        with pytest.raises(LookupError, match=r"Stream|AREA|Absent"):
            wrong()


def test_every_kernel_file_is_found_by_its_name() -> None:
    names = kernel_files()
    assert {"portable.cuh", "mvm/args.cuh"} <= set(names)
    assert all(unit.header(name) == path.read_text() for name, path in names.items())
