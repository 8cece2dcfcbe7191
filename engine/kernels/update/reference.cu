// What: the pulsed update as its definition has it: the samples and their pulses in order.
// One item is: a cell, a thread.
// Must equal: nothing; the other kernels of this folder must equal this one.
// When it is chosen: by tests alone.
// Number n of the pulses that a cell gets in a call takes the normals of draw n, whatever the sample.
#include "coincidence.cuh"
#include "steps.cuh"

// The course of a cell through samples from .. to - 1; returns the number of its pulses.
FN u32 integrate_window(const UpdateArgs& a, const TrainView& m, const AdjacentLines& line, const LinearSteps<float>& k, GaussianPath<float>& t) {
    u32 count = 0u;
    for (i64 b = m.from; b < m.to; ++b) {
        u32 up, n = pulses_in(a, m, b, line, up);
        if (n == 0u) continue;
        advance(t, k, up != 0u, n, (u32)m.plans[b].length);
        count += n;
    }
    return count;
}

// The pulses of a cell in samples from .. to - 1, one by one. Returns their number.
FN u32 step_through(const UpdateArgs& a, const Params& p, const TrainView& m, const AdjacentLines& line, const CellDraws& draws,
                    const Cell& c, State& s, float& w) {
    Steps steps = steps_from(draws);
    for (i64 b = m.from; b < m.to; ++b) {
        u32 up, n = pulses_in(a, m, b, line, up);
        step_often(a, p, draws, c, steps, up != 0u, n, s, w);
    }
    return steps.n - draws.first;
}

// All samples of a stretch on one cell, window by window.
FN void pulse_cell(const UpdateArgs& a, const Params& p, const TrainView& all, const AdjacentLines& line, CellDraws& draws,
                   const float* record, i64 stride, State& s, float& w) {
    bool jumps = can_jump(a, p);
    Cell c = load_cell(record, stride);
    LinearSteps<float> k;
    TrainView m = all;
    if (jumps) load_linear_steps(p, record, stride, k);
    for (; m.from < all.to; m.from = m.to) {
        m.to = jumps ? window_end(m.plans, m.from, all.to) : all.to;
        GaussianPath<float> t = path_from(w);
        u32 count = jumps ? integrate_window(a, m, line, k, t) : 0u;
        if (count != 0u && stays_within_bounds(t, k)) {
            w = sample_final_weight(t, pulse_normal(a, draws.key, draws.step, draws.cell, draws.first));
            draws.first += count;
        } else if (count != 0u || !jumps) {
            draws.first += step_through(a, p, m, line, draws, c, s, w);
        }
    }
}

KERNEL(update_reference, UpdateArgs) {
    i64 cells = a.rows * a.cols, replica = item / cells, cell = item % cells, i = cell / a.cols, j = cell % a.cols;
    const Control& control = a.frozen[replica];
    if (cell == 0) a.control[replica].step = control.step + 1u;
    const Params& p = a.params[replica];
    float* record = a.cells + item * RECORD;
    State s = load_state(record, 1);
    float w = hidden_weight(a.w[item], s);
    i64 words = replica * a.batch * a.words;
    TrainView m = {a.d_words + words * a.rows + i, a.x_words + words * a.cols, nullptr, a.plans + replica * a.batch, nullptr};
    m.line_stride = a.rows;
    m.crossing_stride = a.cols;
    m.to = a.batch;
    CellDraws draws = {key_of(control), control.step, (u32)cell, 0u};
    pulse_cell(a, p, m, AdjacentLines{j, a.cols}, draws, record, 1, s, w);
    if (draws.first == 0u) return;
    a.w[item] = written_weight(p, w, s, draws.key, {a.call, control.step, WRITE}, (u32)cell);
    store_state(record, 1, s);
}
