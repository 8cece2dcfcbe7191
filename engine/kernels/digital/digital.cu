// What: what algorithms compute beside their arrays: quantised lines, the digital sum chi, random numbers.
// One item is: a sample (quantise_lines); 128 columns of a row (step_chi); 32 columns of four rows (sum_products), a warp.
// Must equal: tests/naive/mixed.py and tests/naive/lowrank.py. sum_products makes the sums of later blocks as step_chi does.
// When it is chosen: always; sum_products on a GPU.
#include "digital.cuh"

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

FN bool row_is_due(const ChiArgs& a, i64 replica, i64 row) {
    i64 start = a.start;
    if (a.random_row) {
        Draw draw = {a.call, a.control[replica].step, PICK_ROW};
        start = (i64)(uniform_at(key_of(a.control[replica]), draw, 0, 0) * (float)a.rows);
    }
    return (row - start + a.rows) % a.rows < a.count;
}

// Samples [from, to) on up to 128 columns of a row, in order.
FN void add_block(const ChiArgs& a, Laned<float> (&chi)[4], i64 replica, i64 row, i64 at, i64 from, i64 to) {
    const float *x = a.x + replica * a.batch * a.cols + at, *d = a.d + replica * a.batch * a.rows + row;
    i64 cols = a.cols, rows = a.rows, left = cols - at;
    if (left >= 128) {
        for (i64 b = from; b < to; ++b) {
            float rate = a.rate * d[b * rows];
            for (int q = 0; q < 4; ++q) {
                const float* part = x + b * cols + 32 * q;
                LANES(l) chi[q][l] = fma_(rate, part[l], chi[q][l]);
            }
        }
        return;
    }
    for (int q = 0; 32 * q < left; ++q) {
        int rest = (int)left - 32 * q;
        for (i64 b = from; b < to; ++b) {
            float rate = a.rate * d[b * rows];
            const float* part = x + b * cols + 32 * q;
            LANES(l) chi[q][l] = l < rest ? fma_(rate, part[l], chi[q][l]) : 0.0f;
        }
    }
}

// Samples [from, to), a part of the mini-batch: block by block. `block` numbers the partial sums.
FN void add_products(const ChiArgs& a, Laned<float> (&chi)[4], i64 replica, i64 row, i64 at, i64 from, i64 to, i64 block) {
    add_block(a, chi, replica, row, at, from, to - from < SUMMED ? to : from + SUMMED);
    int left = (int)(a.cols - at < 128 ? a.cols - at : 128);
    for (i64 begin = from + SUMMED; begin < to; begin += SUMMED, ++block) {
        Laned<float> sum[4];
        const float* made = a.partial + ((block * a.replicas + replica) * a.rows + row) * a.cols + at;
        if (a.partial) {
            for (int q = 0; q < 4; ++q) LANES(l) sum[q][l] = 32 * q + l < left ? made[32 * q + l] : 0.0f;
        } else {
            for (int q = 0; q < 4; ++q) LANES(l) sum[q][l] = 0.0f;
            add_block(a, sum, replica, row, at, begin, to - begin < SUMMED ? to : begin + SUMMED);
        }
        for (int q = 0; q < 4; ++q) LANES(l) chi[q][l] = chi[q][l] + sum[q][l];
    }
}

// Rows whose sums a warp makes together, so that what it fetches of x serves them all.
#define SUMMED_ROWS 4

