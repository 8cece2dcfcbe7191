"""The shape of the kernel texts: what each file says of itself, and who fills the structs that
kernels take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "engine" / "kernels"
HEADINGS = ("What", "One item is", "Must equal", "When it is chosen")
FILES = sorted(path.relative_to(KERNELS).as_posix() for path in KERNELS.rglob("*.cu"))
# Structs that two modules fill, and why.
SHARED_STRUCTS = {
    "UpdateArgs": "an update of the fast array is a part of a transfer",
}


@pytest.mark.parametrize("name", FILES)
def test_a_kernel_file_begins_with_its_four_headings(name: str) -> None:
    text = (KERNELS / name).read_text()
    head = re.split(r"^[^/\n]", text, maxsplit=1, flags=re.M)[0]
    found = re.findall(r"^// ([A-Z][a-z ]+):", head, re.M)
    assert [heading for heading in found if heading in HEADINGS] == list(HEADINGS)


def test_one_module_fills_a_struct() -> None:
    """Others call its function for the kernel."""
    filled: dict[str, set[str]] = {}
    for path in sorted((ROOT / "engine").rglob("*.py")):
        text = path.read_text()
        for name in re.findall(r'read_struct\([^()]*?"(\w+)"\)(?:\(\)|\.from)', text):
            filled.setdefault(name, set()).add(path.relative_to(ROOT).as_posix())
    assert len(filled) > 15
    several = {name for name, modules in filled.items() if len(modules) > 1}
    assert several == set(SHARED_STRUCTS)
