// The output side of one vector: the currents of a pass, the output stage, the ADC, and which
// outputs hit its bound.
#pragma once
#include "mvm/dac.cuh"

FN float saturated(float v, float rho) { return v / (1.0f + rho * abs_(v)); }

// By how much IR drop reduces a current, for the product `load` of |v| and |w|.
FN float lost_share(const MvmPlan& p, float load) {
    float c = p.ir_ratio * load;
    return p.ir_drop * (c * (c * (0.05f * c - 0.2f) + 0.5f));
}

// A current next to a reference device with the current `base`, for the voltage offset o.
FN float offset_current(const MvmPlan& p, float s, float base, float o) {
    float own = saturated(s + base, p.r_series), lost = saturated(base, p.r_series);
    return (1.0f - o) * own - (1.0f + o) * lost;
}

// Constants of the outputs of a vector's replica: one row of `frozen`.
FN const float* frozen_of(const MvmArgs& a, i64 item, int row) {
    return a.frozen + (item / a.batch * FROZEN_ROWS + row) * a.n_out;
}

// The S-shaped output curve.
FN float bent(float v, float gain, float bend) { return gain * v / (1.0f + abs_(bend * v)); }

// Currents of 128 outputs from `at` on in one pass: the product, and what wires, voltages and cells
// do to it.
FN Block currents(const MvmArgs& a, const MvmPlan& p, const Read& r, int pass, i64 at) {
    i64 n = a.n_out - at;
    int quarters = quarters_of(n);
    Block s = load_block(product_of(a, p, r.item, signed_section(p, pass, 0)) + at, n);
    if (p.ir_drop > 0.0f) {
        Block dropped = load_block(product_of(a, p, r.item, signed_section(p, pass, 1)) + at, n);
        Block load = load_block(product_of(a, p, r.item, absolute_section(p, pass, 0)) + at, n);
        for (int q = 0; q < 4 && q < quarters; ++q)
            LANES(l) { s.q[q][l] = s.q[q][l] - lost_share(p, load.q[q][l]) * dropped.q[q][l]; }
    }
    if (p.offset) {
        float base = p.reference * a.sums[2 * (r.item * p.passes + pass)];
        Block o = load_block(frozen_of(a, r.item, OFFSET) + at, n);
        for (int q = 0; q < 4 && q < quarters; ++q)
            LANES(l) { s.q[q][l] = offset_current(p, s.q[q][l], base, o.q[q][l]); }
    }
    if (p.weight_noise == WN_NONE) return s;
    Block z = normal_block(r, WEIGHT_NOISE, (u32)(at / 4) | (u32)pass << 26, n);
    if (p.weight_noise == WN_PCM_READ) {
        int section = absolute_section(p, pass, p.absolute_kinds - 1);
        Block power = load_block(product_of(a, p, r.item, section) + at, n);
        for (int q = 0; q < 4 && q < quarters; ++q)
            LANES(l) { s.q[q][l] = s.q[q][l] + p.w_noise * sqrt_(power.q[q][l]) * z.q[q][l]; }
    } else {
        float sigma = p.w_noise * a.sums[2 * (r.item * p.passes + pass) + 1];
        for (int q = 0; q < 4 && q < quarters; ++q)
            LANES(l) { s.q[q][l] = s.q[q][l] + sigma * z.q[q][l]; }
    }
    return s;
}

// Output stage and converter of 128 outputs, not yet clipped.
FN void digitise(const MvmArgs& a, const MvmPlan& p, const Read& r, int pass, i64 at, Block& s) {
    i64 n = a.n_out - at;
    int quarters = quarters_of(n);
    u32 block = (u32)(at / 4) | (u32)pass << 26;
    if (p.curve) {
        Block bend = load_block(frozen_of(a, r.item, BEND) + at, n);
        Block gain = load_block(frozen_of(a, r.item, GAIN) + at, n);
        for (int q = 0; q < 4 && q < quarters; ++q)
            LANES(l) { s.q[q][l] = bent(s.q[q][l], gain.q[q][l], bend.q[q][l]); }
    }
    for (int q = 0; q < 4 && q < quarters; ++q)
        LANES(l) {
            float v = s.q[q][l];
            s.q[q][l] = v < 0.0f ? v * (1.0f - p.out_asymmetry) : v;
        }
    if (p.out_noise > 0.0f) {
        Block z = normal_block(r, OUTPUT_NOISE, block, n), sigma = constant_block(p.out_noise);
        if (p.out_noise_std > 0.0f) sigma = load_block(frozen_of(a, r.item, SIGMA) + at, n);
        for (int q = 0; q < 4 && q < quarters; ++q)
            LANES(l) { s.q[q][l] = s.q[q][l] + sigma.q[q][l] * z.q[q][l]; }
    }
    Block u = dither_block(p.out_sto_round, r, OUTPUT_ROUND, block);
    for (int q = 0; q < 4 && q < quarters; ++q)
        LANES(l) { s.q[q][l] = quantise(s.q[q][l], p.out_step, u.q[q][l]); }
}

// Outputs beyond the bound of the ADC. `mark` is that of the last one of each lane: odd where it
// asks for bound management, even where it takes that back. `peak` is the largest that asks for it,
// `place` its number.
struct Hits {
    Laned<float> mark, peak, place;
};
FN void no_hits(Hits& h) {
    LANES(l) h.mark[l] = h.peak[l] = h.place[l] = 0.0f;
}
FN bool asks(const MvmPlan& p, float v) {
    bool low = v < -p.out_bound && p.test_negative;
    return p.out_bound > 0.0f && (v > p.out_bound || low);
}
FN bool clears(const MvmPlan& p, float v) {
    return p.out_bound > 0.0f && v < -p.out_bound && p.clears;
}
FN float clipped(const MvmPlan& p, float v) {
    return p.out_bound > 0.0f ? clamp_(v, -p.out_bound, p.out_bound) : v;
}

// Clips 128 outputs from `at` on and notes those that hit the bound.
FN void clip(const MvmPlan& p, i64 at, i64 n, Block& s, Hits& h) {
    if (!(p.out_bound > 0.0f)) return;
    for (int q = 0; q < 4 && q < quarters_of(n); ++q) {
        int rest = rest_of(n, 32 * q), first = (int)at + 32 * q;
        LANES(l) {
            float v = s.q[q][l], mark = 2.0f * (float)(first + l) + 2.0f;
            bool high = v > p.out_bound, low = v < -p.out_bound;
            bool asked = high || (low && p.test_negative);
            float seen = asked ? mark + 1.0f : low && p.clears ? mark : h.mark[l];
            h.mark[l] = l < rest ? seen : h.mark[l];
            float size = asked && l < rest ? abs_(v) : 0.0f;
            h.place[l] = size > h.peak[l] ? (float)(first + l) : h.place[l];
            h.peak[l] = max_(size, h.peak[l]);
            s.q[q][l] = clamp_(v, -p.out_bound, p.out_bound);
        }
    }
}
