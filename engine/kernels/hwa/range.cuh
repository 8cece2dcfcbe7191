// The input range of a tile: what of x beyond plus or minus R is cut off, and how R learns.
#pragma once
#include "hwa/modifier.cuh"

// x [rows][cols] are inputs, v what of them enters the tile. Going back, d is the gradient of the
// cut inputs, and `clipped` counts for each of `outputs` vectors of `width` numbers those at the
// bound of the ADC.
struct RangeArgs {
    i64 items, rows, cols, outputs, width;
    const float *x, *clipped;
    float *v, *d, *figures, *range, *gradient, *seen;
    float first_batches, std_alpha, decay, input_share, output_share, gradient_scale;
    int relative, manage_output, per_input, stop;
};

// y [rows][cols] as the tile gave it, d the gradient of y times `scale`, `learned` and R. The
// gradient of the inputs skips outputs at the bound `limit` of the ADC (<= 0: none). `steps` are
// 1 for a factor of each column, 0 for one.
struct OutputArgs {
    i64 items, rows, cols, scale_step, learned_step;
    const float *y, *d, *scale, *learned, *range;
    float *back, *own, *clipped, *by_column, *joined;
    float limit;
};
