// The pulsed update, one thread a cell: it walks the samples and their pulses in order.
// Number n of the pulses that a cell gets in a call takes the normals of draw n, whatever the sample.

KERNEL(update_cells, UpdateArgs) {
    i64 cells = a.rows * a.cols, lane = item / cells, cell = item % cells, i = cell / a.cols, j = cell % a.cols;
    const Control& control = a.frozen[lane];
    if (cell == 0) a.control[lane].step = control.step + 1u;
    const Params& p = a.params[lane];
    Key key = key_of(control);
    float* record = a.cells + item * RECORD;
    Cell c = load_cell(record, 1);
    State s = load_state(record, 1);
    float w = hidden_weight(a.w[item], s), z[4 * NOISE + 1] = {}, u[4 * UNIFORM + 1] = {};
    u32 done = 0;
    for (i64 b = 0; b < a.batch; ++b) {
        const Amplitude& plan = a.plans[lane * a.batch + b];
        for (int k = 0; k < a.words && k * SLOTS < plan.length; ++k) {
            i64 at = (lane * a.batch + b) * a.words + k;
            u32 x = a.x_words[at * a.cols + j], d = a.d_words[at * a.rows + i];
            u32 n = pulses_of(a.type, x, d, plan.length);
            bool up = same_sign(x, d) != (plan.down != 0);
            for (; n; --n, ++done) {
                if ((done & 3u) == 0u) draw_group(a, key, control.step, (u32)cell, done >> 2, z, u, 1);
                pulse_once(w, p, c, s, up, z + (done & 3u) * NOISE, u + (done & 3u) * UNIFORM);
            }
        }
    }
    if (done == 0u) return;
    a.w[item] = written_weight(p, w, s, key, {a.call, control.step, WRITE}, (u32)cell);
    store_state(record, 1, s);
}

// The exact outer product on a real device: only its bounds act.
KERNEL(update_exact, UpdateArgs) {
    i64 cells = a.rows * a.cols, lane = item / cells, cell = item % cells, i = cell / a.cols, j = cell % a.cols;
    const Control& control = a.frozen[lane];
    if (cell == 0) a.control[lane].step = control.step + 1u;
    float* record = a.cells + item * RECORD;
    Cell c = load_cell(record, 1);
    State s = load_state(record, 1);
    float w = hidden_weight(a.w[item], s), rate = control.lr * a.lr_scale;
    for (i64 b = lane * a.batch; b < (lane + 1) * a.batch; ++b) {
        w = w - rate * a.d[b * a.rows + i] * a.x[b * a.cols + j];
        bound_weight(w, c);
    }
    a.w[item] = written_weight(a.params[lane], w, s, key_of(control), {a.call, control.step, WRITE}, (u32)cell);
    store_state(record, 1, s);
}
