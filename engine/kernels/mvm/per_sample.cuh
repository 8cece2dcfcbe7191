// Products whose weights are disturbed anew for each vector (per-sample noise): a row of weights is
// drawn while it is multiplied, and never kept.
#pragma once
#include "hwa/modifier.cuh"

// What one pass multiplies: first the vectors that go with the weights, then those that go with
// their absolute values.
struct Parts {
    const float* v[4];
    float* z[4];
    int plain, all;
};
FN Parts parts_of(const MvmArgs& a, const MvmPlan& p, i64 item, int pass) {
    Parts s;
    s.plain = p.signed_kinds;
    s.all = p.signed_kinds + p.absolute_kinds;
    for (int k = 0; k < s.all; ++k) {
        int section =
            k < s.plain ? signed_section(p, pass, k) : absolute_section(p, pass, k - s.plain);
        s.v[k] = input_of(a, p, item, section);
        s.z[k] = product_of(a, p, item, section);
    }
    return s;
}

// How the weights of one vector are disturbed: `top` is the largest magnitude of all weights
// (rows may have their own instead), `polar` whether the variability of read polarity acts on top.
struct Disturbance {
    ModifyArgs m;
    i64 item;
    float top;
    bool polar;
};

// 128 disturbed weights, from column `at` on of a row.
FN Block disturbed_block(const MvmArgs& a, const Disturbance& d, i64 row, i64 at) {
    const ModifyArgs& m = d.m;
    const Control& c = a.control[d.item / a.batch];
    i64 rows = a.w_in == 1 ? a.n_out : a.n_in, sample = a.first + d.item % a.batch;
    Read r = {key_of(c), {m.call, c.step, m.stream}, d.item, (u32)(sample * rows + row)};
    i64 start = d.item / a.batch * a.n_in * a.n_out + row * m.cols;
    float top = m.per_channel ? wmax_of(m, d.item / a.batch * rows + row) : d.top;
    Block w = modified_block(m, r, a.w + start, at, top);
    if (!d.polar) return w;
    Block f = load_block(a.asymmetry + start + at, m.cols - at);
    for (int q = 0; q < 4 && q < quarters_of(m.cols - at); ++q)
        LANES(l) { w.q[q][l] = w.q[q][l] * f.q[q][l]; }
    return w;
}

// Inputs lie along the rows: 32 partial sums along them.
FN void per_sample_along(const MvmArgs& a, const Disturbance& d, const Parts& s, Warps w) {
    for (i64 i = w.rank; i < a.n_out; i += w.size) {
        Block sum = constant_block(0.0f);
        for (i64 at = 0; at < a.n_in; at += 128) {
            Block row = disturbed_block(a, d, i, at);
            for (int q = 0; q < 4 && at + 32 * q < a.n_in; ++q) {
                int rest = rest_of(a.n_in, at + 32 * q);
                for (int k = 0; k < 4 && k < s.all; ++k)
                    LANES(l)
                        if (l < rest) {
                            float f = k < s.plain ? row.q[q][l] : abs_(row.q[q][l]);
                            sum.q[k][l] = fma_(f, s.v[k][at + 32 * q + l], sum.q[k][l]);
                        }
            }
        }
        for (int k = 0; k < 4 && k < s.all; ++k) {
            float total = lanes_sum(sum.q[k]);
            LANES(l)
                if (l == (int)(i & 31)) s.z[k][i] = total;
        }
    }
}

// Outputs lie along the rows: every row adds to all of them.
FN void per_sample_across(const MvmArgs& a, const Disturbance& d, const Parts& s, Warps w) {
    for (i64 j = 0; j < a.n_in; ++j)
        for (i64 at = 128 * w.rank; at < a.n_out; at += 128 * w.size) {
            Block row = disturbed_block(a, d, j, at);
            for (int q = 0; q < 4 && at + 32 * q < a.n_out; ++q) {
                int rest = rest_of(a.n_out, at + 32 * q);
                for (int k = 0; k < 4 && k < s.all; ++k)
                    LANES(l)
                        if (l < rest) {
                            float f = k < s.plain ? row.q[q][l] : abs_(row.q[q][l]);
                            float* z = s.z[k] + at + 32 * q + l;
                            *z = fma_(f, s.v[k][j], j > 0 ? *z : 0.0f);
                        }
            }
        }
}

// The products of all sections of one vector.
CALLED void multiply_per_sample(const MvmArgs& a, i64 item, Warps w) {
    const MvmPlan p = a.plan[0];
    Disturbance d = {a.per_sample[0], item, 0.0f, false};
    d.top = wmax_of(d.m, 0);
    for (int pass = 0; pass < p.passes; ++pass) {
        Parts s = parts_of(a, p, item, pass);
        d.polar = a.asymmetry && pass == 0;
        if (a.w_in == 1) per_sample_along(a, d, s, w);
        else per_sample_across(a, d, s, w);
    }
    warps_sync(w);
}
