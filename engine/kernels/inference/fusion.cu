// What: magnitudes of weights as conductances, and measured ones as weights again.
// One item is: a row, a thread; its columns in their order.
// Must equal: the fusion of aihwkit, as tests/inference has it.
// When it is chosen: for exports to chips.
#include "inference/fusion.cuh"

KERNEL(magnitudes, FusionArgs) {
    const float* w = a.w + item * a.columns;
    float top = 0.0f;
    for (i64 j = 0; j < a.columns; ++j) top = max_(top, abs_(w[j]));
    float scale = top > 0.0f ? a.g_max / top : 0.0f;
    for (i64 j = 0; j < a.columns; ++j) a.g[item * a.columns + j] = abs_(w[j]) * scale;
}

// Measured magnitudes with the signs of the targets, scaled by the slope of the targets over them.
KERNEL(signed_again, FusionArgs) {
    const float *w = a.w + item * a.columns, *g = a.measured + item * a.columns;
    float *out = a.out + item * a.columns, n = (float)a.columns, sum = 0.0f, target = 0.0f,
          both = 0.0f, square = 0.0f;
    for (i64 j = 0; j < a.columns; ++j) {
        out[j] = w[j] < 0.0f ? -g[j] : w[j] > 0.0f ? g[j] : 0.0f;
        sum = sum + out[j];
        target = target + w[j];
    }
    for (i64 j = 0; j < a.columns; ++j) {
        float x = out[j] - sum / n;
        both = fma_(x, w[j] - target / n, both);
        square = fma_(x, x, square);
    }
    float slope = square > 0.0f ? both / square : 0.0f;
    for (i64 j = 0; j < a.columns; ++j) out[j] = slope * out[j];
}
