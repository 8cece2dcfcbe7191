// One analog matrix-vector product: mvm_input, the product z = v W^T (torch's or mvm_product), mvm_output.

FN Draw draw_of(const MvmArgs& a, const Control& c) { Draw t = {a.call, c.step, a.stream}; return t; }

// The running average of the input scale, vector by vector: one item a lane, before mvm_input.
KERNEL(mvm_average, MvmArgs) {
    float decay = a.plan[0].nm_decay, s = a.average[item];
    for (i64 b = item * a.batch; b < (item + 1) * a.batch; ++b) {
        float top = 0.0f;
        for (i64 j = 0; j < a.n_in; ++j) top = max_(abs_(a.x[b * a.n_in + j]), top);
        s = s < 0.0f ? top : (1.0f - decay) * s + decay * top;
        a.alpha[b] = s;
    }
    a.average[item] = s;
}

// alpha < 0 marks a vector without input: its output is exactly 0.
WARP_KERNEL(mvm_input, MvmArgs) {
    const MvmPlan& p = a.plan[0];
    const Control& control = a.control[item / a.batch];
    const float* x = a.x + item * a.n_in;
    float alpha = p.noise_management == NM_NONE || p.noise_management == NM_CONSTANT ? input_scale(p, Spread{})
                : p.noise_management == NM_AVERAGE ? a.alpha[item] : input_scale(p, spread_of(x, a.n_in));
    bool empty = p.noise_management != NM_NONE && !(alpha > 0.0f);
    if (empty && p.inp_noise > 0.0f) alpha = 1.0f;
    bool silent = empty && !(p.inp_noise > 0.0f);
    convert_inputs(a, p, key_of(control), draw_of(a, control), x, a.v + item * a.n_in, (u32)(item % a.batch), silent ? 0.0f : 1.0f / alpha);
    if (first_lane()) a.alpha[item] = silent ? -1.0f : alpha;
}

// A product in a fixed order of its own: 32 partial sums along the inputs, or whole sums for 32 outputs at once where
// those lie next to each other.
FN void product_row(const MvmArgs& a, const float* w, const float* v, float* z) {
    if (a.w_in == 1) {
        for (i64 i = 0; i < a.n_out; ++i) {
            Laned<float> sum;
            LANES(l) sum[l] = 0.0f;
            for (i64 at = 0; at < a.n_in; at += 32) LANES(l) {
                if (at + l < a.n_in) sum[l] = fma_(w[i * a.w_out + at + l], v[at + l], sum[l]);
            }
            float total = lanes_sum(sum);
            LANES(l) if (l == (int)(i & 31)) z[i] = total;
        }
        return;
    }
    for (i64 at = 0; at < a.n_out; at += 32) {
        Laned<float> sum;
        LANES(l) sum[l] = 0.0f;
        for (i64 j = 0; j < a.n_in; ++j) LANES(l) {
            if (at + l < a.n_out) sum[l] = fma_(w[j * a.w_in + (at + l) * a.w_out], v[j], sum[l]);
        }
        LANES(l) if (at + l < a.n_out) z[at + l] = sum[l];
    }
}

FN const float* weights_of(const MvmArgs& a, i64 item) { return a.w + item / a.batch * a.n_in * a.n_out; }

WARP_KERNEL(mvm_product, MvmArgs) { product_row(a, weights_of(a, item), a.v + item * a.n_in, a.z + item * a.n_out); }

// Output stage; with bound management, a vector that hits the ADC bound is read again with half the input, and so on.
WARP_KERNEL(mvm_output, MvmArgs) {
    const MvmPlan& p = a.plan[0];
    const Control& control = a.control[item / a.batch];
    const float* x = a.x + item * a.n_in;
    float *v = a.v + item * a.n_in, *y = a.z + item * a.n_out, alpha = a.alpha[item], reduce = 1.0f;
    if (alpha < 0.0f) {
        for (i64 at = 0; at < a.n_out; at += 32) LANES(l) if (at + l < a.n_out) y[at + l] = 0.0f;
        return;
    }
    u32 sample = (u32)(item % a.batch);
    bool worst_case = p.bound_management == BM_WORST_CASE && p.noise_management != NM_NP_SUM;
    for (u32 pass = 0;; ++pass) {
        Draw t = draw_of(a, control);
        bool hit = convert_outputs(a, p, key_of(control), t, y, sample | pass << 26, alpha * reduce * p.out_scale);
        bool spent = floor_(reduce) > p.max_bm_factor || (p.inp_step > 0.0f && reduce > p.max_bm_res / p.inp_step);
        if (p.bound_management == BM_NONE || !hit || spent) return;
        reduce = 2.0f * reduce;
        if (worst_case && pass == 0) {
            alpha = np_sum_scale(p, spread_of(x, a.n_in));
            reduce = 1.0f;
        }
        convert_inputs(a, p, key_of(control), t, x, v, sample | (pass + 1) << 26, 1.0f / (alpha * reduce));
        product_row(a, weights_of(a, item), v, y);
    }
}
