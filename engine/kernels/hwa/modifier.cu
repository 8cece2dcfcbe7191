// What: the weights of a tile in hardware-aware training: figures of rows, clipping and remapping,
//   and the copy that a mini-batch is trained with.
// One item is: a row, a warp; for settle_limits all rows, a block.
// Must equal: tests/naive/modifier.py.
// When it is chosen: always.
#include "hwa/modifier.cuh"

// Largest magnitude, mean and squares about the mean of a row.
WARP_KERNEL(row_figures, SettleArgs) {
    const float* w = a.w + item * a.cols;
    Laned<float> top, sum, square;
    LANES(l) top[l] = sum[l] = square[l] = 0.0f;
    for (i64 at = 0; at < a.cols; at += 128) {
        Block v = load_block(w + at, a.cols - at);
        for (int q = 0; q < 4 && q < quarters_of(a.cols - at); ++q)
            LANES(l) {
                top[l] = max_(abs_(v.q[q][l]), top[l]);
                sum[l] = sum[l] + v.q[q][l];
            }
    }
    float mean = lanes_sum(sum) / (float)a.cols;
    for (i64 at = 0; at < a.cols; at += 128) {
        Block v = load_block(w + at, a.cols - at);
        for (int q = 0; q < 4 && q < quarters_of(a.cols - at); ++q) {
            int rest = rest_of(a.cols, at + 32 * q);
            LANES(l) {
                float off = l < rest ? v.q[q][l] - mean : 0.0f;
                square[l] = fma_(off, off, square[l]);
            }
        }
    }
    float most = lanes_max(top), spread = lanes_sum(square);
    if (!first_lane()) return;
    a.figures[FIGURES * item + TOP] = most;
    a.figures[FIGURES * item + MEAN] = mean;
    a.figures[FIGURES * item + SPREAD] = spread;
}

// Sum over the rows of one of their figures.
FN float sum_of_rows(const float* figures, i64 rows, int figure) {
    Laned<float> sum;
    LANES(l) sum[l] = 0.0f;
    LOADS_AHEAD for (i64 at = 0; at < rows; at += 32) {
        int rest = rest_of(rows, at);
        LANES(l)
            if (l < rest) sum[l] = sum[l] + figures[FIGURES * (at + l) + figure];
    }
    return lanes_sum(sum);
}
// Standard deviation of all elements, about their mean.
FN float spread_of_rows(const float* figures, i64 rows, i64 cols) {
    float mean = sum_of_rows(figures, rows, MEAN) / (float)rows, n = (float)cols;
    Laned<float> sum;
    LANES(l) sum[l] = 0.0f;
    LOADS_AHEAD for (i64 at = 0; at < rows; at += 32) {
        int rest = rest_of(rows, at);
        LANES(l)
            if (l < rest) {
                float off = figures[FIGURES * (at + l) + MEAN] - mean;
                sum[l] = sum[l] + fma_(n * off, off, figures[FIGURES * (at + l) + SPREAD]);
            }
    }
    return sqrt_(lanes_sum(sum) / ((float)rows * n - 1.0f));
}

// Where the weights of a row are clipped (<= 0: nowhere): at `layer`, or by their own deviation.
FN float clip_of_row(const SettleArgs& a, i64 row, float layer) {
    if (a.clip != CLIP_LAYER_GAUSSIAN_PER_CHANNEL) return layer;
    if (a.cols < 2) return a.fixed_value;
    float own = a.sigma * sqrt_(a.figures[FIGURES * row + SPREAD] / ((float)a.cols - 1.0f));
    return a.fixed_value > 0.0f ? min_(own, a.fixed_value) : own;
}

// One item: where to clip (<= 0: nowhere), the largest magnitude after that, and the smallest
// scale. Sums have an order, and the first warp makes them; maxima have none.
BLOCK_KERNEL(settle_limits, SettleArgs, 8) {
    Laned<float> tops, leasts;
    LANES(l) {
        tops[l] = 0.0f;
        leasts[l] = -3.4e38f;
    }
    for (i64 row = 32 * w.rank; row < a.rows; row += 32 * w.size) {
        int rest = rest_of(a.rows, row);
        LANES(l)
            if (l < rest) {
                float top = a.figures[FIGURES * (row + l) + TOP];
                tops[l] = max_(limited(top, clip_of_row(a, row + l, 0.0f)), tops[l]);
                leasts[l] = a.remap ? max_(-a.scale[row + l], leasts[l]) : leasts[l];
            }
    }
    float top = warps_max(lanes_max(tops), w), least = -warps_max(lanes_max(leasts), w);
    if (w.rank > 0) return;
    float at = a.fixed_value;
    if (a.clip == CLIP_LAYER_GAUSSIAN || a.clip == CLIP_AVERAGE_CHANNEL_MAX) {
        float own = a.clip == CLIP_LAYER_GAUSSIAN
            ? a.sigma * spread_of_rows(a.figures, a.rows, a.cols)
            : sum_of_rows(a.figures, a.rows, TOP) / (float)a.rows;
        at = at > 0.0f ? min_(own, at) : own;
    }
    at = a.clip == CLIP_NONE || a.clip == CLIP_LAYER_GAUSSIAN_PER_CHANNEL ? 0.0f : at;
    if (!first_lane()) return;
    a.limits[CLIP_AT] = at;
    a.limits[LAYER_TOP] = limited(top, at);
    a.limits[LEAST_SCALE] = max_(max_(least, 0.0f), a.max_scale_ref);
}

WARP_KERNEL(settle_rows, SettleArgs) {
    float at = clip_of_row(a, item, a.limits[CLIP_AT]), factor = 1.0f;
    if (a.remap != REMAP_NONE) {
        float top = a.remap == REMAP_LAYERWISE_SYMMETRIC
            ? a.limits[LAYER_TOP]
            : limited(a.figures[FIGURES * item + TOP], at);
        factor = not_zero(top / a.remapped_wmax);
        float old = a.scale[item], scale = old * factor,
              most = a.max_scale_range * a.limits[LEAST_SCALE];
        if (a.remap == REMAP_CHANNELWISE_SYMMETRIC && a.max_scale_range > 0.0f && scale > most) {
            scale = most;
            factor = most / old;
        }
        lanes_sync();
        if (first_lane()) a.scale[item] = scale;
    }
    float* w = a.w + item * a.cols;
    for (i64 k = 0; k < a.cols; k += 128) {
        Block from = load_block(w + k, a.cols - k);
        for (int q = 0; q < 4 && k + 32 * q < a.cols; ++q) {
            int rest = rest_of(a.cols, k + 32 * q);
            float* to = w + k + 32 * q;
            LANES(l)
                if (l < rest) {
                    float v = at > 0.0f ? clamp_(from.q[q][l], -at, at) : from.q[q][l];
                    to[l] = a.remap != REMAP_NONE ? v / factor : v;
                }
        }
    }
}

WARP_KERNEL(modify_rows, ModifyArgs) {
    const Control& c = a.control[0];
    Read r = {key_of(c), {a.call, c.step, a.stream}, item, (u32)item};
    float m = wmax_of(a, item);
    float* to = a.out + item * a.cols;
    for (i64 at = 0; at < a.cols; at += 128) {
        Block w = modified_block(a, r, a.w + item * a.cols, at, m);
        for (int q = 0; q < 4 && at + 32 * q < a.cols; ++q) {
            int rest = rest_of(a.cols, at + 32 * q);
            LANES(l)
                if (l < rest) to[at + 32 * q + l] = w.q[q][l];
        }
    }
}
