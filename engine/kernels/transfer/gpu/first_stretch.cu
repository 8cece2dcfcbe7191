// What: the pulses of the fast array up to the first read of each slice, or all where a slice is not read.
// One item is: a cell, a thread. Nothing has to wait for reads before the first of them.
// Must equal: what transfer_walk and transfer_rest with its update do with the same samples.
// When it is chosen: on a GPU where cells look for their coincidences by sample masks.
#include "transfer/walk_state.cuh"

// The fast arrays of all replicas.
FN fast::UpdateArgs fast_all(const TransferArgs& a) {
    fast::UpdateArgs u = fast_of(a, 0);
    u.replicas = a.replicas;
    u.x_words = a.x_words;
    u.d_words = a.d_words;
    u.x_masks = a.x_masks;
    u.d_masks = a.d_masks;
    u.groups = a.groups;
    u.hits = a.hits;
    return u;
}

KERNEL(first_stretch, TransferArgs) {
    if (item % a.spread != 0) return;
    i64 at = item / a.spread;
    const TransferPlan& p = a.transfer[0];
    fast::UpdateArgs u = fast_all(a);
    u32 cells = (u32)(a.rows * a.cols), cell = (u32)(at % cells), row = cell / (u32)a.cols, col = cell % (u32)a.cols;
    u32 slice = p.by_columns ? col : row, line = p.by_columns ? row : col, lines = (u32)lines_of(a, p);
    i64 replica = at / cells;
    // Marks are the numbers of slots, from 1 on.
    u32 mark = a.marks[replica * slices_of(a, p) + slice];
    i64 slot = replica * a.slots + (mark != 0u ? mark - 1u : 0u);
    const Control& control = a.frozen[replica];
    float* record = u.cells + at * fast::record_size;
    fast::State s = fast::load_state(record, 1);
    float w = fast::hidden_weight(u.w[at], s);
    fast::HitList m = fast::hits_of(u, replica, row, col, a.in_chop[replica * slices_of(a, p) + slice] & 1u);
    m.to = mark != 0u ? (i64)a.slot_until[slot] : a.batch;
    fast::CellDraws draws = {key_of(control), control.step, cell, 0u};
    fast::pulse_hits(u, u.params[replica], m, draws, record, s, w);
    if (mark != 0u) a.done[slot * lines + line] = draws.first;
    if (draws.first == 0u) return;
    fast::hide_weight(w, s);
    u32 number = slice * ((lines + 3u) >> 2) + (line >> 2);
    u.w[at] = mark != 0u ? fast::strip_weight(u, replica, w, number, line, 1u)
                           : fast::written_weight(u.params[replica], w, s, draws.key, {u.call, control.step, WRITE}, cell);
    fast::store_state(record, 1, s);
}
