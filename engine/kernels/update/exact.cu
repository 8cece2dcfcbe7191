// The exact outer product on a real device.
// What: only the bounds of the device act; there are no pulses and no noise.
// One item is: a cell, a thread.
// Must equal: the samples' outer products one after another, each clipped to the bounds.
// When it is chosen: where pulse_type is NoneWithDevice.
#include "args.cuh"
KERNEL(update_exact, UpdateArgs) {
    i64 cells = a.rows * a.cols, replica = item / cells, cell = item % cells, i = cell / a.cols, j = cell % a.cols;
    const Control& control = a.frozen[replica];
    if (cell == 0) a.control[replica].step = control.step + 1u;
    float* record = a.cells + item * RECORD;
    Cell c = load_cell(record, 1);
    State s = load_state(record, 1);
    float w = hidden_weight(a.w[item], s), rate = control.lr * a.lr_scale;
    for (i64 b = replica * a.batch; b < (replica + 1) * a.batch; ++b) {
        w = w - rate * a.d[b * a.rows + i] * a.x[b * a.cols + j];
        bound_weight(w, c);
    }
    a.w[item] = written_weight(a.params[replica], w, s, key_of(control), {a.call, control.step, WRITE}, (u32)cell);
    store_state(record, 1, s);
}
