// Before a mini-batch is walked: learning rates and plans of its samples, the reads that fall into it, and words for the
// part of the fast array that is not read.

FN Control control_of(const TransferArgs& a, const TransferPlan& p, u32 k, i64 lane) {
    if (k == 0u) return a.control[lane];
    return ((const Control*)link_of(a, p, k).control)[lane];
}

// One warp a sample: its largest |x| and |d|, kept in its plan.
WARP_KERNEL(transfer_maxima, TransferArgs) {
    Laned<float> x_max, d_max;
    LANES(l) x_max[l] = d_max[l] = 0.0f;
    for (i64 j = 0; j < a.cols; j += 32) LANES(l) if (j + l < a.cols) x_max[l] = max_(abs_(a.x[item * a.cols + j + l]), x_max[l]);
    for (i64 i = 0; i < a.rows; i += 32) LANES(l) if (i + l < a.rows) d_max[l] = max_(abs_(a.d[item * a.rows + i + l]), d_max[l]);
    float xm = lanes_max(x_max), dm = lanes_max(d_max);
    if (first_lane()) {
        a.plans[item].x = xm;
        a.plans[item].d = dm;
    }
}

FN void follow(float& average, float v, float decay) {
    if (v > 0.0f) average = average > 0.0f ? (1.0f - decay) * average + decay * v : v;
}

// The learning rate of the fast array for each sample, in order: the running maxima remember.
FN void rate_samples(const TransferArgs& a, const TransferPlan& p, i64 lane, float lr) {
    float fixed = p.fast_lr > 0.0f ? (p.scale_fast ? p.fast_lr * lr : p.fast_lr) : lr;
    float xm = a.maxima[2 * lane], dm = a.maxima[2 * lane + 1];
    for (i64 b = lane * a.batch; b < (lane + 1) * a.batch; ++b) {
        a.rates[b] = fixed;
        if (!p.auto_scale) continue;
        follow(xm, a.plans[b].x, p.decay);
        follow(dm, a.plans[b].d, p.decay);
        if (!(p.fast_lr > 0.0f)) continue;
        float rate = p.auto_gain / ((xm > 0.0f ? xm : 1.0f) * (dm > 0.0f ? dm : 1.0f));
        a.rates[b] = p.scale_fast ? rate * lr : rate;
    }
    a.maxima[2 * lane] = xm;
    a.maxima[2 * lane + 1] = dm;
}

// All reads of the call in order. Counters: samples seen, sweeps done, then the next slice of each array.
FN void list_events(const TransferArgs& a, const TransferPlan& p, i64 lane, float lr) {
    i64 slices = slices_of(a, p), *counter = a.counters + lane * (2 + MAX_ARRAYS), slots = 0, n = 0;
    Event* events = a.events + lane * a.most_events;
    u32* marks = a.marks + lane * slices;
    const Control& c = slow_frozen(a, (u32)p.arrays - 1u, lane);
    for (i64 j = 0; j < slices; ++j) marks[j] = 0u;
    for (i64 b = 0; b < a.batch; ++b) {
        counter[0] += 1;
        for (u32 k = 0; (int)k + 1 < p.arrays; ++k) {
            if (p.period[k] <= 0 || counter[0] % p.period[k] != 0 || p.transfer_lr[k] == 0.0f) continue;
            i64 start = counter[2 + k];
            if (p.random_slice) {
                start = (i64)(uniform_at(key_of(c), {a.slow_call, c.step, SELECT}, k, (u32)b) * (float)slices);
                start = start < slices ? start : slices - 1;
            }
            for (int q = 0; q < p.reads; ++q) {
                i64 slice = (start + q) % slices;
                events[n++] = {(u32)b, (u32)slice, k, (u32)counter[1]};
                if (marks[slice] != 0u) continue;
                a.slot_slices[lane * a.slots + slots] = (u32)slice;
                a.slot_chops[lane * a.slots + slots] = a.in_chop[lane * slices + slice];
                marks[slice] = (u32)++slots;
            }
            if (k == 0u && start + p.reads >= slices) counter[1] += 1;
            counter[2 + k] = (start + p.reads) % slices;
        }
    }
    a.found[2 * lane] = (u32)n;
    a.found[2 * lane + 1] = (u32)slots;
}

// One item a lane: freezes the steps of all arrays for this call, then rates and reads.
KERNEL(transfer_schedule, TransferArgs) {
    const TransferPlan& p = a.transfer[0];
    for (u32 k = 0; (int)k < p.arrays; ++k) {
        Control* live = k == 0u ? a.control : (Control*)link_of(a, p, k).control;
        slow_frozen(a, k, item) = live[item];
        live[item].step += 1u;
    }
    float lr = slow_frozen(a, (u32)p.arrays - 1u, item).lr;
    if (a.type == EXACT) slow_frozen(a, 0u, item).lr = 1.0f;
    rate_samples(a, p, item, lr);
    list_events(a, p, item, lr);
}

KERNEL(transfer_plans, TransferArgs) { a.plans[item] = plan_sample(a.plan[0], a.rates[item], a.plans[item].x, a.plans[item].d); }

// One item a line that crosses the slices: its chopper at every sample; it may switch after each whole sweep.
KERNEL(transfer_signs, TransferArgs) {
    const TransferPlan& p = a.transfer[0];
    i64 slices = slices_of(a, p), lines = lines_of(a, p), lane = item / lines, line = item % lines;
    const Control& c = slow_frozen(a, (u32)p.arrays - 1u, lane);
    const Event* events = a.events + lane * a.most_events;
    u32 sign = a.out_chop[item], e = 0;
    for (i64 b = 0; b < a.batch; ++b) {
        a.out_signs[(lane * a.batch + b) * lines + line] = sign;
        for (; e < a.found[2 * lane] && events[e].sample == (u32)b; ++e) {
            if ((i64)events[e].slice != slices - 1) continue;
            if (p.out_chop_prob > uniform_at(key_of(c), {a.slow_call, c.step, FLIP_OUT}, (u32)line, e)) sign ^= 1u;
        }
    }
    a.out_chop[item] = sign;
}

// One warp a word of a sample: the words of the slices that are not read, both sides with the signs of their choppers.
WARP_KERNEL(transfer_rest, TransferArgs) {
    const TransferPlan& p = a.transfer[0];
    i64 sample = item / a.words, lane = sample / a.batch, slices = slices_of(a, p), lines = lines_of(a, p);
    const u32* own = (p.by_columns ? a.x_words : a.d_words) + item * slices;
    const u32* other = (p.by_columns ? a.d_words : a.x_words) + item * lines;
    u32* own_rest = (p.by_columns ? a.x_rest : a.d_rest) + item * slices;
    u32* other_rest = (p.by_columns ? a.d_rest : a.x_rest) + item * lines;
    bool exact = a.type == EXACT, signs = p.out_chop_prob > 0.0f;
    float rate = exact ? a.rates[sample] : 1.0f;
    for (i64 at = 0; at < slices; at += 32) LANES(l) if (at + l < slices) {
        u32 word = own[at + l];
        word = exact && !p.by_columns ? bits_of(rate * float_of(word)) : word;
        own_rest[at + l] = a.marks[lane * slices + at + l] != 0u ? 0u : word ^ (a.in_chop[lane * slices + at + l] << 31);
    }
    for (i64 at = 0; at < lines; at += 32) LANES(l) if (at + l < lines) {
        u32 word = other[at + l], sign = signs ? a.out_signs[sample * lines + at + l] : 0u;
        word = exact && p.by_columns ? bits_of(rate * float_of(word)) : word;
        other_rest[at + l] = word ^ (sign << 31);
    }
}
