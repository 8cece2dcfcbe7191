// Windows of several cells that end together.
#pragma once
#include "jump.cuh"

// Sixteen cells on a CPU, one on a GPU: weights, their constants, of which the values of a cell lie `stride` apart, their
// numbers, and the pulses that they had in this call.
struct Cells {
    Key key;
    u32 step;
    float *w, *record;
    i64 stride;
    u32 *cell, *first;
};

// The end of a jump for each cell that has pulses and is free. Returns the number of pulses of the others.
FN WideBits finish_windows(const UpdateArgs& a, const Cells& k, const LinearSteps<Wide>& ways, const GaussianPath<Wide>& t, WideBits count) {
    float z[WIDE];
    LOOP for (int l = 0; l < WIDE; ++l) z[l] = pulse_normal(a, k.key, k.step, k.cell[l], k.first[l]);
    Wide draw, w;
    WideBits first, none = {};
    fetch(draw, z);
    fetch(w, k.w);
    fetch(first, k.first);
    auto open = stays_within_bounds(t, ways);
    put(k.w, choose((count != none) & open, sample_final_weight(t, draw), w));
    put(k.first, first + choose(open, count, none));
    return choose(open, none, count);
}
