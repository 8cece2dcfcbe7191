// What: around a product that learns by its gradient: input range and output scales, forward and
//   back.
// One item is: a vector, a warp or a block; what is added up over all vectors, a warp.
// Must equal: tests/naive/modifier.py; scale_outputs torch's products of the same factors.
// When it is chosen: always.
#include "hwa/range.cuh"
#include "hwa/modifier.cu"

// One item: the range follows the spread of the first inputs.
WARP_KERNEL(start_range, RangeArgs) {
    float spread = spread_of_rows(a.figures, a.rows, a.cols), k = a.seen[0], old = a.range[0];
    lanes_sync();
    if (!first_lane()) return;
    bool counts = spread > 0.0f && k < a.first_batches;
    a.range[0] = abs_(counts ? (old * k + a.std_alpha * spread) / (k + 1.0f) : old);
    a.seen[0] = counts ? k + 1.0f : k;
}

BLOCK_KERNEL(cut_inputs, RangeArgs, 8) {
    float r = a.range[0];
    const float* x = a.x + item * a.cols;
    float* v = a.v + item * a.cols;
    for (i64 at = 32 * w.rank; at < a.cols; at += 32 * w.size) {
        int rest = rest_of(a.cols, at);
        LANES(l)
            if (l < rest) v[at + l] = clamp_(x[at + l], -r, r) / r;
    }
}

// What the inputs of a vector that are cut off ask of the range, and how many are not; `stop`
// ends their own gradient.
WARP_KERNEL(pull_range, RangeArgs) {
    float r = a.range[0];
    Laned<float> pull, inside;
    LANES(l) pull[l] = inside[l] = 0.0f;
    const float* x = a.x + item * a.cols;
    float* d = a.d + item * a.cols;
    for (i64 at = 0; at < a.cols; at += 128) {
        Block v = load_block(x + at, a.cols - at), g = load_block(d + at, a.cols - at);
        for (int q = 0; q < 4 && at + 32 * q < a.cols; ++q) {
            int rest = rest_of(a.cols, at + 32 * q);
            float* end = d + at + 32 * q;
            LANES(l) {
                float in = v.q[q][l], back = g.q[q][l];
                float up = in >= r ? min_(back, 0.0f) : 0.0f,
                      down = in <= -r ? max_(back, 0.0f) : 0.0f;
                pull[l] = pull[l] + (l < rest ? up - down : 0.0f);
                inside[l] = inside[l] + (l < rest && abs_(in) < r ? 1.0f : 0.0f);
            }
            if (a.stop)
                LANES(l)
                    if (l < rest) end[l] = abs_(v.q[q][l]) > r ? 0.0f : g.q[q][l];
        }
    }
    float sum = lanes_sum(pull), count = lanes_sum(inside);
    if (!first_lane()) return;
    a.figures[FIGURES * item + TOP] = sum;
    a.figures[FIGURES * item + MEAN] = count;
}

// One item: the gradient of the range.
WARP_KERNEL(learn_range, RangeArgs) {
    float g = sum_of_rows(a.figures, a.rows, TOP), r = a.range[0],
          all = (float)a.rows * (float)a.cols;
    g = a.relative ? g * r * a.gradient_scale : g;
    if (a.manage_output) {
        float clipped = 0.0f;
        LOADS_AHEAD for (i64 b = 0; b < a.outputs; ++b) clipped = clipped + a.clipped[b];
        float passed = 1.0f - clipped / (a.per_input ? all : (float)a.outputs * (float)a.width);
        g = passed < a.output_share ? g - (1.0f - passed) * r : g;
    }
    float inside = sum_of_rows(a.figures, a.rows, MEAN) / all;
    g = a.decay > 0.0f && inside > a.input_share ? g + a.decay * r : g;
    if (first_lane()) a.gradient[0] = g;
}

// Factors of up to 32 columns from `at` on: 1 where there are none.
FN Laned<float> factors_of(const float* f, i64 step, i64 at, int rest) {
    Laned<float> found;
    LANES(l) found[l] = 1.0f;
    if (f && step)
        LANES(l) found[l] = l < rest ? f[at + l] : 1.0f;
    else if (f)
        LANES(l) found[l] = f[0];
    return found;
}

