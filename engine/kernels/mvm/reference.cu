// What: a whole read as its definition has it, one number after the other.
// One item is: a vector, all of which every lane of a warp computes.
// Must equal: nothing; the other kernels of this folder must equal this one.
// When it is chosen: by tests alone.
#include "mvm/order.cuh"
#include "mvm/frozen.cu"

// The current of output o in a pass.
FN float current_of(const MvmArgs& a, const MvmPlan& p, const Read& r, i64 o, int pass) {
    float s = sum_of(a, p, r.item, o, pass, PRODUCT);
    if (p.ir_drop > 0.0f) {
        float lost = lost_share(p, sum_of(a, p, r.item, o, pass, LOAD));
        s = s - lost * sum_of(a, p, r.item, o, pass, DROPPED);
    }
    if (p.offset) {
        float base = p.reference * sum_of(a, p, r.item, o, pass, TOTAL);
        s = offset_current(p, s, base, frozen_of(a, r.item, OFFSET)[o]);
    }
    if (p.weight_noise == WN_NONE) return s;
    int what = p.weight_noise == WN_PCM_READ ? POWER : SQUARES;
    float sigma = p.w_noise * sqrt_(sum_of(a, p, r.item, o, pass, what));
    return s + sigma * random_of(r, WEIGHT_NOISE, o, pass);
}

// The number that the ADC makes of a current, not yet clipped.
FN float number_of(const MvmArgs& a, const MvmPlan& p, const Read& r, float s, i64 o, int pass) {
    if (p.curve) s = bent(s, frozen_of(a, r.item, GAIN)[o], frozen_of(a, r.item, BEND)[o]);
    s = s < 0.0f ? s * (1.0f - p.out_asymmetry) : s;
    float sigma = p.out_noise_std > 0.0f ? frozen_of(a, r.item, SIGMA)[o] : p.out_noise;
    if (p.out_noise > 0.0f) s = s + sigma * random_of(r, OUTPUT_NOISE, o, pass);
    return quantise(s, p.out_step, p.out_sto_round ? random_of(r, OUTPUT_ROUND, o, pass) : 0.0f);
}

// One read; the passes of which the last output beyond the bound asks for bound management.
FN u32 read_once(const MvmArgs& a, const MvmPlan& p, const Read& r, float scale, float rescale) {
    bool digital = p.reading >= MV_POS_NEG_SEPARATE_DIGITAL_SUM;
    u32 hits = 0u;
    for (i64 j = 0; j < a.n_in; ++j) {
        float dither = p.inp_sto_round ? random_of(r, INPUT_ROUND, j, 0) : 0.0f;
        float noise = random_of(r, INPUT_NOISE, j, 0), x = a.x[r.item * a.n_in + j];
        a.v[r.item * a.n_in + j] = converted(p, x, scale, dither, noise);
    }
    lanes_sync();
    for (i64 o = 0; o < a.n_out; ++o) {
        float y = 0.0f;
        for (int pass = 0; pass < (digital ? p.passes : 1); ++pass) {
            float s = 0.0f;
            for (int k = pass; k < (digital ? pass + 1 : p.passes); ++k)
                s = s + current_of(a, p, r, o, k);
            s = number_of(a, p, r, s, o, pass);
            hits = asks(p, s) ? hits | 1u << pass : clears(p, s) ? hits & ~(1u << pass) : hits;
            y = y + clipped(p, s) * (float)(1 << shift_of(p, pass)) * rescale;
        }
        a.y[r.item * a.n_out + o] = y;
    }
    lanes_sync();
    return hits;
}

WARP_KERNEL(mvm_reference, MvmArgs) {
    const MvmPlan p = a.plan[0];
    float alpha = input_scale(a, p, item, ONE_WARP);
    bool empty = p.noise_management != NM_NONE && !(alpha > 0.0f);
    Retry t = {empty ? 1.0f : alpha, 1.0f, 0u, -1};
    if (empty && !(p.inp_noise > 0.0f)) {
        write_zeros(a, item, ONE_WARP);
        return;
    }
    for (bool again = true; again;) {
        float scale = t.scale * t.reduce, rescale = scale * p.out_scale;
        bool hit = read_once(a, p, read_of(a, item, t.round), 1.0f / scale, rescale) != 0u;
        again = hit && p.bound_management != BM_NONE && !spent(p, t);
        if (again) weaken(a, p, item, t, ONE_WARP);
    }
}
