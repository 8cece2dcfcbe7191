// Bound management: a vector whose output hits the bound of the ADC is read again with half the
// input, and so on.
#pragma once
#include "mvm/adc.cuh"
// mvm/cpu/product.cuh or mvm/gpu/product.cuh
#include "backend/product.cuh"

// The read that comes next, or is made: the scale of noise management, by how much the input is
// reduced beyond it, and how often the vector was read before.
struct Retry {
    float scale, reduce;
    u32 round;
    int probe;
};

// The output of the largest overshoot, or -1. It is looked at first when the vector is read again.
FN int worst_output(Hits& h, Warps w) {
    Laned<float> place, tops = h.peak;  // lanes_max works in place
    float peak = warps_max(lanes_max(tops), w);
    LANES(l) place[l] = peak > 0.0f && h.peak[l] == peak ? h.place[l] : -1.0f;
    return (int)warps_max(lanes_max(place), w);
}

// Numbers of 128 outputs from `at` on, not yet clipped, that the ADC makes of the currents of passes first .. last - 1.
FN Block pass_of(const MvmArgs& a, const MvmPlan& p, const Read& r, int first, int last, i64 at) {
    Block s = constant_block(0.0f);
    for (int k = first; k < last; ++k) {
        Block part = currents(a, p, r, k, at);
        for (int q = 0; q < 4 && q < quarters_of(a.n_out - at); ++q)
            LANES(l) { s.q[q][l] = s.q[q][l] + part.q[q][l]; }
    }
    digitise(a, p, r, first, at, s);
    return s;
}

// All passes of one read after the product; true if an output hit the bound of the ADC. Passes add
// up as currents, or after the ADC as digital numbers.
template <bool plain>
CPU_CALLED bool
convert_outputs(const MvmArgs& a, const Read& r, float rescale, int& probe, Warps w) {
    const MvmPlan p = plan_of<plain>(a);
    float* y = a.y + r.item * a.n_out;
    bool digital = p.reading >= MV_POS_NEG_SEPARATE_DIGITAL_SUM, hit = false;
    Hits hits;
    no_hits(hits);
    for (int pass = 0; pass < (digital ? p.passes : 1); ++pass) {
        float place = (float)(1 << shift_of(p, pass));
        LANES(l) hits.mark[l] = 0.0f;
        for (i64 at = 128 * w.rank; at < a.n_out; at += 128 * w.size) {
            Block s = pass_of(a, p, r, pass, digital ? pass + 1 : p.passes, at);
            clip(p, at, a.n_out - at, s, hits);
            for (int q = 0; q < 4 && at + 32 * q < a.n_out; ++q) {
                int rest = rest_of(a.n_out, at + 32 * q);
                LANES(l)
                    if (l < rest) {
                        float before = pass > 0 ? y[at + 32 * q + l] : 0.0f;
                        y[at + 32 * q + l] = before + s.q[q][l] * place * rescale;
                    }
            }
        }
        // The last hit of all outputs decides.
        hit = hit || ((int)warps_max(lanes_max(hits.mark), w) & 1);
    }
    probe = hit ? worst_output(hits, w) : -1;
    return hit;
}

// Whether reads may not become any weaker.
FN bool spent(const MvmPlan& p, const Retry& t) {
    return floor_(t.reduce) > p.max_bm_factor ||
        (p.inp_step > 0.0f && t.reduce > p.max_bm_res / p.inp_step);
}

// The read after one that hit the bound. The worst case takes the scale of the sums of the inputs
// once, and halves it from then on.
FN void weaken(const MvmArgs& a, const MvmPlan& p, i64 item, Retry& t, Warps w) {
    bool worst_case = p.bound_management == BM_ITERATIVE_WORST_CASE &&
        p.noise_management != NM_ABS_MAX_NP_SUM && t.round == 0;
    t.reduce = 2.0f * t.reduce;
    t.round = t.round + 1;
    if (!worst_case) return;
    if (p.noise_management != NM_NONE) {
        t.scale = np_sum_scale(p, a.x + item * a.n_in, a.n_in, w);
    }
    t.reduce = 1.0f;
}

// Whether one output of converted inputs hits the bound in a read. A read of which that is known
// needs no other output, unless it is the last one.
template <bool plain>
CPU_CALLED bool probe_hits(const MvmArgs& a, const Read& r, int out, Warps w) {
    const MvmPlan p = plan_of<plain>(a);
    bool digital = p.reading >= MV_POS_NEG_SEPARATE_DIGITAL_SUM, hit = false;
    if (w.rank == 0) {
        multiply_output(a, r.item, out);
        i64 at = out / 128 * 128;
        int quarters = quarters_of(a.n_out - at);
        for (int pass = 0; pass < (digital ? p.passes : 1); ++pass) {
            Block s = pass_of(a, p, r, pass, digital ? pass + 1 : p.passes, at);
            Laned<u32> seen;
            LANES(l) seen[l] = 0u;
            for (int q = 0; q < 4 && q < quarters; ++q)
                LANES(l) {
                    bool here = (int)at + 32 * q + l == out;
                    seen[l] = here && asks(p, s.q[q][l]) ? 1u : seen[l];
                }
            hit = hit || lanes_mask(seen) != 0u;
        }
    }
    return warps_max(hit ? 1.0f : 0.0f, w) > 0.0f;
}

// Reads whose outputs may be looked at one by one: forward, with weights that all vectors share,
// and where a negative hit does not take back a positive one.
FN bool can_probe(const MvmArgs& a, const MvmPlan& p, int probe) {
    return probe >= 0 && !a.per_sample && !p.clears && a.w_in == 1;
}

// From one read that hit the bound to the next one that may not: its inputs are converted, its
// products are not made yet.
template <bool plain> FN void next_read(const MvmArgs& a, i64 item, Retry& t, Warps w) {
    const MvmPlan p = plan_of<plain>(a);
    for (bool again = true; again;) {
        weaken(a, p, item, t, w);
        Read r = read_of(a, item, t.round);
        convert_inputs<plain>(a, r, 1.0f / (t.scale * t.reduce), w);
        again = !spent(p, t) && can_probe(a, p, t.probe) && probe_hits<plain>(a, r, t.probe, w);
    }
}

// The output stage of one read; false if the vector has to be read again.
template <bool plain> FN bool accept(const MvmArgs& a, i64 item, Retry& t, Warps w) {
    const MvmPlan p = plan_of<plain>(a);
    float rescale = t.scale * t.reduce * p.out_scale;
    bool hit = convert_outputs<plain>(a, read_of(a, item, t.round), rescale, t.probe, w);
    return p.bound_management == BM_NONE || !hit || spent(p, t);
}

// A vector without input has outputs of exactly 0.
FN void write_zeros(const MvmArgs& a, i64 item, Warps w) {
    float* y = a.y + item * a.n_out;
    for (i64 at = 32 * w.rank; at < a.n_out; at += 32 * w.size) {
        LANES(l)
            if (at + l < a.n_out) y[at + l] = 0.0f;
    }
}

// The output stage after the first product, and all reads that follow.
template <bool plain> CPU_CALLED void finish(const MvmArgs& a, i64 item, float alpha, Warps w) {
    if (alpha < 0.0f) {
        write_zeros(a, item, w);
        return;
    }
    Retry t = {alpha, 1.0f, 0u, -1};
    while (!accept<plain>(a, item, t, w)) {
        next_read<plain>(a, item, t, w);
        multiply(a, item, w);
    }
}
