// Elementary functions from correctly rounded operations only, so that every machine returns the same bits.
// Argument reduction plus a Taylor polynomial; the error stays within a few units in the last place.
#pragma once
#include "portable.cuh"

// Natural logarithm of a normal number v > 0 that is not infinite: v = m 2^e with m near 1, log m = 2 atanh(s),
// s = (m - 1) / (m + 1).
FN float log_normal(float v, float shift) {
    u32 b = bits_of(v) - 0x3f3504f3u;
    float e = (float)((int)b >> 23) - shift;
    float m = float_of((b & 0x007fffffu) + 0x3f3504f3u);
    float s = (m - 1.0f) / (m + 1.0f);
    float q = s * s;
    float t = fma_(q, fma_(q, fma_(q, fma_(q, 1.0f / 9.0f, 1.0f / 7.0f), 0.2f), 1.0f / 3.0f), 1.0f);
    return fma_(e, 0.693359375f, fma_(e, -2.12194440e-4f, 2.0f * s * t));
}
// Natural logarithm of any number: subnormal ones are scaled by 2^23 first.
FN float log_(float v) {
    bool tiny = v < 1.17549435e-38f;
    float r = log_normal(tiny ? v * 8388608.0f : v, tiny ? 23.0f : 0.0f);
    return v > 0.0f ? (v < float_of(0x7f800000u) ? r : v) : float_of(v == 0.0f ? 0xff800000u : 0x7fc00000u);
}

// 2^n for integer n in [-126, 127].
FN float two_to(int n) { return float_of((u32)(n + 127) << 23); }

// e^v: v = n log 2 + r with |r| <= log(2) / 2.
FN float exp_(float v) {
    float x = clamp_(v, -104.0f, 89.0f);
    float n = round_(x * 1.44269504f);
    float r = fma_(n, 2.12194440e-4f, fma_(n, -0.693359375f, x));
    float t = fma_(r, 1.0f / 5040.0f, 1.0f / 720.0f);
    t = fma_(r, fma_(r, fma_(r, t, 1.0f / 120.0f), 1.0f / 24.0f), 1.0f / 6.0f);
    t = fma_(r, fma_(r, fma_(r, t, 0.5f), 1.0f), 1.0f);
    int k = (int)n;
    int half = k / 2;
    return t * two_to(half) * two_to(k - half);
}

// base^power for base >= 0 (a negative base gives NaN).
FN float pow_(float base, float power) {
    float r = exp_(power * log_(base));
    r = base == 0.0f ? (power > 0.0f ? 0.0f : float_of(0x7f800000u)) : r;
    return power == 0.0f ? 1.0f : r;
}

FN float log10_(float v) { return log_(v) * 0.434294482f; }
FN float tanh_(float v) {
    float e = exp_(-2.0f * abs_(v));
    float r = (1.0f - e) / (1.0f + e);
    return v < 0.0f ? -r : r;
}

// Sine and cosine of a full turn split into 2^32 parts.
FN void turn(u32 part, float& sine, float& cosine) {
    u32 quarter = (part + 0x20000000u) >> 30;
    float f = (float)(int)(part - (quarter << 30)) * 9.31322575e-10f;
    float q = f * f;
    float s = fma_(q, fma_(q, fma_(q, fma_(q, 1.60441184e-4f, -4.68175414e-3f), 7.96926262e-2f), -6.45964098e-1f), 1.57079633f) * f;
    float c = fma_(q, fma_(q, fma_(q, fma_(q, 9.19260274e-4f, -2.08634807e-2f), 2.53669508e-1f), -1.23370055f), 1.0f);
    float a = (quarter & 1u) ? c : s;
    float b = (quarter & 1u) ? s : c;
    sine = (quarter & 2u) ? -a : a;
    cosine = ((quarter + 1u) & 2u) ? -b : b;
}
