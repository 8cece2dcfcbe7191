// The pulsed update by the words of all trains.
// What: a warp looks at 32 samples at once for those that bring its cells anything; each thread applies the pulses of its own.
// One item is: some neighbouring cells of a row, 32 at a time, a warp.
// Must equal: update_reference.
// When it is chosen: on a GPU, for few samples, or trains that were made before.
#include "warp_windows.cuh"

// Whether any sample brings the cells pulses. Of few samples most often none does, and constants need not be looked at.
FN bool any_pulses(WarpCells& c) {
    SampleBlock g;
    load_sample_block(c, c.m.from, c.m.to, g);
    for (u32 left = g.fires; left != 0u; left &= left - 1u) {
        Laned<u32> word, n, up;
        int at = first_bit(left);
        if (g.plain) fetch_crossing(c, c.m.from + at, word);
        count_sample(c, g, c.m.from, at, lanes_at(g.line, at), word, n, up);
        if (any_above(n, 0u)) return true;
    }
    return false;
}

// Row i of a replica: `start` is its first cell among those of all replicas.
struct Line { i64 replica, i, start; TrainView m; };
FN void update_strip(const UpdateArgs& a, const Line& r, i64 at) {
    const Control& control = a.frozen[r.replica];
    WarpCells c = {a, a.params[r.replica], r.m, (int)(a.cols - at < 32 ? a.cols - at : 32), key_of(control), control.step};
    c.m.crossing += at;
    float *w = a.w + r.start + at, *records = a.cells + (r.start + at) * RECORD;
    LANES(l) c.crossing[l] = c.m.crossing + (l < c.lines ? l : 0);
    if (a.batch <= 32 && !any_pulses(c)) return;
    LANES(l) {
        u32 j = (u32)(l < c.lines ? l : 0);
        load_lane(c, l, (u32)(r.i * a.cols + at) + j, records + j * RECORD, w[j]);
    }
    pulse_warp_cells(c);
    LANES(l) if (l < c.lines && c.first[l] != 0u) {
        w[l] = written_weight(c.p, c.w[l], c.s[l], c.key, {a.call, c.step, WRITE}, c.cell[l]);
        store_state(records + l * RECORD, 1, c.s[l]);
    }
}

// As many items a row as the number of items gives.
BUSY_KERNEL(update_strips, UpdateArgs) {
    i64 parts = a.items / (a.replicas * a.rows), row = item / parts, part = item % parts;
    Line r = {row / a.rows, row % a.rows, row * a.cols};
    i64 strips = ((a.cols + parts - 1) / parts + 31) / 32, from = part * strips * 32;
    i64 to = from + strips * 32 < a.cols ? from + strips * 32 : a.cols;
    r.m = trains_of(a, r.replica, r.i, 0);
    if (r.i == 0 && part == 0 && first_lane()) a.control[r.replica].step = a.frozen[r.replica].step + 1u;
    for (i64 at = from; at < to; at += 32) update_strip(a, r, at);
}
