// The write of a transfer, and the walk that puts all parts together.
// What: pulses of the fast array, reads and writes of one slice in the order of the samples.
// One item is: a slice that is read, a warp; or 32 lines of it, where their writes do not depend on each other.
// Must equal: the mini-batch of tests/naive/transfer.py.
// When it is chosen: for all arrays of one device a cell.
#include "walk_state.cuh"
#include "plan.cu"

// Trains of the slice's own line and of the 32 lines from `at` on, and the pulses that they make on array l.
CALLED void write_block(const TransferArgs& a, const TransferPlan& p, const SliceWalk& k, const slow::UpdateArgs& u, i64 at, Amplitude plan, u32 number) {
    const PulsePlan& w = a.write_plan[0];
    const float* drive = a.drive + (k.replica * a.slots + k.slot) * lines_of(a, p) + at;
    SliceStrip s = strip_of(a, p, k, at);
    Key key = key_of(u.frozen[0]);
    Draw own = {u.call, u.frozen[0].step, (u32)(p.by_columns ? TRAIN_X : TRAIN_D)}, other = own;
    other.stream = p.by_columns ? TRAIN_D : TRAIN_X;
    Laned<float> line, cross;
    Laned<u32> word, words, count, pulses, first;
    Laned<u64> bits;
    LANES(l) {
        line[l] = l == 0 ? (p.by_columns ? plan.x : plan.d) : 0.0f;
        cross[l] = l < s.lines ? abs_(drive[l]) * (p.by_columns ? plan.d : plan.x) : 0.0f;
        count[l] = 0u;
        first[l] = number * (u32)a.write_groups * 4u;
    }
    round_probabilities(w, line, key, own, (u32)k.slice, number, p.by_columns != 0);
    round_probabilities(w, cross, key, other, (u32)at, number, p.by_columns == 0);
    for (int part = 0; part * SLOTS < plan.length; ++part) {
        u32 slots = slots_of(plan.length, part), block = number << 10 | (u32)(part * 8);
        if (w.type == STOCHASTIC) {
            bernoulli_words(line, slots, key, own, (u32)k.slice, block, word);
            bernoulli_words(cross, slots, key, other, (u32)at, block, words);
        } else {
            LANES(l) word[l] = count_word(w, line[l], plan.length);
            LANES(l) words[l] = count_word(w, cross[l], plan.length);
        }
        u32 one = lanes_first(word);
        LANES(l) count[l] += p.by_columns ? pulses_of(w.type, one, words[l], plan.length) : pulses_of(w.type, words[l], one, plan.length);
        if (w.type != STOCHASTIC) break;
    }
    Laned<float> most;
    LANES(l) {
        count[l] = l < s.lines ? count[l] : 0u;
        most[l] = (float)(int)count[l];
        bits[l] = (l < s.lines && drive[l] < 0.0f) != (plan.down == 0) ? ~(u64)0 : (u64)0;
    }
    if (!(lanes_max(most) > 0.0f)) return;
    slow::SliceCells c;
    slow::load_block(u, s, c);
    LANES(l) pulses[l] = count[l];
    slow::pulse_block(u, c, bits, pulses, first, (u32)plan.length);
    slow::store_block(u, s, c, count, number + 1u);
}

CALLED void write_exact(const TransferArgs& a, const TransferPlan& p, const SliceWalk& k, const slow::UpdateArgs& u, float rate, u32 number) {
    for (i64 at = k.begin; at < k.end; at += 32) {
        const float* drive = a.drive + (k.replica * a.slots + k.slot) * lines_of(a, p) + at;
        SliceStrip s = strip_of(a, p, k, at);
        slow::SliceCells c;
        Laned<u32> touched;
        slow::load_block(u, s, c);
        LANES(l) {
            touched[l] = l < s.lines && drive[l] != 0.0f ? 1u : 0u;
            c.w[l] = l < s.lines ? c.w[l] - rate * drive[l] : c.w[l];
            slow::bound_weight(c.w[l], slow::load_cell(&c.record[0][l], LANE_STRIDE));
        }
        slow::store_block(u, s, c, touched, number + 1u);
    }
}

