// Steps of one read: the DAC and the parts of the input, the currents of a pass, the output stage and the ADC.
#pragma once

// The part of a converted input that a pass drives: all of it, one sign, or some bits of its DAC steps.
FN int shift_of(const MvmPlan& p, int pass) { return p.reading == SPLIT ? pass * p.split_shift : p.reading == BIT_WISE ? pass : 0; }
FN float part_of(const MvmPlan& p, float v, int pass) {
    if (p.reading == ONE_PASS) return v;
    if (p.reading <= POS_NEG_DIGITAL) return pass == 0 ? min_(v, 0.0f) : max_(v, 0.0f);
    int steps = (int)round_(abs_(v) / p.inp_step) >> shift_of(p, pass);
    int width = p.reading == SPLIT ? p.split_shift : 1;
    float part = (float)(pass + 1 < p.passes ? steps & ((1 << width) - 1) : steps) * p.inp_step;
    return v < 0.0f ? -part : part;
}

// Writes the sections of one pass from the converted input, which lies where the first pass puts its own part.
FN void write_sections(const MvmArgs& a, const MvmPlan& p, i64 item, int pass) {
    const float* from = input_of(a, p, item, 0);
    float* v = input_of(a, p, item, signed_section(p, pass, 0));
    Laned<float> total, square;
    LANES(l) total[l] = square[l] = 0.0f;
    for (i64 at = 0; at < a.n_in; at += 32) {
        int rest = rest_of(a.n_in, at);
        LANES(l) if (l < rest) {
            float s = part_of(p, from[at + l], pass);
            total[l] = total[l] + s;
            square[l] = fma_(s, s, square[l]);
            v[at + l] = s;
        }
    }
    float sum = lanes_sum(total), norm = sqrt_(lanes_sum(square));
    if (p.sums && first_lane()) {
        a.sums[2 * (item * p.passes + pass)] = sum;
        a.sums[2 * (item * p.passes + pass) + 1] = norm;
    }
    if (p.ir_drop > 0.0f) {
        float *dropped = input_of(a, p, item, signed_section(p, pass, 1)), *load = input_of(a, p, item, absolute_section(p, pass, 0));
        float n = (float)a.n_in;
        for (i64 at = 0; at < a.n_in; at += 32) {
            int rest = rest_of(a.n_in, at), first = (int)at;
            LANES(l) if (l < rest) {
                float behind = 1.0f - (float)(first + l) / n;
                dropped[at + l] = v[at + l] * (1.0f - behind * behind);
                load[at + l] = abs_(v[at + l]);
            }
        }
    }
    if (p.weight_noise == WN_PCM_READ) {
        float* power = input_of(a, p, item, absolute_section(p, pass, p.absolute_kinds - 1));
        for (i64 at = 0; at < a.n_in; at += 32) {
            int rest = rest_of(a.n_in, at);
            LANES(l) if (l < rest) power[at + l] = v[at + l] * v[at + l];
        }
    }
}

// DAC: noisy, quantised and clipped x times `scale`, and all that the products of the passes take.
template <bool plain> CALLED void convert_inputs(const MvmArgs& a, const Read& r, float scale) {
    const MvmPlan p = plan_of<plain>(a);
    const float* x = a.x + r.item * a.n_in;
    float* v = input_of(a, p, r.item, 0);
    for (i64 at = 0; at < a.n_in; at += 128) {
        Block z = p.inp_noise > 0.0f ? normal_block(r, INPUT_NOISE, (u32)(at / 4), a.n_in - at) : constant_block(0.0f);
        Block u = dither_block(p.inp_sto_round, r, INPUT_ROUND, (u32)(at / 4));
        for (int q = 0; q < 4 && at + 32 * q < a.n_in; ++q) {
            int rest = rest_of(a.n_in, at + 32 * q);
            LANES(l) if (l < rest) {
                float s = quantise(x[at + 32 * q + l] * scale, p.inp_step, u.q[q][l]);
                s = p.inp_bound > 0.0f ? clamp_(s, -p.inp_bound, p.inp_bound) : s;
                s = p.inp_noise > 0.0f ? s + p.inp_noise * z.q[q][l] : s;
                v[at + 32 * q + l] = s < 0.0f ? s * (1.0f - p.inp_asymmetry) : s;
            }
        }
    }
    if (p.sections > 1 || p.sums) for (int pass = p.passes - 1; pass >= 0; --pass) write_sections(a, p, r.item, pass);
    lanes_sync();
}

FN float saturated(float v, float rho) { return v / (1.0f + rho * abs_(v)); }

