// The pulsed update on a GPU: one warp for some neighbouring cells of a row, thirty-two at a time.
#include "warp_windows.cuh"

// Whether any sample brings the cells pulses. Of few samples most often none does, and constants need not be looked at.
FN bool any_pulses(Squad& c) {
    Sight g;
    look(c, c.m.from, c.m.to, g);
    for (u32 left = g.fires; left != 0u; left &= left - 1u) {
        Laned<u32> word, n, up;
        int at = first_bit(left);
        if (g.plain) fetch_others(c, c.m.from + at, word);
        pulses_at(c, g, c.m.from, at, lanes_at(g.own, at), word, n, up);
        if (any_beyond(n, 0u)) return true;
    }
    return false;
}

// Row i of a lane: `start` is its first cell among those of all lanes.
struct Line { i64 lane, i, start; Stretch m; };
FN void update_strip(const UpdateArgs& a, const Line& r, i64 at) {
    const Control& control = a.frozen[r.lane];
    Squad c = {a, a.params[r.lane], r.m, (int)(a.cols - at < 32 ? a.cols - at : 32), key_of(control), control.step};
    c.m.other += at;
    float *w = a.w + r.start + at, *records = a.cells + (r.start + at) * RECORD;
    LANES(l) c.other[l] = c.m.other + (l < c.lines ? l : 0);
    if (a.batch <= 32 && !any_pulses(c)) return;
    LANES(l) {
        u32 j = (u32)(l < c.lines ? l : 0);
        enter(c, l, (u32)(r.i * a.cols + at) + j, records + j * RECORD, w[j]);
    }
    pulse_squad(c);
    LANES(l) if (l < c.lines && c.first[l] != 0u) {
        w[l] = written_weight(c.p, c.w[l], c.s[l], c.key, {a.call, c.step, WRITE}, c.cell[l]);
        store_state(records + l * RECORD, 1, c.s[l]);
    }
}

// As many items a row as the number of items gives.
BUSY_KERNEL(update_strips, UpdateArgs) {
    i64 parts = a.items / (a.lanes * a.rows), row = item / parts, part = item % parts;
    Line r = {row / a.rows, row % a.rows, row * a.cols};
    i64 words = r.lane * a.batch * a.words, strips = ((a.cols + parts - 1) / parts + 31) / 32, from = part * strips * 32;
    i64 to = from + strips * 32 < a.cols ? from + strips * 32 : a.cols;
    r.m = {a.d_words + words * a.rows + r.i, a.x_words + words * a.cols, nullptr, a.plans + r.lane * a.batch, nullptr};
    r.m.own_lines = a.rows;
    r.m.other_lines = a.cols;
    r.m.to = a.batch;
    if (r.i == 0 && part == 0 && first_lane()) a.control[r.lane].step = a.frozen[r.lane].step + 1u;
    for (i64 at = from; at < to; at += 32) update_strip(a, r, at);
}
