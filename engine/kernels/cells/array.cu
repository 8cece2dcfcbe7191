// What: operations on the weights of a whole array: set, decay, diffuse, clip, reset, drift.
// One item is: a cell, a thread.
// Must equal: tests/naive/array.py.
// When it is chosen: always.
#include "construct.cuh"
#include "device/step.cuh"

struct CellVisit { i64 replica; u32 cell; Cell c; State s; float w; Key key; Draw draw; };

FN CellVisit load_visit(const ArrayArgs& a, i64 item, u32 stream) {
    CellVisit v;
    v.replica = item / (a.rows * a.cols);
    v.cell = (u32)(item % (a.rows * a.cols));
    v.c = load_cell(a.cells + item * RECORD, 1);
    v.s = load_state(a.cells + item * RECORD, 1);
    v.w = hidden_weight(a.w[item], v.s);
    v.key = key_of(a.control[v.replica]);
    v.draw.call = a.call;
    v.draw.step = a.control[v.replica].step;
    v.draw.stream = stream;
    return v;
}

FN void store_visit(const ArrayArgs& a, i64 item, CellVisit& v) {
    v.draw.stream = WRITE;
    a.w[item] = written_weight(a.params[v.replica], v.w, v.s, v.key, v.draw, v.cell);
    store_state(a.cells + item * RECORD, 1, v.s);
}

// a.w holds the new weights; amount 0 leaves the write noise out.
KERNEL(set_cells, ArrayArgs) {
    CellVisit v = load_visit(a, item, WRITE);
    v.w = a.w[item];
    bound_weight(v.w, v.c);
    float hidden = v.w;
    store_visit(a, item, v);
    if (a.amount == 0.0f) a.w[item] = hidden;
}

KERNEL(decay_cells, ArrayArgs) {
    CellVisit v = load_visit(a, item, DECAY);
    v.w = v.c.reset_bias + (v.w - v.c.reset_bias) * (1.0f + a.amount * (v.c.decay_scale - 1.0f));
    bound_weight(v.w, v.c);
    store_visit(a, item, v);
}

KERNEL(diffuse_cells, ArrayArgs) {
    CellVisit v = load_visit(a, item, DIFFUSE);
    v.w = v.w + v.c.diffusion_rate * normal_at(v.key, v.draw, v.cell, 0);
    bound_weight(v.w, v.c);
    store_visit(a, item, v);
}

// A negative amount applies the bounds of the cells alone.
KERNEL(clip_cells, ArrayArgs) {
    CellVisit v = load_visit(a, item, WRITE);
    bound_weight(v.w, v.c);
    if (a.amount >= 0.0f) v.w = clamp_(v.w, -a.amount, a.amount);
    store_visit(a, item, v);
}

FN void store_reset(const ArrayArgs& a, i64 item, CellVisit& v, bool chosen) {
    v.draw.stream = RESET;
    if (chosen) v.w = v.c.reset_bias + a.params[v.replica].reset_std * normal_at(v.key, v.draw, v.cell, 0);
    bound_weight(v.w, v.c);
    store_visit(a, item, v);
}

// Columns start .. start + count - 1, wrapping around, each cell with probability `amount`.
KERNEL(reset_cells, ArrayArgs) {
    CellVisit v = load_visit(a, item, RESET_CHOICE);
    i64 column = (i64)v.cell % a.cols, behind = (column - a.start + a.cols) % a.cols;
    bool chosen = behind < a.count && a.amount > uniform_at(v.key, v.draw, v.cell, 0);
    store_reset(a, item, v, chosen);
}

// The cells that `chosen` marks with 1.
KERNEL(reset_chosen, ArrayArgs) {
    CellVisit v = load_visit(a, item, RESET);
    if (a.chosen[item] != 0.0f) store_reset(a, item, v, true);
}

// One noiseless pulse on the weights in a.w, up for a positive amount. Neither bounds nor write noise act.
KERNEL(probe_cells, ArrayArgs) {
    Cell c = load_cell(a.cells + item * RECORD, 1);
    State s = load_state(a.cells + item * RECORD, 1);
    float w = a.w[item], z[NOISE + 1] = {}, u[UNIFORM + 1];
    for (int m = 0; m < UNIFORM; ++m) u[m] = 0.5f;
    step_once(w, a.params[item / (a.rows * a.cols)], c, s, a.amount > 0.0f, z, u);
    a.w[item] = w;
}

#if DRIFT_STATE
// Power-law drift up to the time `clock`, from the moment at which the weight last changed by itself.
KERNEL(drift_cells, ArrayArgs) {
    CellVisit v = load_visit(a, item, DRIFT);
    const Params& p = a.params[v.replica];
    if (v.s.drift_calls == 0.0f || abs_(v.w - v.s.drift_seen) > p.drift_reset_tol) {
        v.s.drift_from = v.s.drift_calls == 0.0f ? 0.0f : a.clock;
        v.s.drift_w0 = v.w;
    }
    float z = normal_at(v.key, v.draw, v.cell, 0);
    float g = (v.w - p.drift_w_offset) / p.drift_wg_ratio + p.drift_g_offset;
    float nu = v.c.drift_nu * (1.0f + p.drift_nu_std * z);
    // The logarithm of a negative conductance says nothing.
    if (p.drift_nu_k != 0.0f && g >= 0.0f) nu = nu - p.drift_nu_k * (log_(max_(g, 1e-37f)) - p.drift_log_g0);
    float shrink = pow_(max_(a.clock - v.s.drift_from, 1.0f), -nu);
    float offset = p.drift_g_offset * p.drift_wg_ratio + p.drift_w_offset;
    v.w = v.s.drift_w0 * shrink + offset * (shrink - 1.0f);
    v.w = v.w + p.drift_w_noise_std * normal_at(v.key, v.draw, v.cell, 1);
    bound_weight(v.w, v.c);
    v.s.drift_seen = v.w;
    v.s.drift_calls = 1.0f;
    store_visit(a, item, v);
}
#endif
