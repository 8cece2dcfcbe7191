// Drawing the constants that every pulsed device has, in one fixed order of draws.
// Expects the structs Params, Cell and State of a device (generated from its declaration).
#pragma once
#include "update/args.cuh"
#include "device/construct.cuh"

struct Draws { Key key; u32 cell; u32 next; };
FN float next_normal(Draws& r) {
    Draw t = {0, 0, CONSTRUCT};
    return normal_at(r.key, t, r.cell, r.next++);
}

// Up and down values with a common gain, a one-sided mean bias and an antisymmetric spread.
FN void split_up_down(float gain, float bias, float spread, float unit, float& up, float& down) {
    up = (gain + min_(bias, 0.0f) + spread) * unit;
    down = (gain - max_(bias, 0.0f) - spread) * unit;
}

FN void construct_bounds(const Params& p, Cell& c, Draws& r) {
    c.max_bound = p.w_max * (1.0f + p.w_max_dtod * next_normal(r));
    c.min_bound = p.w_min * (1.0f + p.w_min_dtod * next_normal(r));
}

FN void construct_steps(const Params& p, Cell& c, Draws& r) {
    float spread = p.dw_min_dtod * next_normal(r);
    float gain = p.dw_min_dtod_log_normal ? exp_(spread) : 1.0f + spread;
    split_up_down(gain, p.up_down, p.up_down_dtod * next_normal(r), p.dw_min, c.dwmin_up, c.dwmin_down);
}

FN void make_consistent(const Params& p, Cell& c) {
    float low = c.min_bound, high = c.max_bound;
    if (p.enforce_consistency) {
        c.dwmin_up = abs_(c.dwmin_up);
        c.dwmin_down = abs_(c.dwmin_down);
        c.max_bound = abs_(max_(low, high));
        c.min_bound = -abs_(min_(low, high));
    } else if (low > high) {
        c.max_bound = c.min_bound = 0.5f * (low + high);
    }
}

// A corrupt device is stuck: no step, and both bounds at the same value.
FN void corrupt(const Params& p, Cell& c, const Draws& r) {
    Draw t = {0, 0, CONSTRUCT_UNIFORM};
    if (!(p.corrupt_devices_prob > uniform_at(r.key, t, r.cell, 0))) return;
    float range = abs_(p.corrupt_devices_range);
    float low = max_(c.min_bound, -range), high = min_(c.max_bound, range);
    c.max_bound = c.min_bound = low + (high - low) * uniform_at(r.key, t, r.cell, 1);
    c.dwmin_up = c.dwmin_down = 0.0f;
}

FN void construct_slow(const Params& p, Cell& c, Draws& r) {
    c.diffusion_rate = abs_(p.diffusion * (1.0f + p.diffusion_dtod * next_normal(r)));
    c.reset_bias = p.reset + p.reset_dtod * next_normal(r);
    float life = p.lifetime * (1.0f + p.lifetime_dtod * next_normal(r));
    c.decay_scale = p.lifetime > 0.0f ? (life > 1.0f ? 1.0f - 1.0f / life : 0.0f) : 1.0f;
    c.drift_nu = p.drift_nu * (1.0f + p.drift_nu_dtod * next_normal(r));
}

FN void construct_cell(const Params& p, Cell& c, Draws& r, bool bias_column) {
    construct_bounds(p, c, r);
    construct_steps(p, c, r);
    make_consistent(p, c);
    corrupt(p, c, r);
    if (p.perfect_bias && bias_column) {
        c.dwmin_up = c.dwmin_down = p.dw_min;
        c.max_bound = 100.0f * p.w_max;
        c.min_bound = 100.0f * p.w_min;
    }
    construct_slow(p, c, r);
    construct_device(p, c, r);
}
