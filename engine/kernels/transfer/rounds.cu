// What: transfers between arrays that are pulsed by updates of their own, such as cells of several devices. The reads of a
// mini-batch are put together in rounds. No round reads a slice twice, so that its reads do not wait for each other:
// pulses of the fast array up to each of them, all reads, all writes.
// One item is: all replicas (split_rounds), a slice (open_round), a word of a sample (part_words), a read
// (read_round).
// Must equal: tests/naive/rounds.py.
// When it is chosen: where the fast array has cells of several devices.
#include "plan.cu"
#include "read.cu"

// Numbers of a round: the samples that it pulses (first, end), and where the reads of each array end in `order`.
#define ROUND (2 + MAX_ARRAYS)

FN const Event* events_of(const TransferArgs& a, i64 replica) { return a.events + replica * a.max_events; }

// Reads first .. end - 1 become round number r, ordered by the array that is read.
FN void close_round(const TransferArgs& a, const TransferPlan& p, i64 r, i64 first, i64 end) {
    i64 *row = a.rounds + (r + 1) * ROUND, slices = slices_of(a, p), at = first;
    row[0] = a.batch;
    row[1] = 0;
    for (i64 replica = 0; replica < a.replicas; ++replica) for (i64 n = first; n < end; ++n) {
        const Event& e = events_of(a, replica)[n];
        if (e.from != 0u) continue;
        u32& since = a.since[replica * slices + e.slice];
        row[0] = (i64)since < row[0] ? (i64)since : row[0];
        row[1] = (i64)e.sample + 1 > row[1] ? (i64)e.sample + 1 : row[1];
        since = e.sample + 1u;
    }
    for (u32 k = 0; k < MAX_ARRAYS; ++k) {
        for (i64 n = first; n < end; ++n) if (events_of(a, 0)[n].from == k) a.order[at++] = (u32)n;
        row[2 + k] = at;
    }
}

// One item. All replicas read as often; where they draw their slices at random, they share rounds in which none of them reads
// a slice twice, so that a replica's noise is numbered otherwise than if it were alone. Row 0 holds the number of rounds; after
// them comes one without reads, of the pulses that are left.
KERNEL(split_rounds, TransferArgs) {
    const TransferPlan& p = a.transfer[0];
    i64 slices = slices_of(a, p), reads = a.found[0].events, rounds = 0, first = 0;
    for (i64 j = 0; j < a.replicas * slices; ++j) a.marks[j] = a.since[j] = a.until[j] = 0u;
    for (i64 n = 0; n < reads; ++n) {
        bool again = false;
        for (i64 replica = 0; replica < a.replicas; ++replica) again = again || a.marks[replica * slices + events_of(a, replica)[n].slice] == (u32)rounds + 1u;
        if (again) {
            close_round(a, p, rounds, first, n);
            rounds += 1;
            first = n;
        }
        for (i64 replica = 0; replica < a.replicas; ++replica) a.marks[replica * slices + events_of(a, replica)[n].slice] = (u32)rounds + 1u;
    }
    if (reads > 0) close_round(a, p, rounds++, first, reads);
    close_round(a, p, rounds, reads, reads);
    i64* left = a.rounds + (rounds + 1) * ROUND;
    for (i64 j = 0; j < a.replicas * slices; ++j) left[0] = (i64)a.since[j] < left[0] ? (i64)a.since[j] : left[0];
    left[1] = a.batch;
    a.rounds[0] = rounds;
}

// One item a slice: the samples whose pulses it gets in this round.
KERNEL(open_round, TransferArgs) {
    i64 slices = slices_of(a, a.transfer[0]);
    a.since[item] = a.until[item];
    if (a.first == a.last) a.until[item] = (u32)a.batch;
    for (i64 n = a.first; n < a.last; ++n) {
        const Event& e = events_of(a, item / slices)[a.order[n]];
        if (e.from == 0u && (i64)e.slice == item % slices) a.until[item] = e.sample + 1u;
    }
}

// One warp a word of a sample of the stretch: words of the slices that are pulsed.
WARP_KERNEL(part_words, TransferArgs) {
    i64 width = a.high - a.low, sample = item / a.words / width * a.batch + a.low + item / a.words % width;
    part_word(a, a.transfer[0], sample, sample * a.words + item % a.words, item, true);
}

// One warp a read of the round: what the next array shall get on the lines (`drive`) of a slice (`one_hot`).
WARP_KERNEL(read_round, TransferArgs) {
    const TransferPlan& p = a.transfer[0];
    i64 slices = slices_of(a, p), cells = a.rows * a.cols;
    SliceRead k;
    k.replica = item / a.slots;
    k.slot = (u32)(item % a.slots);
    u32 number = a.order[a.first + k.slot];
    const Event& e = events_of(a, k.replica)[number];
    const Control& c = slow_frozen(a, (u32)p.arrays - 1u, k.replica);
    k.slice = e.slice;
    k.begin = 0;
    k.end = lines_of(a, p);
    k.chop = a.in_chop[k.replica * slices + k.slice];
    k.key = key_of(c);
    k.draw = {a.slow_call, c.step, 0};
    k.w = a.w + k.replica * cells;
    read_slice(a, p, k, e, number);
    float* line = a.one_hot + item * slices;
    for (i64 at = 0; at < slices; at += 32) LANES(l) if (at + l < slices) line[at + l] = at + l == k.slice ? 1.0f : 0.0f;
    if (e.from != 0u) return;
    if (p.reset_prob > 0.0f && p.reset_prob > uniform_at(k.key, {k.draw.call, k.draw.step, RESET_SLICE}, (u32)k.slice, number))
        for (i64 at = 0; at < k.end; at += 32) {
            SliceStrip s = strip_of(a, p, k, at);
            LANES(l) if (l < s.lines) a.chosen[k.replica * cells + s.first + l * s.stride] = 1.0f;
        }
    if (p.rule < CHOPPED) return;
    u32 chop = next_chop(p, k, e, number);
    if (first_lane()) a.in_chop[k.replica * slices + k.slice] = chop;
}
