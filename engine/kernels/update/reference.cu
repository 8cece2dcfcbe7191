// The pulsed update, one thread a cell: it walks the samples and their pulses in order.
// Number n of the pulses that a cell gets in a call takes the normals of draw n, whatever the sample.
#include "coincidence.cuh"
#include "steps.cuh"

// The course of a cell through samples from .. to - 1; returns the number of its pulses.
FN u32 chart(const UpdateArgs& a, const Stretch& m, const Neighbours& line, const Ways<float>& k, Course<float>& t) {
    u32 count = 0u;
    for (i64 b = m.from; b < m.to; ++b) {
        u32 up, n = pulses_in(a, m, b, line, up);
        if (n == 0u) continue;
        follow(t, k, up != 0u, n, (u32)m.plans[b].length);
        count += n;
    }
    return count;
}

// The pulses of a cell in samples from .. to - 1, one by one. Returns their number.
FN u32 step_through(const UpdateArgs& a, const Params& p, const Stretch& m, const Neighbours& line, const Drawer& own,
                    const Cell& c, State& s, float& w) {
    Steps steps = steps_from(own);
    for (i64 b = m.from; b < m.to; ++b) {
        u32 up, n = pulses_in(a, m, b, line, up);
        step_often(a, p, own, c, steps, up != 0u, n, s, w);
    }
    return steps.n - own.first;
}

// All samples of a stretch on one cell, window by window.
FN void pulse_cell(const UpdateArgs& a, const Params& p, const Stretch& all, const Neighbours& line, Drawer& own,
                   const float* record, i64 stride, State& s, float& w) {
    bool jumps = can_jump(a, p);
    Cell c = load_cell(record, stride);
    Ways<float> k;
    Stretch m = all;
    if (jumps) load_ways(p, record, stride, k);
    for (; m.from < all.to; m.from = m.to) {
        m.to = jumps ? window_end(m.plans, m.from, all.to) : all.to;
        Course<float> t = course_of(w);
        u32 count = jumps ? chart(a, m, line, k, t) : 0u;
        if (count != 0u && is_free(t, k)) {
            w = landing(t, pulse_normal(a, own.key, own.step, own.cell, own.first));
            own.first += count;
        } else if (count != 0u || !jumps) {
            own.first += step_through(a, p, m, line, own, c, s, w);
        }
    }
}

KERNEL(update_reference, UpdateArgs) {
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
