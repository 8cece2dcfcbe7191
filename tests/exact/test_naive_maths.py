"""Random numbers and elementary functions: published vectors, true values, and the slow version bit
by bit."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest

from engine.jit import cpu
from engine.jit.unit import unit_text
from tests.naive import draws, maths
from tests.naive.draws import Source

HEADERS = ("portable.cuh", "maths.cuh", "random.cuh")
ONE = ("log_", "exp_", "round_", "trunc_", "log10_", "tanh_", "sqrt_", "floor_")
KERNELS = """
struct TryArgs { i64 items; const float *a, *b; float *out; u32 *words; Key key; u32 call, step, stream; };
KERNEL(draw_words, TryArgs) {
    Draw t = {a.call, a.step, a.stream};
    u32* w = a.words + 4 * item;
    words4(a.key, t, (u32)item, 7u, w[0], w[1], w[2], w[3]);
}
KERNEL(draw_numbers, TryArgs) {
    Draw t = {a.call, a.step, a.stream};
    a.out[2 * item] = normal_at(a.key, t, (u32)item, (u32)(item % 5));
    a.out[2 * item + 1] = uniform_at(a.key, t, (u32)item, (u32)(item % 5));
}
KERNEL(power, TryArgs) { a.out[item] = pow_(a.a[item], a.b[item]); }
""" + "".join(
    f"KERNEL(try_{name}, TryArgs) {{ a.out[item] = {name}(a.a[item]); }}\n"
    for name in ONE
)


class TryArgs(ctypes.Structure):
    """What the kernels of this file take."""

    _fields_ = (
        ("items", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("a", "b", "out", "words")),
        *(
            (name, ctypes.c_uint32)
            for name in ("key_a", "key_b", "call", "step", "stream")
        ),
    )


def run(
    kernel: str, a: np.ndarray, b: np.ndarray | None = None, *, width: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Floats [items, width] and words [items, 4] that a kernel leaves for inputs a (and b)."""
    a, b = a.astype(np.float32), (a if b is None else b).astype(np.float32)
    out, words = (
        np.full((len(a), width), np.nan, np.float32),
        np.zeros((len(a), 4), np.uint32),
    )
    args = TryArgs(
        len(a),
        a.ctypes.data,
        b.ctypes.data,
        out.ctypes.data,
        words.ctypes.data,
        123,
        0xFFFFFFF0,
        5,
        9,
        14,
    )
    library = cpu.library(unit_text(*HEADERS) + KERNELS)
    library.function(kernel)(ctypes.addressof(args), 1)
    return out, words


def inputs() -> np.ndarray:
    """Floats of every size, both signs, ties, and values near the ends of the functions' ranges."""
    draw = np.random.default_rng(0)
    wide = np.exp(draw.uniform(-80, 80, 20000)) * draw.choice([-1, 1], 20000)
    ties = np.arange(-8, 8) / 2
    ends = np.array(
        [
            0,
            1e-45,
            1e-40,
            1.17549435e-38,
            3.4e38,
            88.7,
            89.5,
            -87.3,
            -103.9,
            -104.5,
            8388607.5,
            4194303.5,
        ]
    )
    middle = np.concatenate(
        [draw.uniform(-110, 95, 20000), draw.uniform(0.4, 2.5, 5000)]
    )
    return np.concatenate([wide, middle, ties, ends, -ends]).astype(np.float32)


def test_philox_gives_the_published_vectors() -> None:
    """Salmon et al., Random123 1.09, kat_vectors: philox4x32 with 10 rounds."""
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0]
    known = [
        ([0] * 6, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 6, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (pi, [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
    ]
    for given, expected in known:
        counter = [np.array([v], np.uint32) for v in given[:4]]
        assert [
            int(v[0]) for v in draws.philox(counter, (given[4], given[5]))
        ] == expected


def test_words_and_numbers_equal_the_slow_version() -> None:
    items = np.arange(3000, dtype=np.uint32)
    source = Source((123, 0xFFFFFFF0), call=5, step=9)
    _, words = run("draw_words", items)
    np.testing.assert_array_equal(words, np.stack(source.words(14, items, 7), axis=1))
    numbers, _ = run("draw_numbers", items, width=2)
    np.testing.assert_array_equal(numbers[:, 0], source.normal(14, items, items % 5))
    np.testing.assert_array_equal(numbers[:, 1], source.uniform(14, items, items % 5))


@pytest.mark.parametrize(
    ("name", "slow"),
    [("log_", maths.log), ("exp_", maths.exp), ("round_", maths.round_even)],
)
def test_functions_equal_the_slow_version(name: str, slow: object) -> None:
    v = np.abs(inputs()) if name == "log_" else inputs()
    fast, _ = run(f"try_{name}", v)
    np.testing.assert_array_equal(fast[:, 0], slow(v))  # type: ignore[operator]


def test_power_equals_the_slow_version() -> None:
    draw = np.random.default_rng(5)
    base = np.concatenate([draw.uniform(0, 3, 5000), [0, 0, 0, 1, 2]]).astype(
        np.float32
    )
    exponent = np.concatenate([draw.uniform(-4, 4, 5000), [0, 2, -1, 0, 0]]).astype(
        np.float32
    )
    fast, _ = run("power", base, exponent)
    np.testing.assert_array_equal(fast[:, 0], maths.power(base, exponent))


@pytest.mark.parametrize(
    ("name", "true", "low", "high", "ulps"),
    [
        ("log_", math.log, 1e-44, 1e38, 3),
        ("exp_", math.exp, -86.0, 88.0, 3),
        ("log10_", math.log10, 1e-20, 1e20, 4),
        ("tanh_", math.tanh, -9.0, 9.0, 8),
        ("sqrt_", math.sqrt, 0.0, 1e30, 0.5),
        ("floor_", math.floor, -1e4, 1e4, 0),
        ("trunc_", math.trunc, -1e4, 1e4, 0),
    ],
)
def test_functions_are_accurate(
    name: str, true: object, low: float, high: float, ulps: float
) -> None:
    draw = np.random.default_rng(7)
    v = (
        np.exp(draw.uniform(math.log(low), math.log(high), 4000))
        if low > 0
        else draw.uniform(low, high, 4000)
    )
    v = v.astype(np.float32)
    fast = run(f"try_{name}", v)[0][:, 0].astype(float)
    expected = np.array([true(float(x)) for x in v])  # type: ignore[operator]
    # Near their zero, logarithms and tanh are as accurate as for values of 1/2.
    least = 2.0**-24 if name in ("log_", "log10_", "tanh_") else 0.0
    spacing = np.maximum(np.spacing(np.abs(expected).astype(np.float32)), least)
    assert np.all(np.abs(fast - expected) <= ulps * spacing)


def test_fused_products_round_once() -> None:
    """The slow fused product against exact fractions, at places where rounding twice would go
    wrong."""
    from fractions import Fraction

    draw = np.random.default_rng(11)
    a, b = (draw.normal(size=2000).astype(np.float32) for _ in range(2))
    c = (
        -a * b * (1 + draw.choice([0, 1e-7, 1e-3], 2000))
        + draw.choice([0, 2.0**-60, 1.0], 2000)
    ).astype(np.float32)
    for x, y, z, fused in zip(a, b, c, maths.fma(a, b, c), strict=True):
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        error = abs(Fraction(float(fused)) - exact)
        for other in (
            np.nextafter(fused, np.float32(np.inf)),
            np.nextafter(fused, np.float32(-np.inf)),
        ):
            assert error <= abs(Fraction(float(other)) - exact)
