// What: before a mini-batch is walked: learning rates and plans of its samples, and words for the part of the fast array that is
// not read.
// One item is: a sample (transfer_maxima, transfer_plans), a replica (transfer_schedule), a line (transfer_signs), a word of a
// sample (transfer_rest).
// Must equal: tests/naive/transfer.py.
// When it is chosen: always; transfer_rest for fast arrays that go by words.
#include "schedule.cu"

// One warp a sample: its largest |x| and |d|, kept in its plan.
WARP_KERNEL(transfer_maxima, TransferArgs) {
    float xm = largest_of(a.x + item * a.cols, a.cols), dm = largest_of(a.d + item * a.rows, a.rows);
    if (first_lane()) {
        a.plans[item].x = xm;
        a.plans[item].d = dm;
    }
}

FN void update_average(float& average, float v, float decay) {
    if (v > 0.0f) average = average > 0.0f ? (1.0f - decay) * average + decay * v : v;
}

// The learning rate of the fast array where it does not update_average the samples.
FN float fixed_rate(const TransferPlan& p, float lr) {
    return p.fast_lr > 0.0f ? (p.scale_fast ? p.fast_lr * lr : p.fast_lr) : lr;
}
// The rate that makes trains of their usual length of the largest |x| and |d| so far.
FN float scaled_rate(const TransferPlan& p, float x, float d, float lr) {
    float rate = p.auto_gain / ((x > 0.0f ? x : 1.0f) * (d > 0.0f ? d : 1.0f));
    return p.scale_fast ? rate * lr : rate;
}

// Rates that update_average the running maxima, sample by sample. Each thread keeps those of one of 32 samples.
FN void follow_maxima(const TransferArgs& a, const TransferPlan& p, i64 replica, float lr) {
    float xm = a.maxima[2 * replica], dm = a.maxima[2 * replica + 1];
    for (i64 at = 0; at < a.batch; at += 32) {
        i64 from = replica * a.batch + at;
        int n = at + 32 < a.batch ? 32 : (int)(a.batch - at);
        Laned<float> x, d, x_top, d_top;
        LANES(l) x[l] = l < n ? a.plans[from + l].x : 0.0f;
        LANES(l) d[l] = l < n ? a.plans[from + l].d : 0.0f;
        // Samples that are not there change nothing: their maxima are 0.
        UNROLLED for (int b = 0; b < 32; ++b) {
            update_average(xm, lanes_at(x, b), p.decay);
            update_average(dm, lanes_at(d, b), p.decay);
            LANES(l) x_top[l] = l == b ? xm : x_top[l];
            LANES(l) d_top[l] = l == b ? dm : d_top[l];
        }
        if (p.fast_lr > 0.0f) LANES(l) if (l < n) a.rates[from + l] = scaled_rate(p, x_top[l], d_top[l], lr);
    }
    if (first_lane()) {
        a.maxima[2 * replica] = xm;
        a.maxima[2 * replica + 1] = dm;
    }
}

// One warp a replica: freezes the steps of all arrays for this call, then rates and reads.
WARP_KERNEL(transfer_schedule, TransferArgs) {
    const TransferPlan& p = a.transfer[0];
    for (u32 k = 0; first_lane() && (int)k < p.arrays; ++k) {
        Control* live = k == 0u ? a.control : (Control*)link_of(a, p, k).control;
        slow_frozen(a, k, item) = live[item];
        live[item].step += 1u;
    }
    lanes_sync();
    float lr = slow_frozen(a, (u32)p.arrays - 1u, item).lr;
    if (a.type == EXACT && first_lane()) slow_frozen(a, 0u, item).lr = 1.0f;
    if (p.auto_scale) follow_maxima(a, p, item, lr);
    count_events(a, p, item);
    give_slots(a, p, item);
}

KERNEL(transfer_plans, TransferArgs) {
    const TransferPlan& p = a.transfer[0];
    float lr = slow_frozen(a, (u32)p.arrays - 1u, item / a.batch).lr;
    if (!p.auto_scale || !(p.fast_lr > 0.0f)) a.rates[item] = fixed_rate(p, lr);
    a.plans[item] = plan_sample(a.plan[0], a.rates[item], a.plans[item].x, a.plans[item].d);
}

// One item a line that crosses the slices: its chopper at every sample; it may switch after each whole sweep.
KERNEL(transfer_signs, TransferArgs) {
    const TransferPlan& p = a.transfer[0];
    i64 slices = slices_of(a, p), lines = lines_of(a, p), replica = item / lines, line = item % lines;
    const Control& c = slow_frozen(a, (u32)p.arrays - 1u, replica);
    const Event* events = a.events + replica * a.max_events;
    u32 sign = a.out_chop[item], e = 0;
    for (i64 b = 0; b < a.batch; ++b) {
        a.out_signs[(replica * a.batch + b) * lines + line] = sign;
        for (; e < a.found[replica].events && events[e].sample == (u32)b; ++e) {
            if ((i64)events[e].slice != slices - 1) continue;
            if (p.out_chop_prob > uniform_at(key_of(c), {a.slow_call, c.step, FLIP_OUT}, (u32)line, e)) sign ^= 1u;
        }
    }
    a.out_chop[item] = sign;
}

// Word number `word` of both sides of a sample with the signs of their choppers, as number `to` of a part: those of slices that
// are not read, or that a round of reads pulses with this sample (`in_round`).
FN void part_word(const TransferArgs& a, const TransferPlan& p, i64 sample, i64 word, i64 to, bool in_round) {
    i64 slices = slices_of(a, p), lines = lines_of(a, p), replica = sample / a.batch, b = sample % a.batch;
    const u32* own = (p.by_columns ? a.x_words : a.d_words) + word * slices;
    const u32* other = (p.by_columns ? a.d_words : a.x_words) + word * lines;
    u32* own_part = (p.by_columns ? a.x_rest : a.d_rest) + to * slices;
    u32* other_part = (p.by_columns ? a.d_rest : a.x_rest) + to * lines;
    bool exact = a.type == EXACT, signs = p.out_chop_prob > 0.0f;
    float rate = exact ? a.rates[sample] : 1.0f;
    for (i64 at = 0; at < slices; at += 32) LANES(l) if (at + l < slices) {
        i64 slice = replica * slices + at + l;
        u32 v = exact && !p.by_columns ? bits_of(rate * float_of(own[at + l])) : own[at + l];
        bool due = in_round ? (i64)a.since[slice] <= b && b < (i64)a.until[slice] : a.marks[slice] == 0u;
        own_part[at + l] = due ? v ^ (a.in_chop[slice] << 31) : 0u;
    }
    for (i64 at = 0; at < lines; at += 32) LANES(l) if (at + l < lines) {
        u32 v = exact && p.by_columns ? bits_of(rate * float_of(other[at + l])) : other[at + l];
        other_part[at + l] = v ^ ((signs ? a.out_signs[sample * lines + at + l] : 0u) << 31);
    }
}

// One warp a word of a sample.
WARP_KERNEL(transfer_rest, TransferArgs) { part_word(a, a.transfer[0], item / a.words, item, item, false); }
