"""Elementary functions as engine/physics/maths.cuh has them, one correctly rounded float32
operation after another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = np.float32
Floats = npt.NDArray[np.float32]
Words = npt.NDArray[np.uint32]


def fma(a: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike) -> Floats:
    """a b + c with one rounding: the product is exact in double, and a sum rounded to odd rounds
    right once more."""
    a, b, c = (np.asarray(v, F32).astype(np.float64) for v in (a, b, c))
    product = a * b
    total = product + c
    with np.errstate(invalid="ignore"):
        part = total - product
        lost = (product - (total - part)) + (c - part)
    even = (np.asarray(total).view(np.uint64) & np.uint64(1)) == 0
    odd = np.nextafter(total, np.where(lost > 0, np.inf, -np.inf))
    return np.where(np.isfinite(total) & (lost != 0) & even, odd, total).astype(F32)


def polynomial(x: Floats, *coefficients: npt.ArrayLike) -> Floats:
    """Horner's rule, highest power first, with fused operations."""
    value = np.broadcast_to(F32(coefficients[0]), x.shape)
    for coefficient in coefficients[1:]:
        value = fma(x, value, coefficient)
    return value


def round_even(v: Floats) -> Floats:
    """To the nearest integer, ties to even."""
    return np.rint(np.asarray(v, F32))


def clamp(v: Floats, low: npt.ArrayLike, high: npt.ArrayLike) -> Floats:
    return np.where(v < low, low, np.where(v > high, high, v)).astype(F32)


def log(v: npt.ArrayLike) -> Floats:
    """Natural logarithm."""
    v = np.asarray(v, F32)
    tiny = v < F32(1.17549435e-38)
    scaled = v * np.where(tiny, F32(8388608.0), F32(1))
    bits = scaled.view(np.uint32) - np.uint32(0x3F3504F3)
    exponent = (bits.view(np.int32) >> 23).astype(F32) - np.where(tiny, F32(23), F32(0))
    m = ((bits & np.uint32(0x007FFFFF)) + np.uint32(0x3F3504F3)).view(F32)
    s = (m - F32(1)) / (m + F32(1))
    one = F32(1)
    t = polynomial(s * s, one / F32(9), one / F32(7), F32(0.2), one / F32(3), one)
    result = fma(
        exponent, F32(0.693359375), fma(exponent, F32(-2.12194440e-4), F32(2) * s * t)
    )
    result = np.where(v < np.inf, result, v)
    return np.where(v > 0, result, np.where(v == 0, F32(-np.inf), F32(np.nan))).astype(
        F32
    )


def _two_to(n: npt.NDArray[np.int32]) -> Floats:
    return ((n + 127).astype(np.uint32) << np.uint32(23)).view(F32)


def exp(v: npt.ArrayLike) -> Floats:
    x = clamp(np.asarray(v, F32), F32(-104), F32(89))
    n = round_even(x * F32(1.44269504))
    r = fma(n, F32(2.12194440e-4), fma(n, F32(-0.693359375), x))
    one = F32(1)
    t = polynomial(
        r, *(one / F32(d) for d in (5040, 720, 120, 24, 6)), F32(0.5), one, one
    )
    k = n.astype(np.int32)
    half = (np.sign(k) * (np.abs(k) // 2)).astype(np.int32)
    with np.errstate(over="ignore"):
        return t * _two_to(half) * _two_to(k - half)


def power(base: npt.ArrayLike, exponent: npt.ArrayLike) -> Floats:
    """base ** exponent for base >= 0; a negative base gives NaN."""
    base, exponent = np.asarray(base, F32), np.asarray(exponent, F32)
    with np.errstate(invalid="ignore", divide="ignore"):
        product = exponent * log(base)
    usable = np.isfinite(product)
    result = np.where(usable, exp(np.where(usable, product, F32(0))), F32(np.nan))
    result = np.where(base == 0, np.where(exponent > 0, F32(0), F32(np.inf)), result)
    return np.where(exponent == 0, F32(1), result).astype(F32)


def turn(part: Words) -> tuple[Floats, Floats]:
    """Sine and cosine of a full turn in 2^32 parts."""
    part = np.asarray(part, np.uint32)
    quarter = (part + np.uint32(0x20000000)) >> np.uint32(30)
    f = (part - (quarter << np.uint32(30))).view(np.int32).astype(F32) * F32(
        9.31322575e-10
    )
    q = f * f
    sine = (
        polynomial(
            q, 1.60441184e-4, -4.68175414e-3, 7.96926262e-2, -6.45964098e-1, 1.57079633
        )
        * f
    )
    cosine = polynomial(
        q, 9.19260274e-4, -2.08634807e-2, 2.53669508e-1, -1.23370055, 1.0
    )
    swapped = (quarter & 1) == 1
    a, b = np.where(swapped, cosine, sine), np.where(swapped, sine, cosine)
    return np.where(quarter & 2, -a, a), np.where((quarter + np.uint32(1)) & 2, -b, b)
