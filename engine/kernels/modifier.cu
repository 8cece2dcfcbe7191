// Kernels of hardware-aware training on the weights of a tile: figures of rows, clip and remap, modification.

// Largest magnitude, mean and squares about the mean of a row.
WARP_KERNEL(row_figures, SettleArgs) {
    const float* w = a.w + item * a.cols;
    Laned<float> top, sum, square;
    LANES(l) top[l] = sum[l] = square[l] = 0.0f;
    for (i64 at = 0; at < a.cols; at += 32) {
        int rest = rest_of(a.cols, at);
        LANES(l) {
            float v = l < rest ? w[at + l] : 0.0f;
            top[l] = max_(abs_(v), top[l]);
            sum[l] = sum[l] + v;
        }
    }
    float mean = lanes_sum(sum) / (float)a.cols;
    for (i64 at = 0; at < a.cols; at += 32) {
        int rest = rest_of(a.cols, at);
        LANES(l) {
            float v = l < rest ? w[at + l] - mean : 0.0f;
            square[l] = fma_(v, v, square[l]);
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
    for (i64 at = 0; at < rows; at += 32) {
        int rest = rest_of(rows, at);
        LANES(l) if (l < rest) sum[l] = sum[l] + figures[FIGURES * (at + l) + figure];
    }
    return lanes_sum(sum);
}
// Standard deviation of all elements, about their mean.
FN float spread_of_rows(const float* figures, i64 rows, i64 cols) {
    float mean = sum_of_rows(figures, rows, MEAN) / (float)rows, n = (float)cols;
    Laned<float> sum;
    LANES(l) sum[l] = 0.0f;
    for (i64 at = 0; at < rows; at += 32) {
        int rest = rest_of(rows, at);
        LANES(l) if (l < rest) {
            float off = figures[FIGURES * (at + l) + MEAN] - mean;
            sum[l] = sum[l] + fma_(n * off, off, figures[FIGURES * (at + l) + SPREAD]);
        }
    }
    return sqrt_(lanes_sum(sum) / ((float)rows * n - 1.0f));
}

// One item: where to clip (<= 0: nowhere), the largest magnitude after that, and the smallest scale.
WARP_KERNEL(settle_limits, SettleArgs) {
    float at = a.fixed_value;
    if (a.clip >= CLIP_GAUSSIAN) {
        float own = a.clip == CLIP_GAUSSIAN ? a.sigma * spread_of_rows(a.figures, a.rows, a.cols)
                                            : sum_of_rows(a.figures, a.rows, TOP) / (float)a.rows;
        at = at > 0.0f ? min_(own, at) : own;
    }
    at = a.clip == CLIP_NONE ? 0.0f : at;
    float top = 0.0f, least = 3.4e38f;
    for (i64 row = 0; row < a.rows; ++row) {
        top = max_(a.figures[FIGURES * row + TOP], top);
        least = a.remap ? min_(a.scale[row], least) : least;
    }
    if (!first_lane()) return;
    a.limits[CLIP_AT] = at;
    a.limits[LAYER_TOP] = limited(top, at);
    a.limits[LEAST_SCALE] = max_(max_(least, 0.0f), a.max_scale_ref);
}

WARP_KERNEL(settle_rows, SettleArgs) {
    float at = a.limits[CLIP_AT], factor = 1.0f;
    if (a.remap != REMAP_NONE) {
        float top = a.remap == REMAP_LAYER ? a.limits[LAYER_TOP] : limited(a.figures[FIGURES * item + TOP], at);
        factor = not_zero(top / a.remapped_wmax);
        float old = a.scale[item], scale = old * factor, most = a.max_scale_range * a.limits[LEAST_SCALE];
        if (a.remap == REMAP_CHANNEL && a.max_scale_range > 0.0f && scale > most) {
            scale = most;
            factor = most / old;
        }
        lanes_sync();
        if (first_lane()) a.scale[item] = scale;
    }
    float* w = a.w + item * a.cols;
    for (i64 k = 0; k < a.cols; k += 32) {
        int rest = rest_of(a.cols, k);
        LANES(l) if (l < rest) {
            float v = at > 0.0f ? clamp_(w[k + l], -at, at) : w[k + l];
            w[k + l] = a.remap != REMAP_NONE ? v / factor : v;
        }
    }
}

WARP_KERNEL(modify_rows, ModifyArgs) {
    const Control& c = a.control[0];
    Read r = {key_of(c), {a.call, c.step, a.stream}, item, (u32)item};
    float m = wmax_of(a);
    float* to = a.out + item * a.cols;
    for (i64 at = 0; at < a.cols; at += 128) {
        Block w = modified_block(a, r, a.w + item * a.cols, at, m);
        for (int q = 0; q < 4 && at + 32 * q < a.cols; ++q) {
            int rest = rest_of(a.cols, at + 32 * q);
            LANES(l) if (l < rest) to[at + 32 * q + l] = w.q[q][l];
        }
    }
}
