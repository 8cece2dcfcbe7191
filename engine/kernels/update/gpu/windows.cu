// What: marks the samples that begin a window, by the slots of the trains (window_end in jump.cuh says where).
// One item is: a chunk of 32 groups of 32 samples, a warp. Where all trains have one slot at most, every WINDOW-th train
// begins a window, which each chunk finds by itself; else the first chunk's warp goes through all samples window by window.
// Must equal: window_end, called again and again.
// When it is chosen: where cells look for their coincidences by masks; of few groups make_masks does it.
#include "update/jump.cuh"

// The window that is open: its first sample and the slots in it so far.
struct OpenWindow { i64 first; u32 slots; };

// Bits of the samples of a group that begin a window. Afterwards `open` holds the slots of the window that the group leaves
// open.
FN u32 starts_in(const UpdateArgs& a, i64 replica, i64 group, const SampleGroup& g, OpenWindow& open) {
    Laned<u32> ends, over;
    LANES(l) {
        i64 b = group * GROUP + l;
        u32 one = (g.trained >> l) & 1u;
        ends[l] = g.single == g.trained || one == 0u ? one : (u32)a.plans[replica * a.batch + b].length;
    }
    lanes_add_up(ends);
    u32 starts = 0u, passed = 0u;
    for (;;) {
        LANES(l) {
            i64 b = group * GROUP + l;
            over[l] = b < a.batch && b > open.first && open.slots + ends[l] - passed > WINDOW ? 1u : 0u;
        }
        u32 beyond = lanes_mask(over);
        if (beyond == 0u) break;
        int at = first_bit(beyond);
        starts |= 1u << at;
        passed = at > 0 ? lanes_at(ends, at - 1) : 0u;
        open = {group * GROUP + at, 0u};
    }
    open.slots += lanes_at(ends, 31) - passed;
    return starts;
}

// The sample that has number n of those that a mask marks: halves of what is left are counted.
FN u32 sample_number(u32 mask, u32 n) {
    u32 at = 0u;
    UNROLLED for (u32 half = 16u; half != 0u; half >>= 1) {
        u32 below = popcount((mask >> at) & ((1u << half) - 1u));
        at += n >= below ? half : 0u;
        n -= n >= below ? below : 0u;
    }
    return at;
}

// Whether all trains of a call have one slot at most, and the trains before group `base`.
FN bool all_single(const SampleGroup* groups, i64 number, i64 base, u32& before) {
    Laned<u32> slow, slots;
    LANES(l) slow[l] = slots[l] = 0u;
    for (i64 from = 0; from < number; from += 128) UNROLLED for (int q = 0; q < 4; ++q) LANES(l) {
        SampleGroup g = {0u, 0u, 0u, 0u};
        i64 at = from + 32 * q + l;
        if (at < number) g = groups[at];
        slow[l] |= g.single ^ g.trained;
        slots[l] += at < base ? popcount(g.trained) : 0u;
    }
    lanes_add_up(slots);
    before = lanes_at(slots, 31);
    return lanes_mask(slow) == 0u;
}

// Windows of a chunk of such trains, of which `before` came earlier.
FN void start_singles(SampleGroup* groups, i64 number, i64 base, u32 before) {
    Laned<SampleGroup> g;
    Laned<u32> ends;
    LANES(l) {
        SampleGroup none = {0u, 0u, 0u, 0u};
        g[l] = base + l < number ? groups[base + l] : none;
        ends[l] = popcount(g[l].trained);
    }
    lanes_add_up(ends);
    LANES(l) {
        u32 all = popcount(g[l].trained), first = before + ends[l] - all;
        // Number, in this group, of the next train that finds its window full; the very first train begins no new one.
        u32 next = (WINDOW - first % WINDOW) % WINDOW;
        u32 starts = first + next != 0u && next < all ? 1u << sample_number(g[l].trained, next) : 0u;
        if (base + l < number) {
            groups[base + l].starts = starts;
            groups[base + l].before = first != 0u ? (first - 1u) / WINDOW : 0u;
        }
    }
}

// The same for trains of any length, window by window.
FN void start_slowly(const UpdateArgs& a, i64 replica, i64 base, Laned<SampleGroup>& g, Laned<u32>& ends, OpenWindow& open,
                     Laned<u32>& starts) {
    i64 number = groups_of(a.batch);
    Laned<u32> single, trained, over;
    LANES(l) {
        single[l] = g[l].single;
        trained[l] = g[l].trained;
    }
    for (u32 from = 0u, passed = 0u; from < 32u;) {
        // Groups that end within the open window are passed at once.
        LANES(l) over[l] = (u32)l >= from && base + l < number && open.slots + ends[l] - passed > WINDOW ? 1u : 0u;
        u32 beyond = lanes_mask(over);
        u32 at = beyond != 0u ? (u32)first_bit(beyond) : 32u;
        open.slots += (at > 0u ? lanes_at(ends, (int)at - 1) : 0u) - passed;
        if (at == 32u) break;
        SampleGroup one = {0u, 0u, lanes_at(single, (int)at), lanes_at(trained, (int)at)};
        u32 marks = starts_in(a, replica, base + at, one, open);
        LANES(l) starts[l] = (u32)l == at ? marks : starts[l];
        passed = lanes_at(ends, (int)at);
        from = at + 1u;
    }
}

// All windows of a call, one after another.
FN void count_slowly(const UpdateArgs& a, i64 replica) {
    i64 number = groups_of(a.batch);
    SampleGroup* groups = a.groups + replica * number;
    OpenWindow open = {0, 0u};
    u32 windows = 0u;
    for (i64 base = 0; base < number; base += 32) {
        Laned<SampleGroup> g;
        Laned<u32> ends, starts, count;
        LANES(l) {
            SampleGroup none = {0u, 0u, 0u, 0u};
            g[l] = base + l < number ? groups[base + l] : none;
            ends[l] = g[l].before;
            starts[l] = 0u;
        }
        lanes_add_up(ends);
        start_slowly(a, replica, base, g, ends, open, starts);
        LANES(l) count[l] = popcount(starts[l]);
        lanes_add_up(count);
        LANES(l) if (base + l < number) {
            groups[base + l].starts = starts[l];
            groups[base + l].before = windows + count[l] - popcount(starts[l]);
        }
        windows += lanes_at(count, 31);
    }
}

FN void count_windows(const UpdateArgs& a, i64 replica, i64 chunk) {
    i64 number = groups_of(a.batch);
    SampleGroup* groups = a.groups + replica * number;
    u32 before = 0u;
    if (all_single(groups, number, chunk * GROUP, before)) start_singles(groups, number, chunk * GROUP, before);
    else if (chunk == 0) count_slowly(a, replica);
}

WARP_KERNEL(mark_windows, UpdateArgs) {
    i64 chunks = groups_of(groups_of(a.batch));
    count_windows(a, item / chunks, item % chunks);
}
