// The reads that fall into a mini-batch, 32 samples at a time, and slots for the slices that they read.

// Reads of array k after 32 samples from `at` on: whether there is one, its first slice, and whether it ends a sweep. Slices
// come in turn from `next` on, or at random.
struct Reads { Laned<u32> due, start, ended; };
FN bool is_read(const TransferPlan& p, u32 k, i64 number) {
    return p.period[k] > 0 && p.transfer_lr[k] != 0.0f && number % p.period[k] == 0;
}
FN void plan_reads(const TransferArgs& a, const TransferPlan& p, const Control& c, u32 k, i64 seen, i64 at, i64& next, Reads& r) {
    i64 slices = slices_of(a, p);
    Laned<u32> so_far;
    LANES(l) r.due[l] = so_far[l] = at + l < a.batch && is_read(p, k, seen + at + l + 1) ? 1u : 0u;
    lanes_add_up(so_far);
    LANES(l) {
        i64 start = (next + (i64)(so_far[l] - r.due[l]) * p.reads) % slices;
        if (p.random_slice && r.due[l] != 0u) {
            start = (i64)(uniform_at(key_of(c), {a.slow_call, c.step, SELECT}, k, (u32)(at + l)) * (float)slices);
            start = start < slices ? start : slices - 1;
        }
        r.start[l] = (u32)start;
        r.ended[l] = r.due[l] != 0u && start + p.reads >= slices ? 1u : 0u;
    }
    u32 due = lanes_mask(r.due);
    if (due != 0u) next = ((i64)lanes_at(r.start, last_bit(due)) + p.reads) % slices;
}

// Events of array k from place[l] on for each sample l; `sweep` is the number of sweeps before.
FN void put_events(const TransferArgs& a, const TransferPlan& p, i64 lane, u32 k, i64 at, Reads& r, Laned<u32>& sweep, Laned<u32>& place) {
    i64 slices = slices_of(a, p);
    LANES(l) if (r.due[l] != 0u) for (int q = 0; q < p.reads; ++q) {
        u32 slice = (u32)(((i64)r.start[l] + q) % slices);
        a.events[lane * a.most_events + place[l]++] = {(u32)(at + l), slice, k, sweep[l]};
        a.marks[lane * slices + slice] = 1u;
    }
}

// All reads of the call in order. Counters: samples seen, sweeps done, then the next slice of each array.
FN void list_events(const TransferArgs& a, const TransferPlan& p, i64 lane) {
    i64 slices = slices_of(a, p), *counter = a.counters + lane * (2 + MAX_ARRAYS), next[MAX_ARRAYS], seen = counter[0];
    u32 n = 0u, sweeps = (u32)counter[1];
    const Control& c = slow_frozen(a, (u32)p.arrays - 1u, lane);
    for (int k = 0; k < MAX_ARRAYS; ++k) next[k] = counter[2 + k];
    for (i64 j = 0; j < slices; j += 32) LANES(l) if (j + l < slices) a.marks[lane * slices + j + l] = 0u;
    lanes_sync();
    for (i64 at = 0; at < a.batch; at += 32) {
        Laned<u32> place, own, sweep;
        Reads r;
        LANES(l) own[l] = 0u;
        for (u32 k = 0; (int)k + 1 < p.arrays; ++k)
            LANES(l) own[l] += at + l < a.batch && is_read(p, k, seen + at + l + 1) ? (u32)p.reads : 0u;
        LANES(l) place[l] = own[l];
        lanes_add_up(place);
        u32 all = lanes_at(place, 31);
        LANES(l) place[l] += n - own[l];
        n += all;
        for (u32 k = 0; (int)k + 1 < p.arrays; ++k) {
            plan_reads(a, p, c, k, seen, at, next[k], r);
            if (k == 0u) {
                LANES(l) sweep[l] = r.ended[l];
                lanes_add_up(sweep);
                LANES(l) sweep[l] += sweeps;
                sweeps = lanes_at(sweep, 31);
                LANES(l) sweep[l] -= r.ended[l];
            }
            put_events(a, p, lane, k, at, r, sweep, place);
            if (k == 0u) LANES(l) sweep[l] += r.ended[l];
        }
    }
    if (first_lane()) {
        counter[0] = seen + a.batch;
        counter[1] += (i64)(sweeps - (u32)counter[1]);
        for (int k = 0; k < MAX_ARRAYS; ++k) counter[2 + k] = next[k];
        a.found[2 * lane] = n;
    }
}

// Slots for the slices that are read.
FN void give_slots(const TransferArgs& a, const TransferPlan& p, i64 lane) {
    i64 slices = slices_of(a, p);
    u32 slots = 0u;
    lanes_sync();
    for (i64 at = 0; at < slices; at += 32) {
        Laned<u32> marked, number;
        LANES(l) number[l] = marked[l] = at + l < slices ? a.marks[lane * slices + at + l] : 0u;
        lanes_add_up(number);
        LANES(l) if (marked[l] != 0u) {
            i64 slot = lane * a.slots + slots + number[l] - 1u;
            a.slot_slices[slot] = (u32)(at + l);
            a.slot_chops[slot] = a.in_chop[lane * slices + at + l];
        }
        slots += lanes_at(number, 31);
    }
    if (first_lane()) a.found[2 * lane + 1] = slots;
}
