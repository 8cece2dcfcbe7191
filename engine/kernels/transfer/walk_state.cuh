// The walk over the slices that are read: pulses of the fast array up to each read, the read, the buffer, the write.
#include "read.cu"

struct Walk : Turn {
    fast::UpdateArgs fast;
    i64 from;
    u32 writes;
    // The next stretch of pulses is there already (first_stretch.cu).
    bool walked;
};

FN fast::UpdateArgs fast_of(const TransferArgs& a, i64 lane) {
    fast::UpdateArgs u = {};
    i64 cells = a.rows * a.cols;
    u.rows = a.rows;
    u.cols = a.cols;
    u.batch = a.batch;
    u.w = a.w + lane * cells;
    u.cells = a.cells + lane * cells * fast::record_size;
    u.params = (const fast::Params*)a.params + lane;
    u.control = a.control + lane;
    u.frozen = a.frozen + lane;
    u.plan = a.plan;
    u.plans = a.plans + lane * a.batch;
    u.words = a.words;
    u.type = a.type;
    u.noise_on = a.noise_on;
    u.call = a.call;
    u.lr_scale = 1.0f;
    return u;
}

FN slow::UpdateArgs slow_of(const TransferArgs& a, const TransferPlan& p, u32 k, i64 lane) {
    slow::UpdateArgs u = {};
    const Link& link = link_of(a, p, k);
    i64 cells = a.rows * a.cols;
    u.w = (float*)link.w + lane * cells;
    u.cells = (float*)link.cells + lane * cells * slow::record_size;
    u.params = (const slow::Params*)a.slow_params + lane;
    u.frozen = &slow_frozen(a, k, lane);
    u.noise_on = a.slow_noise_on;
    u.call = a.slow_call;
    return u;
}

// Pulses of the fast array up to sample `to`, exclusive.
CALLED void advance(const TransferArgs& a, const TransferPlan& p, Walk& k, i64 to) {
    if (k.walked) {
        k.walked = false;
        return;
    }
    i64 lines = lines_of(a, p), slices = slices_of(a, p), words = k.lane * a.batch * a.words;
    for (i64 at = k.begin; at < k.end; at += 32) {
        fast::Stretch m = {};
        m.plans = k.fast.plans;
        m.own = (p.by_columns ? a.x_words : a.d_words) + words * slices + k.slice;
        m.other = (p.by_columns ? a.d_words : a.x_words) + words * lines + at;
        m.signs = p.out_chop_prob > 0.0f ? a.out_signs + k.lane * a.batch * lines + at : nullptr;
        m.own_lines = slices;
        m.other_lines = m.sign_lines = lines;
        m.from = k.from;
        m.to = to;
        m.chop = k.chop & 1u;
        m.by_columns = p.by_columns != 0;
        m.rates = a.rates + k.lane * a.batch;
        u32* done = a.done + (k.lane * a.slots + k.slot) * lines + at;
        if (a.type == EXACT) fast::walk_exact(k.fast, strip_of(a, p, k, at), m, k.writes + 1u);
        else fast::walk_block(k.fast, strip_of(a, p, k, at), m, done, k.writes == 0u, k.writes + 1u);
    }
    k.from = to;
    k.writes += 1u;
}
