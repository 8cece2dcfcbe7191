// What: the reads that fall into a mini-batch, and slots for the slices that they read. Where slices are read in turn, every
// number follows from the counters at the beginning of the call, so that all reads are listed in parallel; where they are
// drawn at random, the sweeps that are over are counted read by read.
// One item is: a read, a thread.
// Must equal: tests/naive/transfer.py.
// When it is chosen: list_events where slices are read in turn.
#include "args.cuh"

FN Reads* reads_of(const TransferArgs& a, i64 replica) { return a.reads + replica * MAX_ARRAYS; }
FN Reads count_reads(const TransferArgs& a, const TransferPlan& p, const i64* counter, u32 k) {
    Reads r = {0u, 0u, 0u, (u32)counter[2 + k]};
    if (p.period[k] <= 0 || p.transfer_lr[k] == 0.0f) return r;
    r.period = (u32)p.period[k];
    r.phase = (u32)(counter[0] % p.period[k]);
    r.number = (r.phase + (u32)a.batch) / r.period;
    return r;
}
// Reads before a sample, and the sample after which read m comes.
FN u32 reads_before(const Reads& r, u32 sample) { return r.period != 0u ? (r.phase + sample) / r.period : 0u; }
FN u32 sample_of(const Reads& r, u32 m) { return r.period * (m + 1u) - r.phase - 1u; }
// Sweeps over all slices that the reads before read m end, where slices are read in turn.
FN u32 sweeps_before(const TransferPlan& p, const Reads& r, u32 m, u32 slices) {
    return min_u(m, (u32)(((u64)m * (u32)p.reads + r.next) / slices));
}

// Where the events of read m of array k begin: behind those of earlier samples, and of earlier arrays at this one.
FN u32 place_of(const TransferPlan& p, const Reads* reads, u32 k, u32 sample) {
    u32 place = 0u;
    for (u32 other = 0u; (int)other + 1 < p.arrays; ++other) place += reads_before(reads[other], sample + (other < k ? 1u : 0u));
    return place * (u32)p.reads;
}
FN void put_events(const TransferArgs& a, const TransferPlan& p, i64 replica, u32 place, Event first) {
    u32 slices = (u32)slices_of(a, p);
    for (u32 q = 0u; (int)q < p.reads; ++q) {
        Event e = first;
        e.slice = (first.slice + q) % slices;
        a.events[replica * a.max_events + place + q] = e;
    }
}

// Read m of array k, where slices are read in turn.
FN void list_event(const TransferArgs& a, const TransferPlan& p, i64 replica, u32 k, u32 m) {
    const Reads *reads = reads_of(a, replica), r = reads[k], first = reads[0];
    u32 slices = (u32)slices_of(a, p);
    if (m >= r.number) return;
    u32 sample = sample_of(r, m), done = k == 0u ? m : reads_before(first, sample + 1u);
    u32 start = (u32)(((u64)m * (u32)p.reads + r.next) % slices), sweep = a.found[replica].sweeps + sweeps_before(p, first, done, slices);
    put_events(a, p, replica, place_of(p, reads, k, sample), {sample, start, k, sweep});
}

// One item a read: `listed` places for each array, of which those beyond its last read stay empty.
KERNEL(list_events, TransferArgs) {
    const TransferPlan& p = a.transfer[0];
    i64 links = p.arrays - 1;
    list_event(a, p, item / a.listed / links, (u32)(item / a.listed % links), (u32)(item % a.listed));
}

// All reads of an array whose slices are drawn, 32 at a time. Returns the slice after the last one.
FN u32 draw_events(const TransferArgs& a, const TransferPlan& p, i64 replica, u32 k, const Control& c, u32& sweeps) {
    const Reads *reads = reads_of(a, replica), r = reads[k], first = reads[0];
    const Event* events = a.events + replica * a.max_events;
    u32 slices = (u32)slices_of(a, p), next = r.next;
    for (u32 at = 0u; at < r.number; at += 32u) {
        Laned<u32> start, ended, sweep;
        LANES(l) {
            u32 sample = sample_of(r, at + l);
            bool there = at + l < r.number;
            float u = there ? uniform_at(key_of(c), {a.slow_call, c.step, SELECT}, k, sample) : 0.0f;
            start[l] = min_u((u32)(i64)(u * (float)(i64)slices), slices - 1u);
            ended[l] = sweep[l] = there && start[l] + (u32)p.reads >= slices ? 1u : 0u;
        }
        lanes_add_up(sweep);
        LANES(l) if (at + l < r.number) {
            u32 sample = sample_of(r, at + l), number = sweeps + sweep[l] - ended[l];
            u32 done = k == 0u ? 0u : reads_before(first, sample + 1u);
            // Of a later array: what the last read of the first one left behind.
            if (k != 0u) number = a.found[replica].sweeps;
            if (done != 0u) {
                const Event& e = events[place_of(p, reads, 0u, sample_of(first, done - 1u))];
                number = e.sweep + (e.slice + (u32)p.reads >= slices ? 1u : 0u);
            }
            put_events(a, p, replica, place_of(p, reads, k, sample), {sample, start[l], k, number});
            for (u32 q = 0u; (int)q < p.reads; ++q) a.marks[replica * slices + (start[l] + q) % slices] = 1u;
        }
        u32 last = r.number - at < 32u ? r.number - at : 32u;
        next = (lanes_at(start, (int)last - 1) + (u32)p.reads) % slices;
        if (k == 0u) sweeps += lanes_at(sweep, 31);
    }
    lanes_sync();
    return next;
}

