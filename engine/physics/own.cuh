// Products with weights of a vector's own: drawn row by row while they are multiplied, and never kept.
#pragma once

// The part of a product that one pass takes: its vectors, first those that meet the weights, then those that meet
// their absolute values.
struct Parts { const float* v[4]; float* z[4]; int plain, all; };
FN Parts parts_of(const MvmArgs& a, const MvmPlan& p, i64 item, int pass) {
    Parts s;
    s.plain = p.signed_kinds;
    s.all = p.signed_kinds + p.absolute_kinds;
    for (int k = 0; k < s.all; ++k) {
        int section = k < s.plain ? signed_section(p, pass, k) : absolute_section(p, pass, k - s.plain);
        s.v[k] = input_of(a, p, item, section);
        s.z[k] = product_of(a, p, item, section);
    }
    return s;
}

// 128 of the own weights of a vector, from column `at` on of a row.
FN Block own_block(const MvmArgs& a, const ModifyArgs& m, i64 item, i64 row, i64 at, float top, bool polar) {
    const Control& c = a.control[item / a.batch];
    i64 rows = a.w_in == 1 ? a.n_out : a.n_in, sample = a.first + item % a.batch;
    Read r = {key_of(c), {m.call, c.step, m.stream}, item, (u32)(sample * rows + row)};
    i64 start = item / a.batch * a.n_in * a.n_out + row * m.cols;
    Block w = modified_block(m, r, a.w + start, at, top);
    if (!polar) return w;
    Block f = load_block(a.asymmetry + start + at, m.cols - at);
    for (int q = 0; q < 4 && q < quarters_of(m.cols - at); ++q) LANES(l) w.q[q][l] = w.q[q][l] * f.q[q][l];
    return w;
}

// Inputs lie along the rows: 32 partial sums along them.
FN void own_along(const MvmArgs& a, const ModifyArgs& m, i64 item, const Parts& s, float top, bool polar) {
    for (i64 i = 0; i < a.n_out; ++i) {
        Block sum = constant_block(0.0f);
        for (i64 at = 0; at < a.n_in; at += 128) {
            Block w = own_block(a, m, item, i, at, top, polar);
            for (int q = 0; q < 4 && at + 32 * q < a.n_in; ++q) {
                int rest = rest_of(a.n_in, at + 32 * q);
                for (int k = 0; k < 4 && k < s.all; ++k) LANES(l) if (l < rest) {
                    float f = k < s.plain ? w.q[q][l] : abs_(w.q[q][l]);
                    sum.q[k][l] = fma_(f, s.v[k][at + 32 * q + l], sum.q[k][l]);
                }
            }
        }
        for (int k = 0; k < 4 && k < s.all; ++k) {
            float total = lanes_sum(sum.q[k]);
            LANES(l) if (l == (int)(i & 31)) s.z[k][i] = total;
        }
    }
}

// Outputs lie along the rows: every row adds to all of them.
FN void own_across(const MvmArgs& a, const ModifyArgs& m, i64 item, const Parts& s, float top, bool polar) {
    for (i64 j = 0; j < a.n_in; ++j) for (i64 at = 0; at < a.n_out; at += 128) {
        Block w = own_block(a, m, item, j, at, top, polar);
        for (int q = 0; q < 4 && at + 32 * q < a.n_out; ++q) {
            int rest = rest_of(a.n_out, at + 32 * q);
            for (int k = 0; k < 4 && k < s.all; ++k) LANES(l) if (l < rest) {
                float f = k < s.plain ? w.q[q][l] : abs_(w.q[q][l]), *z = s.z[k] + at + 32 * q + l;
                *z = fma_(f, s.v[k][j], j > 0 ? *z : 0.0f);
            }
        }
    }
}

// The products of all sections of one vector.
CALLED void multiply_own(const MvmArgs& a, i64 item) {
    const MvmPlan p = a.plan[0];
    const ModifyArgs m = a.own[0];
    float top = wmax_of(m);
    for (int pass = 0; pass < p.passes; ++pass) {
        Parts s = parts_of(a, p, item, pass);
        bool polar = a.asymmetry && pass == 0;
        if (a.w_in == 1) own_along(a, m, item, s, top, polar);
        else own_across(a, m, item, s, top, polar);
    }
}
