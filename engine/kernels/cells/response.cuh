// How one cell answers to pulses, step by step: for curves, not for training.
// Expects the construction and the steps of a device (generated from its declaration).
#pragma once
#include "construct.cuh"
#include "update/steps.cuh"

struct ResponseArgs {
    i64 items, points, moments, each;
    const Params* params;
    const Control* control;
    const float* grid;
    float *up, *down, *weights, *low, *high;
    float normal;  // in place of every normal number of the single pulses; 0 gives the noiseless step
};

// One pulse on a fresh cell of this weight, with a given number as its noise.
FN float step_at(float w, const Params& p, const Cell& c, bool up, float normal) {
    float z[NOISE + 1] = {}, u[UNIFORM + 1], moved = w;
    for (int m = 0; m < NOISE; ++m) z[m] = normal;
    for (int m = 0; m < UNIFORM; ++m) u[m] = 0.5f;
    State s = {};
    step_once(moved, p, c, s, up, z, u);
    return moved - w;
}
