// Kernels around a product that is trained by its gradient: input range and output scales, there and back.

// One item: the range follows the spread of the first inputs.
WARP_KERNEL(start_range, RangeArgs) {
    float spread = spread_of_rows(a.figures, a.rows, a.cols), k = a.seen[0], old = a.range[0];
    lanes_sync();
    if (!first_lane()) return;
    bool counts = spread > 0.0f && k < a.first_batches;
    a.range[0] = abs_(counts ? (old * k + a.std_alpha * spread) / (k + 1.0f) : old);
    a.seen[0] = counts ? k + 1.0f : k;
}

WARP_KERNEL(cut_inputs, RangeArgs) {
    float r = a.range[0];
    const float* x = a.x + item * a.cols;
    float* v = a.v + item * a.cols;
    for (i64 at = 0; at < a.cols; at += 32) {
        int rest = rest_of(a.cols, at);
        LANES(l) if (l < rest) v[at + l] = clamp_(x[at + l], -r, r) / r;
    }
}

// What the inputs of a vector that are cut off ask of the range, and how many are not; `stop` ends their own gradient.
WARP_KERNEL(pull_range, RangeArgs) {
    float r = a.range[0];
    const float* x = a.x + item * a.cols;
    float* d = a.d + item * a.cols;
    Laned<float> pull, inside;
    LANES(l) pull[l] = inside[l] = 0.0f;
    for (i64 at = 0; at < a.cols; at += 32) {
        int rest = rest_of(a.cols, at);
        LANES(l) if (l < rest) {
            float v = x[at + l], g = d[at + l];
            pull[l] = pull[l] + (v >= r ? min_(g, 0.0f) : v <= -r ? -max_(g, 0.0f) : 0.0f);
            inside[l] = inside[l] + (abs_(v) < r ? 1.0f : 0.0f);
            d[at + l] = a.stop && abs_(v) > r ? 0.0f : g;
        }
    }
    float sum = lanes_sum(pull), count = lanes_sum(inside);
    if (!first_lane()) return;
    a.figures[FIGURES * item + TOP] = sum;
    a.figures[FIGURES * item + MEAN] = count;
}

// One item: the gradient of the range.
WARP_KERNEL(learn_range, RangeArgs) {
    float g = sum_of_rows(a.figures, a.rows, TOP), r = a.range[0], all = (float)a.rows * (float)a.cols;
    g = a.relative ? g * r * a.gradient_scale : g;
    if (a.manage_output) {
        float clipped = 0.0f;
        for (i64 b = 0; b < a.outputs; ++b) clipped = clipped + a.clipped[b];
        float passed = 1.0f - clipped / (a.per_input ? all : (float)a.outputs * (float)a.width);
        g = passed < a.output_share ? g - (1.0f - passed) * r : g;
    }
    float inside = sum_of_rows(a.figures, a.rows, MEAN) / all;
    g = a.decay > 0.0f && inside > a.input_share ? g + a.decay * r : g;
    if (first_lane()) a.gradient[0] = g;
}

// Gradients of the tile's outputs: d times the scale for the inputs, d over the scale for the weights.
WARP_KERNEL(spread_gradient, OutputArgs) {
    i64 from = item * a.cols;
    Laned<float> count;
    LANES(l) count[l] = 0.0f;
    for (i64 at = 0; at < a.cols; at += 32) {
        int rest = rest_of(a.cols, at);
        LANES(l) if (l < rest) {
            float s = a.scales ? a.scale[a.scales > 1 ? at + l : 0] : 1.0f, d = a.d[from + at + l];
            bool clipped = a.limit > 0.0f && abs_(a.y[from + at + l]) >= a.limit;
            count[l] = count[l] + (clipped ? 1.0f : 0.0f);
            a.back[from + at + l] = clipped ? 0.0f : d * s;
            if (a.scales) a.own[from + at + l] = d / s;
        }
    }
    float sum = lanes_sum(count);
    if (first_lane()) a.clipped[item] = sum;
}