// All reads of a call; the counters go on. Counters: samples seen, sweeps done, then the next slice of each array.
FN void count_events(const TransferArgs& a, const TransferPlan& p, i64 replica) {
    i64* counter = a.counters + replica * (2 + MAX_ARRAYS);
    Reads* reads = reads_of(a, replica);
    u32 slices = (u32)slices_of(a, p), number = 0u, sweeps = (u32)counter[1];
    const Control& c = slow_frozen(a, (u32)p.arrays - 1u, replica);
    LANES(l) if (l + 1 < p.arrays) reads[l] = count_reads(a, p, counter, (u32)l);
    if (first_lane()) a.found[replica].sweeps = sweeps;
    if (p.random_slice) for (i64 j = 0; j < slices; j += 32) LANES(l) if (j + l < slices) a.marks[replica * slices + j + l] = 0u;
    lanes_sync();
    for (u32 k = 0u; (int)k + 1 < p.arrays; ++k) {
        Reads r = reads[k];
        u32 next = (u32)(((u64)r.number * (u32)p.reads + r.next) % slices);
        number += r.number * (u32)p.reads;
        if (p.random_slice) next = draw_events(a, p, replica, k, c, sweeps);
        else if (k == 0u) sweeps += sweeps_before(p, r, r.number, slices);
        // A few reads are listed at once.
        for (u32 at = 0u; !p.random_slice && a.listed == 0 && at < r.number; at += 32u) LANES(l) list_event(a, p, replica, k, at + l);
        if (first_lane()) counter[2 + k] = next;
    }
    if (first_lane()) {
        counter[0] += a.batch;
        counter[1] += (i64)(sweeps - (u32)counter[1]);
        a.found[replica].events = number;
    }
}

// Whether a slice is read in this call, where they are read in turn.
FN bool is_read(const TransferArgs& a, const TransferPlan& p, i64 replica, u32 slice) {
    u32 slices = (u32)slices_of(a, p);
    bool read = false;
    for (u32 k = 0u; (int)k + 1 < p.arrays; ++k) {
        Reads r = reads_of(a, replica)[k];
        read = read || (slice + slices - r.next) % slices < (u64)r.number * (u32)p.reads;
    }
    return read;
}
// The samples before the first read of a slice of the first array; all where there is none. Where slices are drawn at
// random, nobody asks.
FN u32 until_read(const TransferArgs& a, const TransferPlan& p, i64 replica, u32 slice) {
    u32 slices = (u32)slices_of(a, p);
    Reads r = reads_of(a, replica)[0];
    u32 behind = (slice + slices - r.next) % slices;
    return behind < (u64)r.number * (u32)p.reads ? sample_of(r, behind / (u32)p.reads) + 1u : (u32)a.batch;
}

// Slots for the slices that are read; their marks become the numbers of their slots, from 1 on.
FN void give_slots(const TransferArgs& a, const TransferPlan& p, i64 replica) {
    u32 slices = (u32)slices_of(a, p), slots = 0u;
    u32* marks = a.marks + replica * slices;
    lanes_sync();
    for (u32 at = 0u; at < slices; at += 32u) {
        Laned<u32> marked, number;
        LANES(l) {
            bool there = at + l < slices;
            u32 slice = there ? at + l : 0u;
            if (there && !p.random_slice) marks[slice] = is_read(a, p, replica, slice) ? 1u : 0u;
            number[l] = marked[l] = there ? marks[slice] : 0u;
        }
        lanes_add_up(number);
        LANES(l) if (marked[l] != 0u) {
            i64 slot = replica * a.slots + slots + number[l] - 1u;
            marks[at + l] = slots + number[l];
            a.slot_slices[slot] = at + l;
            a.slot_chops[slot] = a.in_chop[replica * slices + at + l];
            a.slot_until[slot] = p.random_slice ? 0u : until_read(a, p, replica, at + l);
        }
        slots += lanes_at(number, 31);
    }
    if (first_lane()) a.found[replica].slots = slots;
}
