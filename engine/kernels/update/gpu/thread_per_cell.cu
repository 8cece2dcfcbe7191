// The pulsed update by sample masks, where most samples bring a cell nothing.
// What: a cell goes from one sample in which both of its lines fire to the next, and looks at no other.
// One item is: a cell, a thread.
// Must equal: update_reference.
// When it is chosen: on a GPU, where there are many samples; see engine/tile/strategies/update.py.
#include "hits.cuh"

// `chop` turns the direction of all pulses.
FN HitList hits_of(const UpdateArgs& a, i64 replica, u32 row, u32 col, u32 chop) {
    i64 number = groups_of(a.batch), chunks = groups_of(number), spans = spans_of(chunks), cells = a.rows * a.cols;
    const u32* listed = a.hits ? a.hits + replica * (chunks + spans) * cells + row * a.cols + col : nullptr;
    TrainView words = trains_of(a, replica, row, 0);
    words.chop = chop;
    return {
        a.d_masks + replica * number * a.rows + row, a.x_masks + replica * number * a.cols + col, a.groups + replica * number,
        listed, listed + chunks * cells, cells, a.batch, (int)number, (int)chunks, (int)spans, words, {col, a.cols}
    };
}

// Of few cells only every `spread`-th thread works: threads of a warp wait for each other, and there are threads enough.
KERNEL(update_hits, UpdateArgs) {
    if (item % a.spread != 0) return;
    i64 at = item / a.spread;
    u32 cells = (u32)(a.rows * a.cols), cell = (u32)(at % cells), row = cell / (u32)a.cols;
    i64 replica = at / cells;
    const Control& control = a.frozen[replica];
    if (cell == 0u) a.control[replica].step = control.step + 1u;
    u32 col = cell % (u32)a.cols;
    const Params& p = a.params[replica];
    float* record = a.cells + at * RECORD;
    State s = load_state(record, 1);
    float w = hidden_weight(a.w[at], s);
    CellDraws draws = {key_of(control), control.step, cell, 0u};
    pulse_hits(a, p, hits_of(a, replica, row, col, 0u), draws, record, s, w);
    if (draws.first == 0u) return;
    a.w[at] = written_weight(p, w, s, draws.key, {a.call, control.step, WRITE}, cell);
    store_state(record, 1, s);
}