FN void write_slice(const TransferArgs& a, const TransferPlan& p, const SliceWalk& k, const Event& e, float top, u32 number) {
    slow::UpdateArgs u = slow_of(a, p, e.from + 1u, k.replica);
    float lr = slow_frozen(a, (u32)p.arrays - 1u, k.replica).lr;
    float rate = p.rule == PLAIN ? transfer_rate(p, e.from, lr) : p.step * p.slow_granularity;
    if (a.write_type == EXACT) {
        write_exact(a, p, k, u, rate, number);
        return;
    }
    Amplitude plan = p.by_columns ? plan_sample(a.write_plan[0], rate, 1.0f, top) : plan_sample(a.write_plan[0], rate, top, 1.0f);
    if (plan.length == 0) return;
    for (i64 at = k.begin; at < k.end; at += 32) write_block(a, p, k, u, at, plan, number);
}

// Event number e, on the slice of the walk.
FN void handle_event(const TransferArgs& a, const TransferPlan& p, SliceWalk& k, const Event& event, u32 e) {
    if (event.from == 0u) pulse_until(a, p, k, (i64)event.sample + 1);
    float top = read_slice(a, p, k, event, e);
    if (top > 0.0f) write_slice(a, p, k, event, top, e);
    if (event.from != 0u) return;
    if (p.reset_prob > 0.0f && p.reset_prob > uniform_at(k.key, {k.draw.call, k.draw.step, RESET_SLICE}, (u32)k.slice, e))
        for (i64 at = k.begin; at < k.end; at += 32) fast::reset_block(k.fast, strip_of(a, p, k, at), e);
    if (p.rule >= CHOPPED) k.chop = next_chop(p, k, event, e);
}

// One warp for a slice that is read, or for 32 lines of it where their writes do not depend on each other.
WARP_KERNEL(transfer_walk, TransferArgs) {
    const TransferPlan& p = a.transfer[0];
    i64 lines = lines_of(a, p), parts = p.whole ? 1 : (lines + 31) / 32, slot = item / parts % a.slots;
    SliceWalk k;
    k.replica = item / (parts * a.slots);
    if (slot >= (i64)a.found[k.replica].slots) return;
    k.slot = (u32)slot;
    k.slice = a.slot_slices[k.replica * a.slots + slot];
    k.chop = a.slot_chops[k.replica * a.slots + slot];
    k.begin = item % parts * 32;
    k.end = p.whole || k.begin + 32 > lines ? lines : k.begin + 32;
    k.walked = a.x_masks != nullptr && a.slot_until[k.replica * a.slots + slot] != 0u;
    k.from = k.walked ? (i64)a.slot_until[k.replica * a.slots + slot] : 0;
    k.writes = k.walked ? 1u : 0u;
    k.fast = fast_of(a, k.replica);
    k.w = k.fast.w;
    const Control& c = slow_frozen(a, (u32)p.arrays - 1u, k.replica);
    k.key = key_of(c);
    k.draw = {a.slow_call, c.step, 0};
    const Event* events = a.events + k.replica * a.max_events;
    u32 n = a.found[k.replica].events;
    for (u32 at = 0u; at < n; at += 32u) {
        Laned<u32> own;
        LANES(l) own[l] = at + l < n && (i64)events[at + l].slice == k.slice ? 1u : 0u;
        for (u32 left = lanes_mask(own); left; left &= left - 1u) handle_event(a, p, k, events[at + first_bit(left)], at + first_bit(left));
    }
    pulse_until(a, p, k, a.batch);
    if (item % parts == 0 && first_lane()) a.in_chop[k.replica * slices_of(a, p) + k.slice] = k.chop;
}
