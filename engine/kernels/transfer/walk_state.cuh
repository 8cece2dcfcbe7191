// The walk over the slices that are read: pulses of the fast array up to each read, the read, the buffer, the write.
#include "read.cu"

struct SliceWalk : SliceRead {
    fast::UpdateArgs fast;
    i64 from;
    u32 writes;
    // The next stretch of pulses is there already (first_stretch.cu).
    bool walked;
};

FN fast::UpdateArgs fast_of(const TransferArgs& a, i64 replica) {
    fast::UpdateArgs u = {};
    i64 cells = a.rows * a.cols;
    u.rows = a.rows;
    u.cols = a.cols;
    u.batch = a.batch;
    u.w = a.w + replica * cells;
    u.cells = a.cells + replica * cells * fast::record_size;
    u.params = (const fast::Params*)a.params + replica;
    u.control = a.control + replica;
    u.frozen = a.frozen + replica;
    u.plan = a.plan;
    u.plans = a.plans + replica * a.batch;
    u.words = a.words;
    u.type = a.type;
    u.noise_on = a.noise_on;
    u.call = a.call;
    u.lr_scale = 1.0f;
    return u;
}

FN slow::UpdateArgs slow_of(const TransferArgs& a, const TransferPlan& p, u32 k, i64 replica) {
    slow::UpdateArgs u = {};
    const Link& link = link_of(a, p, k);
    i64 cells = a.rows * a.cols;
    u.w = (float*)link.w + replica * cells;
    u.cells = (float*)link.cells + replica * cells * slow::record_size;
    u.params = (const slow::Params*)a.slow_params + replica;
    u.frozen = &slow_frozen(a, k, replica);
    u.noise_on = a.slow_noise_on;
    u.call = a.slow_call;
    return u;
}

// Pulses of the fast array up to sample `to`, exclusive.
CALLED void pulse_until(const TransferArgs& a, const TransferPlan& p, SliceWalk& k, i64 to) {
    if (k.walked) {
        k.walked = false;
        return;
    }
    i64 lines = lines_of(a, p), slices = slices_of(a, p), words = k.replica * a.batch * a.words;
    for (i64 at = k.begin; at < k.end; at += 32) {
        fast::TrainView m = {};
        m.plans = k.fast.plans;
        m.line = (p.by_columns ? a.x_words : a.d_words) + words * slices + k.slice;
        m.crossing = (p.by_columns ? a.d_words : a.x_words) + words * lines + at;
        m.signs = p.out_chop_prob > 0.0f ? a.out_signs + k.replica * a.batch * lines + at : nullptr;
        m.line_stride = slices;
        m.crossing_stride = m.sign_stride = lines;
        m.from = k.from;
        m.to = to;
        m.chop = k.chop & 1u;
        m.by_columns = p.by_columns != 0;
        m.rates = a.rates + k.replica * a.batch;
        u32* done = a.done + (k.replica * a.slots + k.slot) * lines + at;
        if (a.type == EXACT) fast::walk_exact(k.fast, strip_of(a, p, k, at), m, k.writes + 1u);
        else fast::walk_block(k.fast, strip_of(a, p, k, at), m, done, k.writes == 0u, k.writes + 1u);
    }
    k.from = to;
    k.writes += 1u;
}
