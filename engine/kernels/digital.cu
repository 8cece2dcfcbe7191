// Kernels of the algorithms that compute beside their arrays.

FN float quantised(float v, float width, float half, float dither) {
    return clamp_(round_(v / width + dither), -half, half) * width;
}

// One sample a warp: its values on 2 half + 1 steps of its largest one.
WARP_KERNEL(quantise_lines, QuantiseArgs) {
    const float* v = a.v + item * a.n;
    Laned<float> top;
    LANES(l) top[l] = 0.0f;
    for (i64 at = 0; at < a.n; at += 32) LANES(l) if (at + l < a.n) top[l] = max_(abs_(v[at + l]), top[l]);
    float half = (float)a.half, width = lanes_max(top) / half;
    if (!(width > 0.0f)) width = 1.0f;
    const Control& control = a.control[item / a.batch];
    Draw draw = {a.call, control.step, QUANTISE};
    u32 b = (u32)(item % a.batch);
    for (i64 at = 0; at < a.n; at += 32) LANES(l) if (at + l < a.n) {
        float dither = a.stochastic ? uniform_at(key_of(control), draw, (u32)(at + l), b << 2) - 0.5f : 0.0f;
        a.q[item * a.n + at + l] = quantised(v[at + l], width, half, dither);
    }
}

FN bool row_is_due(const ChiArgs& a, i64 lane, i64 row) {
    i64 start = a.start;
    if (a.random_row) {
        Draw draw = {a.call, a.control[lane].step, PICK_ROW};
        start = (i64)(uniform_at(key_of(a.control[lane]), draw, 0, 0) * (float)a.rows);
    }
    return (row - start + a.rows) % a.rows < a.count;
}

FN void add_products(const ChiArgs& a, Laned<float>& chi, i64 lane, i64 row, i64 at, i64 from, i64 to) {
    bool full = at + 32 <= a.cols;
    for (i64 b = lane * a.batch + from; b < lane * a.batch + to; ++b) {
        float rate = a.rate * a.d[b * a.rows + row];
        const float* x = a.x + b * a.cols + at;
        if (full) LANES(l) chi[l] = fma_(rate, x[l], chi[l]);
        else LANES(l) if (at + l < a.cols) chi[l] = fma_(rate, x[l], chi[l]);
    }
}

// One warp takes 32 columns of a row through the whole mini-batch.
WARP_KERNEL(step_chi, ChiArgs) {
    i64 blocks = (a.cols + 31) / 32, row = item / blocks % a.rows, lane = item / blocks / a.rows, at = item % blocks * 32;
    float *chi = a.chi + (lane * a.rows + row) * a.cols, *whole = a.whole + (lane * a.rows + row) * a.cols;
    Laned<float> c;
    LANES(l) c[l] = at + l < a.cols ? chi[at + l] : 0.0f;
    add_products(a, c, lane, row, at, 0, a.split);
    if (a.transfer) {
        bool due = row_is_due(a, lane, row);
        Laned<float> n;
        LANES(l) {
            n[l] = due ? trunc_(c[l] / a.unit) : 0.0f;
            c[l] = c[l] - n[l] * a.unit;
        }
        LANES(l) if (at + l < a.cols) whole[at + l] = n[l];
    }
    add_products(a, c, lane, row, at, a.split, a.batch);
    LANES(l) if (at + l < a.cols) chi[at + l] = c[l];
}

// Normal or uniform numbers between -scale and scale, by the key of an array.
KERNEL(draw_numbers, NumberArgs) {
    const Control& control = a.control[item / (a.items / a.lanes)];
    Draw draw = {a.call, control.step, DRAW_NUMBERS};
    u32 at = (u32)(item % (a.items / a.lanes));
    float u = 2.0f * uniform_at(key_of(control), draw, at, 0) - 1.0f;
    a.out[item] = a.scale * (a.uniform ? u : normal_at(key_of(control), draw, at, 0));
}
