// Products of one vector by one thread of a CPU, in an order that is the same on every processor
// and at any number of threads: 32 partial sums along the inputs where the inputs of a weight row
// lie next to each other (forward), one sum through the inputs in order where its outputs do
// (backward).
#pragma once
#include "mvm/factors.cuh"

// Inputs lie next to each other. Four sums at once: those of four outputs, or of two outputs for
// two vectors that are multiplied with the same weights.
template <int kind, int vectors>
FN void product_along(const MvmArgs& a, const Factors& f, const float* v, float* z) {
    const int rows = 4 / vectors;
    const float* other = v + a.batch * a.n_in * (vectors - 1);
    for (i64 i = 0; i < a.n_out; i += rows) {
        Block sum = constant_block(0.0f);
        i64 row[4], at = 0;
        for (int q = 0; q < 4; ++q) row[q] = (i + q % rows < a.n_out ? i + q % rows : i) * a.w_out;
        for (; at + 32 <= a.n_in; at += 32)
            LANES(l) {
                float s = v[at + l], t = other[at + l];
                sum.q[0][l] = fma_(factor<kind>(f, row[0] + at + l), s, sum.q[0][l]);
                sum.q[1][l] = fma_(factor<kind>(f, row[1] + at + l), s, sum.q[1][l]);
                sum.q[2][l] = fma_(factor<kind>(f, row[2] + at + l), t, sum.q[2][l]);
                sum.q[3][l] = fma_(factor<kind>(f, row[3] + at + l), t, sum.q[3][l]);
            }
        int rest = (int)(a.n_in - at);
        LANES_UP_TO(l, rest)
            if (l < rest) {
                float s = v[at + l], t = other[at + l];
                for (int q = 0; q < 4; ++q) {
                    sum.q[q][l] =
                        fma_(factor<kind>(f, row[q] + at + l), q < 2 ? s : t, sum.q[q][l]);
                }
            }
        for (int q = 0; q < 4; ++q)
            if (i + q % rows < a.n_out) {
                float total = lanes_sum(sum.q[q]);
                i64 out = i + q % rows, place = q / rows * a.batch * a.n_out + out;
                z[place] = total;
            }
    }
}

// Outputs lie next to each other: whole sums, for 128 of them at once.
template <int kind>
FN void product_across(const MvmArgs& a, const Factors& f, const float* v, float* z) {
    i64 whole = a.n_out / 128 * 128;
    for (i64 at = 0; at < whole; at += 128) {
        Block sum = constant_block(0.0f);
        for (i64 j = 0; j < a.n_in; ++j) {
            float s = v[j];
            i64 first = j * a.w_in + at;
            for (int q = 0; q < 4; ++q)
                LANES(l) {
                    sum.q[q][l] = fma_(factor<kind>(f, first + 32 * q + l), s, sum.q[q][l]);
                }
        }
        for (int q = 0; q < 4; ++q)
            LANES(l) z[at + 32 * q + l] = sum.q[q][l];
    }
    for (i64 at = whole; at < a.n_out; at += 32) {
        Laned<float> sum;
        LANES(l) sum[l] = 0.0f;
        int rest = rest_of(a.n_out, at);
        for (i64 j = 0; j < a.n_in; ++j) {
            float s = v[j];
            i64 first = j * a.w_in + at;
            LANES(l) sum[l] = l < rest ? fma_(factor<kind>(f, first + l), s, sum[l]) : sum[l];
        }
        LANES(l)
            if (l < rest) z[at + l] = sum[l];
    }
}

// `vectors` of them, one batch apart, are multiplied with the same weights.
template <int kind>
FN void product(const MvmArgs& a, const Factors& f, const float* v, float* z, int vectors) {
    if (a.w_in == 1) {
        if (vectors > 1) product_along<kind, 2>(a, f, v, z);
        else product_along<kind, 1>(a, f, v, z);
    } else {
        for (int k = 0; k < vectors; ++k) {
            product_across<kind>(a, f, v + k * a.batch * a.n_in, z + k * a.batch * a.n_out);
        }
    }
}

// The products of all sections of one vector.
CALLED void multiply(const MvmArgs& a, i64 item, Warps w) {
    const MvmPlan p = a.plan[0];
    if (a.per_sample) {
        multiply_per_sample(a, item, w);
        return;
    }
    Factors f = factors_of(a, item);
    for (int pass = 0; pass < p.passes; ++pass)
        for (int absolute = 0; absolute < 2; ++absolute) {
            int section = absolute ? absolute_section(p, pass, 0) : signed_section(p, pass, 0);
            int vectors = absolute ? p.absolute_kinds : p.signed_kinds;
            if (vectors == 0) continue;
            const float* v = input_of(a, p, item, section);
            float* z = product_of(a, p, item, section);
            switch (absolute + (is_polar(a, pass) ? (int)POLAR : 0)) {
                case PLAIN: product<PLAIN>(a, f, v, z, vectors); break;
                case ABSOLUTE: product<ABSOLUTE>(a, f, v, z, vectors); break;
                case POLAR: product<POLAR>(a, f, v, z, vectors); break;
                default: product<POLAR_ABSOLUTE>(a, f, v, z, vectors);
            }
        }
}

// One sum of a vector in the forward order, by one warp.
template <int kind> FN float dot(const MvmArgs& a, const Factors& f, const float* v, i64 row) {
    Laned<float> sum;
    LANES(l) sum[l] = 0.0f;
    for (i64 at = 0; at < a.n_in; at += 32) {
        int rest = rest_of(a.n_in, at);
        LANES(l)
            sum[l] = l < rest ? fma_(factor<kind>(f, row + at + l), v[at + l], sum[l]) : sum[l];
    }
    return lanes_sum(sum);
}

// The products of one output of a forward vector, in all sections; one warp makes them.
FN void multiply_output(const MvmArgs& a, i64 item, i64 out) {
    const MvmPlan p = a.plan[0];
    Factors f = factors_of(a, item);
    for (int section = 0; section < p.sections; ++section) {
        Place place = place_of(p, section);
        const float* v = input_of(a, p, item, section);
        i64 row = out * a.w_out;
        float sum;
        switch (place.absolute + (is_polar(a, place.pass) ? (int)POLAR : 0)) {
            case PLAIN: sum = dot<PLAIN>(a, f, v, row); break;
            case ABSOLUTE: sum = dot<ABSOLUTE>(a, f, v, row); break;
            case POLAR: sum = dot<POLAR>(a, f, v, row); break;
            default: sum = dot<POLAR_ABSOLUTE>(a, f, v, row);
        }
        product_of(a, p, item, section)[out] = sum;
    }
}
