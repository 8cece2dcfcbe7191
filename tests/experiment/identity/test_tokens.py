"""CUDA C and Python as what they do: what may change in a text without changing its digest."""

from __future__ import annotations

import re

import pytest

from engine.experiment.identity.python import python_digest
from engine.experiment.identity.tokens import declarations, tokens
from engine.jit import source

TEXT = """
#pragma once
#line 3 "a.cuh"
typedef long long i64;  // 64 bits
#define TWICE(x) \\
    ((x) + (x))
#if WIDE > 1
#define SPAN 16
#else
#define SPAN 1
#endif
namespace fast {
struct Cell { float low, high; };
FN float middle(const Cell& c) {  /* of the bounds */
#ifdef EXACT
    return 0.5f * c.low + 0.5f * c.high;
#else
    return 0.5f * (c.low + c.high);
#endif
}
}
extern "C" void run(const Cell* c, i64 n) { for (i64 k = 0; k < n; ++k) middle(c[k]); }
"""
SAME = {
    "comments": (r"// 64 bits", "/* eight bytes; and a brace { */"),
    "blank lines": (r";\n", ";\n\n"),
    "white space": (r"0\.5f \* \(c", "0.5f*( c"),
    "an unfolded line": (r"TWICE\(x\) \\\n    ", "TWICE(x) "),
    "#line": (r'#line 3 "a.cuh"', '#line 77 "other/b.cuh"'),
    "#pragma once": ("#pragma once\n", ""),
}
OTHER = {
    "a number": (r"0\.5f \* \(", "0.25f * ("),
    "an operator": (r"\(c\.low \+ c\.high", "(c.low - c.high"),
    "two signs for one": (r"\+\+k", "+ +k"),
    "a macro's body": (r"\(\(x\) \+ \(x\)\)", "(x) + (x)"),
    "a macro's parameters": (r"TWICE\(x\)", "TWICE (x)"),
    "a condition": ("#if WIDE > 1", "#if WIDE > 2"),
    "branches": (
        "SPAN 16\n#else\n#define SPAN 1\n",
        "SPAN 1\n#else\n#define SPAN 16\n",
    ),
    "a namespace": ("namespace fast", "namespace slow"),
    "the order of members": ("low, high;", "high, low;"),
    "a type": ("typedef long long i64", "typedef long i64"),
}


def changed(pattern: str, by: str) -> str:
    text = re.sub(pattern, lambda _: by, TEXT)
    assert text != TEXT, "the change must hit something"
    return text


@pytest.mark.parametrize("name", SAME)
def test_what_does_not_count(name: str) -> None:
    assert declarations(changed(*SAME[name])) == declarations(TEXT)


@pytest.mark.parametrize("name", OTHER)
def test_what_counts(name: str) -> None:
    assert declarations(changed(*OTHER[name])) != declarations(TEXT)


def test_order_and_split_of_files_do_not_count() -> None:
    first, second = (
        "FN int a() { return 1; }\nstruct A { int n; };",
        "FN int b() { return a(); }",
    )
    assert declarations(f"{first}\n{second}") == declarations(f"{second}\n{first}")
    assert declarations(f"{first}\n{second}") == declarations(first) | declarations(
        second
    )


def test_definitions_of_one_macro_keep_their_order() -> None:
    one, two = (
        "#define N 1\n#undef N\n#define N 2\n",
        "#define N 2\n#undef N\n#define N 1\n",
    )
    assert declarations(one) != declarations(two)


def test_a_comment_sign_in_a_string_is_no_comment() -> None:
    assert tokens('"a // b" // c') == ['"a // b"']


def test_a_text_that_is_not_complete_is_refused() -> None:
    with pytest.raises(ValueError, match="must be complete"):
        declarations('#include "maths.cuh"\nint a;')


def test_every_kernel_text_is_read_to_its_end() -> None:
    """Braces and conditions that do not match would swallow declarations."""
    for text in (
        source.mvm_text("cpu"),
        source.mvm_text("cuda"),
        source.digital_text(),
    ):
        for line in declarations(text):
            assert line.count("{") == line.count("}"), line
        longest = max(len(line) for line in declarations(text))
        assert longest < len(" ".join(tokens(text))) / 4


PYTHON = '''
"""About this file."""
LIMIT = 3  # times

def step(x: float) -> float:
    """One step."""
    return x + LIMIT

Made = Device(about="a sentence", step="""
w += 1.0f;  // up
""")
'''


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("About this file.", "Other words."),
        ("One step.", "A step."),
        ("# times", "# tries"),
        ("x + LIMIT", "(x +  LIMIT)"),
        ("a sentence", "another one"),
        ("// up", "// upwards"),
    ],
)
def test_python_text_that_does_not_count(before: str, after: str) -> None:
    assert before in PYTHON
    assert python_digest(PYTHON.replace(before, after)) == python_digest(PYTHON)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("x + LIMIT", "x - LIMIT"),
        ("1.0f", "2.0f"),
        ("Made", "Mine"),
    ],
)
def test_python_text_that_counts(before: str, after: str) -> None:
    assert before in PYTHON
    assert python_digest(PYTHON.replace(before, after)) != python_digest(PYTHON)


def test_a_separator_of_lines_is_no_snippet() -> None:
    assert (
        python_digest('x = "\\n"')
        != python_digest('x = "\\n\\n"')
        != python_digest('x = ""')
    )
