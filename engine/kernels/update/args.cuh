// What every pulsed array does around the snippet of its device: draws, bounds, write noise.
// Expects Params, Cell, State, NOISE, UNIFORM, WRITE_NOISE and pulse_once (generated from the declaration).
#pragma once
#include "trains/trains.cuh"
#include "device/structs.cuh"

struct ArrayArgs {
    i64 items, replicas, rows, cols;
    float *w, *cells;
    const Params* params;
    const Control* control;
    const float* chosen;
    i64 start, count;
    u32 call;
    float amount, clock;
};

struct UpdateArgs {
    i64 items, replicas, rows, cols, batch;
    float *w, *cells;
    const Params* params;
    Control *control, *frozen;
    const PulsePlan* plan;
    Amplitude* plans;
    const float *x, *d;
    u32 *x_words, *d_words;
    int words, type, noise_on;
    u32 call;
    float lr_scale;
    // Sample masks (trains/masks.cu) and what is made of them; `all_words` if trains of one slot need words as well.
    SampleMask *x_masks, *d_masks;
    SampleGroup* groups;
    u32* hits;
    int all_words, spread;
    // The largest values of parts of the lines of each sample (measure_samples), or null.
    float* maxima;
};

// Normals and uniforms of four consecutive pulses of a cell; element n of the group lies at z[n * stride].
FN void draw_group(const UpdateArgs& a, Key key, u32 step, u32 cell, u32 group, float* z, float* u, int stride) {
    Draw pulse = {a.call, step, PULSE}, other = {a.call, step, PULSE_UNIFORM};
    if (a.noise_on) {
        for (int m = 0; m < NOISE; ++m) {
            float* to = z + 4 * m * stride;
            normals4(key, pulse, cell, group * NOISE + m, to[0], to[stride], to[2 * stride], to[3 * stride]);
        }
    }
    for (int m = 0; m < UNIFORM; ++m) {
        u32 r[4];
        words4(key, other, cell, group * UNIFORM + m, r[0], r[1], r[2], r[3]);
        for (int q = 0; q < 4; ++q) u[(4 * m + q) * stride] = uniform_of(r[q]);
    }
}

// With write noise, what is read is the hidden weight plus the noise of the last write.
FN float hidden_weight(float seen, const State& s) {
#if WRITE_NOISE
    return s.persistent;
#else
    return seen;
#endif
}
FN void hide_weight(float hidden, State& s) {
#if WRITE_NOISE
    s.persistent = hidden;
#endif
}
FN float written_weight(const Params& p, float hidden, State& s, Key key, Draw t, u32 cell) {
#if WRITE_NOISE
    s.persistent = hidden;
    return hidden + p.write_noise_std * p.dw_min * normal_at(key, t, cell, 0);
#else
    return hidden;
#endif
}

// The bounds of the array apply to every other operation on weights; those of the device follow its pulses.
FN void bound_weight(float& w, const Cell& c) { w = clamp_(w, c.min_bound, c.max_bound); }
