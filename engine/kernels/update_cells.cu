// The pulsed update, one thread a cell: it walks the samples and their pulses in order.
// Number n of the pulses that a cell gets in a call takes the normals of draw n, whatever the sample. Pulses wait until
// there are enough of them for a jump.

KERNEL(update_cells, UpdateArgs) {
    i64 cells = a.rows * a.cols, lane = item / cells, cell = item % cells, i = cell / a.cols, j = cell % a.cols;
    const Control& control = a.frozen[lane];
    if (cell == 0) a.control[lane].step = control.step + 1u;
    const Params& p = a.params[lane];
    Key key = key_of(control);
    float* record = a.cells + item * RECORD;
    Cell c = load_cell(record, 1);
    State s = load_state(record, 1);
    float w = hidden_weight(a.w[item], s);
    Pulses g = {key, control.step, (u32)cell, 0u, 0u, 0u};
    for (i64 b = 0; b < a.batch; ++b) {
        const Amplitude& plan = a.plans[lane * a.batch + b];
        for (int k = 0; k < a.words && k * SLOTS < plan.length; ++k) {
            i64 at = (lane * a.batch + b) * a.words + k;
            u32 x = a.x_words[at * a.cols + j], d = a.d_words[at * a.rows + i];
            u32 up = same_sign(x, d) != (plan.down != 0) ? 1u : 0u;
            for (u32 n = pulses_of(a.type, x, d, plan.length); n; --n) {
                g.bits |= up << g.count++;
                if (g.count < JUMP) continue;
                settle(a, p, c, s, g, w);
                g = {key, control.step, (u32)cell, g.first + JUMP, 0u, 0u};
            }
        }
    }
    if (g.first + g.count == 0u) return;
    settle(a, p, c, s, g, w);
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
