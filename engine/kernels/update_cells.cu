// The pulsed update, one thread a cell: it walks the samples and their pulses in order.
// Number n of the pulses that a cell gets in a call takes the normals of draw n, whatever the sample.

KERNEL(update_cells, UpdateArgs) {
    i64 cells = a.rows * a.cols, lane = item / cells, cell = item % cells, i = cell / a.cols, j = cell % a.cols;
    const Control& control = a.frozen[lane];
    if (cell == 0) a.control[lane].step = control.step + 1u;
    const Params& p = a.params[lane];
    float* record = a.cells + item * RECORD;
    State s = load_state(record, 1);
    float w = hidden_weight(a.w[item], s);
    i64 words = lane * a.batch * a.words;
    Stretch m = {a.d_words + words * a.rows + i, a.x_words + words * a.cols, nullptr, a.plans + lane * a.batch, nullptr};
    m.own_lines = a.rows;
    m.other_lines = a.cols;
    m.to = a.batch;
    Drawer own = {key_of(control), control.step, (u32)cell, 0u};
    pulse_cell(a, p, m, Neighbours{j, a.cols}, own, record, 1, s, w);
    if (own.first == 0u) return;
    a.w[item] = written_weight(p, w, s, own.key, {a.call, control.step, WRITE}, (u32)cell);
    store_state(record, 1, s);
}
