// Weights of a row as magnitudes on single devices: what a chip without signs and common scales
// is given, and gives back.
#pragma once
#include "portable.cuh"

struct FusionArgs {
    i64 items, columns;
    const float *w, *measured;
    float *g, *out;
    float g_max;
};