// One warp sums a later block of samples on 32 columns of four rows.
WARP_KERNEL(sum_products, ChiArgs) {
    i64 strips = (a.cols + 31) / 32, bands = (a.rows + SUMMED_ROWS - 1) / SUMMED_ROWS, first = later_blocks(a.split);
    i64 strip = item % strips, band = item / strips % bands, replica = item / strips / bands % a.replicas, block = item / strips / bands / a.replicas;
    i64 begin = block < first ? (block + 1) * SUMMED : a.split + (block - first + 1) * SUMMED, end = block < first ? a.split : a.batch;
    end = end - begin < SUMMED ? end : begin + SUMMED;
    i64 rows = a.rows - band * SUMMED_ROWS;
    Laned<float> sum[SUMMED_ROWS];
    Laned<const float*> x;
    const float* d = a.d + replica * a.batch * a.rows + band * SUMMED_ROWS;
    LANES(l) {
        i64 col = strip * 32 + l;
        x[l] = a.x + replica * a.batch * a.cols + (col < a.cols ? col : 0);
        UNROLLED for (int r = 0; r < SUMMED_ROWS; ++r) sum[r][l] = 0.0f;
    }
    for (i64 b = begin; b < end; ++b) {
        float rate[SUMMED_ROWS];
        UNROLLED for (int r = 0; r < SUMMED_ROWS; ++r) rate[r] = a.rate * d[b * a.rows + (r < rows ? r : 0)];
        LANES(l) {
            float v = x[l][b * a.cols];
            UNROLLED for (int r = 0; r < SUMMED_ROWS; ++r) sum[r][l] = fma_(rate[r], v, sum[r][l]);
        }
    }
    float* to = a.partial + ((block * a.replicas + replica) * a.rows + band * SUMMED_ROWS) * a.cols + strip * 32;
    UNROLLED for (int r = 0; r < SUMMED_ROWS; ++r) if (r < rows) LANES(l) if (strip * 32 + l < a.cols) to[r * a.cols + l] = sum[r][l];
}

// One warp takes 128 columns of a row through the whole mini-batch.
WARP_KERNEL(step_chi, ChiArgs) {
    i64 blocks = (a.cols + 127) / 128, row = item / blocks % a.rows, replica = item / blocks / a.rows, at = item % blocks * 128;
    float *chi = a.chi + (replica * a.rows + row) * a.cols + at, *whole = a.whole + (replica * a.rows + row) * a.cols + at;
    int left = (int)(a.cols - at < 128 ? a.cols - at : 128);
    float unit = a.unit;
    Laned<float> c[4];
    for (int q = 0; q < 4; ++q) {
        int rest = left - 32 * q;
        const float* from = chi + 32 * q;
        LANES(l) c[q][l] = l < rest ? from[l] : 0.0f;
    }
    add_products(a, c, replica, row, at, 0, a.split, 0);
    if (a.transfer) {
        bool due = row_is_due(a, replica, row);
        for (int q = 0; q < 4; ++q) {
            int rest = left - 32 * q;
            Laned<float> n;
            Laned<u32> some;
            // Divided only where it matters: most of chi is less than a unit.
            LANES(l) some[l] = due && abs_(c[q][l]) >= unit;
            if (lanes_any(some)) LANES(l) n[l] = due ? trunc_(c[q][l] / unit) : 0.0f;
            else LANES(l) n[l] = 0.0f;
            LANES(l) c[q][l] = c[q][l] - n[l] * unit;
            float* to = whole + 32 * q;
            if (rest >= 32) LANES(l) to[l] = n[l];
            else LANES(l) if (l < rest) to[l] = n[l];
        }
    }
    if (a.split < a.batch) add_products(a, c, replica, row, at, a.split, a.batch, later_blocks(a.split));
    for (int q = 0; q < 4; ++q) {
        int rest = left - 32 * q;
        float* to = chi + 32 * q;
        if (rest >= 32) LANES(l) to[l] = c[q][l];
        else LANES(l) if (l < rest) to[l] = c[q][l];
    }
}

// Normal or uniform numbers between -scale and scale, by the key of an array.
KERNEL(draw_numbers, NumberArgs) {
    const Control& control = a.control[item / (a.items / a.replicas)];
    Draw draw = {a.call, control.step, DRAW_NUMBERS};
    u32 at = (u32)(item % (a.items / a.replicas));
    float u = 2.0f * uniform_at(key_of(control), draw, at, 0) - 1.0f;
    a.out[item] = a.scale * (a.uniform ? u : normal_at(key_of(control), draw, at, 0));
}
