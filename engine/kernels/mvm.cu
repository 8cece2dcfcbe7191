// One analog matrix-vector product: mvm_input, the digital products z = v W^T of all sections (torch's or mvm_product),
// mvm_output; or mvm_whole for all three.

FN Read read_of(const MvmArgs& a, i64 item) {
    const Control& c = a.control[item / a.batch];
    Read r = {key_of(c), {a.call, c.step, a.stream}, item, (u32)(a.first + item % a.batch)};
    return r;
}

// Frozen spreads of the outputs: one item a lane, so that the mean of the bends has an order. Half of the outputs have
// a voltage offset.
KERNEL(mvm_freeze, MvmArgs) {
    const MvmPlan p = a.plan[0];
    Key key = key_of(a.control[item]);
    Draw t = {a.call, 0, FROZEN};
    float *row = a.frozen + item * FROZEN_ROWS * a.n_out, sum = 0.0f;
    for (i64 i = 0; i < a.n_out; ++i) {
        row[SIGMA * a.n_out + i] = abs_(p.out_noise * (1.0f + p.out_noise_std * normal_at(key, t, (u32)i, SIGMA)));
        float o = p.v_offset_std * normal_at(key, t, (u32)i, OFFSET);
        bool chosen = p.v_offset_positive ? o > 0.0f : normal_at(key, t, (u32)i, GAIN) > 0.0f;
        row[OFFSET * a.n_out + i] = chosen ? o : 0.0f;
        row[BEND * a.n_out + i] = abs_(p.bend * (1.0f + p.bend_std * normal_at(key, t, (u32)i, BEND)));
        sum = sum + row[BEND * a.n_out + i];
    }
    float root = p.slope > 0.0f ? 1.0f + (sum / (float)a.n_out + p.r_series) * p.slope : 1.0f;
    for (i64 i = 0; i < a.n_out; ++i) row[GAIN * a.n_out + i] = root * root;
}

// Frozen factors of the weights where the input is negative.
KERNEL(mvm_freeze_weights, MvmArgs) {
    i64 cells = a.n_in * a.n_out;
    Draw t = {a.call, 0, FROZEN};
    a.asymmetry[item] = 1.0f + a.plan[0].w_read_asymmetry * normal_at(key_of(a.control[item / cells]), t, (u32)(item % cells), FROZEN_ROWS);
}

// The running average of the input scale, vector by vector: one item a lane, before mvm_input.
WARP_KERNEL(mvm_average, MvmArgs) {
    float decay = a.plan[0].nm_decay, s = a.average[item];
    for (i64 b = item * a.batch; b < (item + 1) * a.batch; ++b) {
        float top = abs_max_of(a.x + b * a.n_in, a.n_in);
        s = s < 0.0f ? top : (1.0f - decay) * s + decay * top;
        if (first_lane()) a.alpha[b] = s;
    }
    if (first_lane()) a.average[item] = s;
}

// Converts the inputs and returns their scale: negative for a vector without input, whose output is exactly 0.
template <bool plain> CALLED float begin(const MvmArgs& a, i64 item) {
    const MvmPlan p = plan_of<plain>(a);
    float alpha = input_scale(a, p, item);
    bool empty = p.noise_management != NM_NONE && !(alpha > 0.0f), silent = empty && !(p.inp_noise > 0.0f);
    alpha = empty ? 1.0f : alpha;
    convert_inputs<plain>(a, read_of(a, item), silent ? 0.0f : 1.0f / alpha);
    return silent ? -1.0f : alpha;
}

// All passes of one read after the product; true if an output hit the bound of the ADC. Passes add up as currents, or
// after the ADC as digital numbers.
template <bool plain> CALLED bool convert_outputs(const MvmArgs& a, const Read& r, float rescale) {
    const MvmPlan p = plan_of<plain>(a);
    float* y = a.y + r.item * a.n_out;
    bool digital = p.reading >= POS_NEG_DIGITAL, hit = false;
    for (int pass = 0; pass < (digital ? p.passes : 1); ++pass) {
        float place = (float)(1 << shift_of(p, pass));
        Laned<float> last;
        LANES(l) last[l] = 0.0f;
        for (i64 at = 0; at < a.n_out; at += 128) {
            int quarters = quarters_of(a.n_out - at);
            Block s = constant_block(0.0f);
            for (int k = pass; k < (digital ? pass + 1 : p.passes); ++k) {
                Block part = currents(a, p, r, k, at);
                for (int q = 0; q < 4 && q < quarters; ++q) LANES(l) s.q[q][l] = s.q[q][l] + part.q[q][l];
            }
            digitise(a, p, r, pass, at, s, last);
            for (int q = 0; q < 4 && at + 32 * q < a.n_out; ++q) {
                int rest = rest_of(a.n_out, at + 32 * q);
                LANES(l) if (l < rest) {
                    float before = pass > 0 ? y[at + 32 * q + l] : 0.0f;
                    y[at + 32 * q + l] = before + s.q[q][l] * place * rescale;
                }
            }
        }
        hit = hit || ((int)lanes_max(last) & 1);
    }
    return hit;
}

// Output stage; with bound management, a vector that hits the ADC bound is read again with half the input, and so on.
template <bool plain> CALLED void finish(const MvmArgs& a, i64 item, float alpha) {
    const MvmPlan p = plan_of<plain>(a);
    float reduce = 1.0f;
    if (alpha < 0.0f) {
        float* y = a.y + item * a.n_out;
        for (i64 at = 0; at < a.n_out; at += 32) LANES(l) if (at + l < a.n_out) y[at + l] = 0.0f;
        return;
    }
    bool worst_case = p.bound_management == BM_WORST_CASE && p.noise_management != NM_NP_SUM;
    for (u32 round = 0;; ++round) {
        Read r = read_of(a, item);
        r.block |= round << 26;
        bool hit = convert_outputs<plain>(a, r, alpha * reduce * p.out_scale);
        bool spent = floor_(reduce) > p.max_bm_factor || (p.inp_step > 0.0f && reduce > p.max_bm_res / p.inp_step);
        if (p.bound_management == BM_NONE || !hit || spent) return;
        reduce = 2.0f * reduce;
        if (worst_case && round == 0) {
            if (p.noise_management != NM_NONE) alpha = np_sum_scale(p, a.x + item * a.n_in, a.n_in);
            reduce = 1.0f;
        }
        r.block += 1u << 26;
        convert_inputs<plain>(a, r, 1.0f / (alpha * reduce));
        multiply(a, item);
    }
}

WARP_KERNEL(mvm_input, MvmArgs) {
    float alpha = is_plain(a.plan[0]) ? begin<true>(a, item) : begin<false>(a, item);
    if (first_lane()) a.alpha[item] = alpha;
}

WARP_KERNEL(mvm_product, MvmArgs) { multiply(a, item); }

FN void finish_any(const MvmArgs& a, i64 item, float alpha) {
    if (is_plain(a.plan[0])) finish<true>(a, item, alpha);
    else finish<false>(a, item, alpha);
}
WARP_KERNEL(mvm_output, MvmArgs) { finish_any(a, item, a.alpha[item]); }

WARP_KERNEL(mvm_whole, MvmArgs) {
    float alpha = is_plain(a.plan[0]) ? begin<true>(a, item) : begin<false>(a, item);
    if (alpha > 0.0f) multiply(a, item);
    finish_any(a, item, alpha);
}