// Currents of 128 outputs from `at` on in one pass: the product, and what wires, voltages and cells do to it.
FN Block currents(const MvmArgs& a, const MvmPlan& p, const Read& r, int pass, i64 at) {
    i64 n = a.n_out - at;
    int quarters = quarters_of(n);
    Block s = load_block(product_of(a, p, r.item, signed_section(p, pass, 0)) + at, n);
    if (p.ir_drop > 0.0f) {
        Block dropped = load_block(product_of(a, p, r.item, signed_section(p, pass, 1)) + at, n);
        Block load = load_block(product_of(a, p, r.item, absolute_section(p, pass, 0)) + at, n);
        for (int q = 0; q < 4 && q < quarters; ++q) LANES(l) {
            float c = p.ir_ratio * load.q[q][l];
            s.q[q][l] = s.q[q][l] - p.ir_drop * (c * (c * (0.05f * c - 0.2f) + 0.5f)) * dropped.q[q][l];
        }
    }
    if (p.offset) {
        float base = p.reference * a.sums[2 * (r.item * p.passes + pass)], lost = saturated(base, p.r_series);
        Block o = load_block(a.frozen + (r.item / a.batch * FROZEN_ROWS + OFFSET) * a.n_out + at, n);
        for (int q = 0; q < 4 && q < quarters; ++q) LANES(l) {
            float own = saturated(s.q[q][l] + base, p.r_series);
            s.q[q][l] = (1.0f - o.q[q][l]) * own - (1.0f + o.q[q][l]) * lost;
        }
    }
    if (p.weight_noise == WN_NONE) return s;
    Block z = normal_block(r, WEIGHT_NOISE, (u32)(at / 4) | (u32)pass << 26, n);
    if (p.weight_noise == WN_PCM_READ) {
        Block power = load_block(product_of(a, p, r.item, absolute_section(p, pass, p.absolute_kinds - 1)) + at, n);
        for (int q = 0; q < 4 && q < quarters; ++q) LANES(l) s.q[q][l] = s.q[q][l] + p.w_noise * sqrt_(power.q[q][l]) * z.q[q][l];
    } else {
        float sigma = p.w_noise * a.sums[2 * (r.item * p.passes + pass) + 1];
        for (int q = 0; q < 4 && q < quarters; ++q) LANES(l) s.q[q][l] = s.q[q][l] + sigma * z.q[q][l];
    }
    return s;
}

// Output stage and ADC of 128 outputs. `last` keeps for each lane its last hit of the ADC bound: odd where it asks for
// bound management, even where it takes that back.
FN void digitise(const MvmArgs& a, const MvmPlan& p, const Read& r, int pass, i64 at, Block& s, Laned<float>& last) {
    i64 n = a.n_out - at;
    int quarters = quarters_of(n);
    const float* frozen = a.frozen + r.item / a.batch * FROZEN_ROWS * a.n_out + at;
    if (p.curve) {
        Block bend = load_block(frozen + BEND * a.n_out, n), gain = load_block(frozen + GAIN * a.n_out, n);
        for (int q = 0; q < 4 && q < quarters; ++q) LANES(l) s.q[q][l] = gain.q[q][l] * s.q[q][l] / (1.0f + abs_(bend.q[q][l] * s.q[q][l]));
    }
    for (int q = 0; q < 4 && q < quarters; ++q) LANES(l) s.q[q][l] = s.q[q][l] < 0.0f ? s.q[q][l] * (1.0f - p.out_asymmetry) : s.q[q][l];
    if (p.out_noise > 0.0f) {
        Block z = normal_block(r, OUTPUT_NOISE, (u32)(at / 4) | (u32)pass << 26, n);
        Block sigma = p.out_noise_std > 0.0f ? load_block(frozen + SIGMA * a.n_out, n) : constant_block(p.out_noise);
        for (int q = 0; q < 4 && q < quarters; ++q) LANES(l) s.q[q][l] = s.q[q][l] + sigma.q[q][l] * z.q[q][l];
    }
    Block u = dither_block(p.out_sto_round, r, OUTPUT_ROUND, (u32)(at / 4) | (u32)pass << 26);
    for (int q = 0; q < 4 && q < quarters; ++q) LANES(l) s.q[q][l] = quantise(s.q[q][l], p.out_step, u.q[q][l]);
    if (p.out_bound > 0.0f) for (int q = 0; q < 4 && q < quarters; ++q) {
        int rest = rest_of(n, 32 * q), first = (int)at + 32 * q;
        LANES(l) {
            float v = s.q[q][l], mark = 2.0f * (float)(first + l) + 2.0f;
            bool high = v > p.out_bound, low = v < -p.out_bound;
            float seen = high || (low && p.test_negative) ? mark + 1.0f : low && p.clears ? mark : last[l];
            last[l] = l < rest ? seen : last[l];
            s.q[q][l] = clamp_(v, -p.out_bound, p.out_bound);
        }
    }
}
