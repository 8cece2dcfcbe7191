// How one cell answers to pulses, step by step: for curves, not for training.
// Expects what pulsing.cuh and base_device.cuh expect, and the device itself.
#pragma once
#include "construct.cuh"
#include "update/steps.cuh"

struct ResponseArgs {
    i64 items, points, moments, each;
    const Params* params;
    const Control* control;
    const float* grid;
    float *up, *down, *weights, *low, *high;
};

// One noiseless pulse on a fresh cell of this weight.
FN float step_at(float w, const Params& p, const Cell& c, bool up) {
    float z[NOISE + 1] = {}, u[UNIFORM + 1], moved = w;
    for (int m = 0; m < UNIFORM; ++m) u[m] = 0.5f;
    State s = {};
    step_once(moved, p, c, s, up, z, u);
    return moved - w;
}

// `n` pulses with all their noise; `done` counts those that the cell has had.
struct Pulsed { const UpdateArgs& a; Key key; u32 cell, done; };
FN void pulse_often(Pulsed& t, float& w, const Params& p, const Cell& c, State& s, bool up, i64 n) {
    float z[4 * NOISE + 1] = {}, u[4 * UNIFORM + 1] = {};
    for (i64 k = 0; k < n; ++k, ++t.done) {
        if ((t.done & 3u) == 0u || k == 0) draw_group(t.a, t.key, 0u, t.cell, t.done >> 2, z, u, 1);
        pulse_once(w, p, c, s, up, z + (t.done & 3u) * NOISE, u + (t.done & 3u) * UNIFORM);
    }
}