// Outputs times the range and both scales, to `own`.
BLOCK_KERNEL(scale_outputs, OutputArgs, 8) {
    float r = a.range ? a.range[0] : 1.0f;
    for (i64 at = 32 * w.rank; at < a.cols; at += 32 * w.size) {
        int rest = rest_of(a.cols, at);
        Laned<float> s = factors_of(a.scale, a.scale_step, at, rest),
                     o = factors_of(a.learned, a.learned_step, at, rest);
        const float* y = a.y + item * a.cols + at;
        float* scaled = a.own + item * a.cols + at;
        LANES(l)
            if (l < rest) scaled[l] = y[l] * (r * s[l] * o[l]);
    }
}

// Gradients of the tile's outputs: d times the scale for the inputs, d over the scale for the
// weights.
BLOCK_KERNEL(spread_gradient, OutputArgs, 8) {
    i64 from = item * a.cols;
    Laned<float> count;
    LANES(l) count[l] = 0.0f;
    for (i64 at = 32 * w.rank; at < a.cols; at += 32 * w.size) {
        int rest = rest_of(a.cols, at);
        Laned<float> s = factors_of(a.scale, a.scale_step, at, rest),
                     o = factors_of(a.learned, a.learned_step, at, rest);
        const float* d = a.d + from + at;
        float *back = a.back + from + at, *scaled = a.own + from + at;
        Laned<float> b, own;
        LANES(l) {
            float v = l < rest ? d[l] * o[l] : 0.0f;
            b[l] = v * s[l];
            own[l] = v / s[l];
        }
        if (a.limit > 0.0f) {
            const float* y = a.y + from + at;
            LANES(l) {
                bool hit = l < rest && abs_(y[l]) >= a.limit;
                count[l] = count[l] + (hit ? 1.0f : 0.0f);
                b[l] = hit ? 0.0f : b[l];
            }
        }
        if (rest == 32)
            LANES(l) {
                back[l] = b[l];
                scaled[l] = own[l];
            }
        else
            LANES(l)
                if (l < rest) {
                    back[l] = b[l];
                    scaled[l] = own[l];
                }
    }
    // Whole numbers: exact in any order.
    float sum = warps_sum(lanes_sum(count), w);
    if (first_lane() && w.rank == 0) a.clipped[item] = sum;
}

// The gradient of the learned scale of 32 columns.
WARP_KERNEL(learn_scale, OutputArgs) {
    i64 at = 32 * item;
    int rest = rest_of(a.cols, at);
    float r = a.range ? a.range[0] : 1.0f;
    Laned<float> s = factors_of(a.scale, a.scale_step, at, rest), sum;
    LANES(l) sum[l] = 0.0f;
    i64 b = 0;
    // The rows of a column are added up in order, but may be loaded together.
    for (; b + ROWS_AHEAD <= a.rows; b += ROWS_AHEAD) {
        Laned<float> d[ROWS_AHEAD], y[ROWS_AHEAD];
        UNROLLED for (int k = 0; k < ROWS_AHEAD; ++k) {
            const float *from = a.d + (b + k) * a.cols + at, *seen = a.y + (b + k) * a.cols + at;
            if (rest == 32)
                LANES(l) {
                    d[k][l] = from[l];
                    y[k][l] = seen[l];
                }
            else
                LANES(l) {
                    d[k][l] = l < rest ? from[l] : 0.0f;
                    y[k][l] = l < rest ? seen[l] : 0.0f;
                }
        }
        UNROLLED for (int k = 0; k < ROWS_AHEAD; ++k) LANES(l) sum[l] =
            fma_(d[k][l], y[k][l], sum[l]);
    }
    for (; b < a.rows; ++b)
        LANES(l)
            if (l < rest) {
                sum[l] = fma_(a.d[b * a.cols + at + l], a.y[b * a.cols + at + l], sum[l]);
            }
    LANES(l)
        if (l < rest) a.by_column[at + l] = sum[l] * s[l] * r;
}

// One item: the gradient of a scale that all columns share.
WARP_KERNEL(join_scale, OutputArgs) {
    Laned<float> sum;
    LANES(l) sum[l] = 0.0f;
    LOADS_AHEAD for (i64 at = 0; at < a.cols; at += 32) {
        int rest = rest_of(a.cols, at);
        LANES(l)
            if (l < rest) sum[l] = sum[l] + a.by_column[at + l];
    }
    float all = lanes_sum(sum);
    if (first_lane()) a.joined[0] = all;
}
