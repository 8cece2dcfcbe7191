// Windows of the cells of a squad: the way of each is followed, then one jump for those that are free; windows, jumps and
// draws are those of window.cuh. Taken in after lockstep.cuh.

// Words that are fetched together, so that their latencies pass at once.
#define FETCHED 4

// Cells that jump: the window that they are in, from sample `from` on, and their pulses in it.
struct Leap {
    Laned<Ways<float>> k;
    Laned<Course<float>> t;
    Laned<u32> count;
    bool level;
};
FN void open_window(Squad& c, Leap& j) {
    LANES(l) {
        j.t[l] = course_of(c.w[l]);
        j.count[l] = 0u;
    }
}

// The next N samples in sight that `chosen` marks; those that are missing bring nothing. No train has 2^BITS slots or
// more; BITS is 0 where no step depends on the weight. There is no branch on whether there is a sample: the loads would
// wait behind it, and no pulses change nothing.
template <u32 BITS, int N> GPU_FN void leap_next(Squad& c, Leap& j, Sight& g, Laned<const u32*>& row, u32& chosen) {
    Laned<u32> word[N];
    u32 own[N];
    int at = 0;
    UNROLLED for (int q = 0; q < N; ++q) {
        at = chosen != 0u ? first_bit(chosen | 0x80000000u) : at;
        own[q] = lanes_at(g.own, at);
        own[q] = chosen != 0u ? own[q] : 0u;
        LANES(l) word[q][l] = row[l][(u32)at * (u32)c.m.other_lines];
        chosen &= chosen - 1u;
    }
    UNROLLED for (int q = 0; q < N; ++q) {
        LANES(l) {
            u32 n = popcount(word[q][l] & own[q] & SLOT_MASK);
            follow_some<BITS>(j.t[l], j.k[l], (int)(word[q][l] ^ own[q]) < 0, n);
            j.count[l] += n;
        }
    }
}
template <u32 BITS> GPU_FN void leap_plain(Squad& c, Leap& j, Sight& g, i64 base, u32 chosen) {
    Laned<const u32*> row;
    LANES(l) row[l] = c.other[l] + base * c.m.other_lines;
    while (popcount(chosen) > 1u) leap_next<BITS, FETCHED>(c, j, g, row, chosen);
    if (chosen) leap_next<BITS, 1>(c, j, g, row, chosen);
}
GPU_FN void leap(Squad& c, Leap& j, Sight& g, i64 base, u32 chosen) {
    if (!g.plain) {
        for (; chosen; chosen &= chosen - 1u) {
            int at = first_bit(chosen);
            u32 most = lanes_at(g.length, at);
            Laned<u32> word, n, up;
            pulses_at(c, g, base, at, 0u, word, n, up);
            LANES(l) {
                follow(j.t[l], j.k[l], up[l] != 0u, n[l], most);
                j.count[l] += n[l];
            }
        }
        return;
    }
    if (j.level) leap_plain<0>(c, j, g, base, chosen);
    else if (!any_beyond(g.length, 3u)) leap_plain<2>(c, j, g, base, chosen);
    else if (!any_beyond(g.length, 7u)) leap_plain<3>(c, j, g, base, chosen);
    else leap_plain<5>(c, j, g, base, chosen);
}

// The end of a window of samples from .. to - 1.
GPU_FN void close_window(Squad& c, Leap& j, i64 from, i64 to) {
    LANES(l) j.count[l] = l < c.lines ? j.count[l] : 0u;
    if (!any_beyond(j.count, 0u)) return;
    LANES(l) if (j.count[l] != 0u && is_free(j.t[l], j.k[l])) {
        c.w[l] = landing(j.t[l], pulse_normal(c.a, c.key, c.step, c.cell[l], c.first[l]));
        c.first[l] += j.count[l];
        j.count[l] = 0u;
    }
    if (any_beyond(j.count, 0u)) step_squad(c, from, to, j.count);
    open_window(c, j);
}

// All samples of the stretch, window by window: the windows end where window_end says.
GPU_FN void leap_squad(Squad& c) {
    Leap j;
    Laned<u32> tilted;
    LANES(l) {
        load_ways(c.p, c.record[l], 1, j.k[l]);
        tilted[l] = j.k[l].slope[0] != 0.0f || j.k[l].slope[1] != 0.0f ? 1u : 0u;
    }
    j.level = !lanes_flag(lanes_any(tilted));
    open_window(c, j);
    i64 from = c.m.from;
    u32 slots = 0u;
    for (i64 base = from; base < c.m.to; base += 32) {
        Sight g;
        look(c, base, c.m.to, g);
        bool last = base + 32 >= c.m.to;
        for (u32 at = 0u, before = 0u;;) {
            Laned<u32> over;
            LANES(l) over[l] = (u32)l >= at && base + l > from && slots + g.ends[l] - before > WINDOW ? 1u : 0u;
            u32 beyond = lanes_mask(over), cut = beyond ? (u32)first_bit(beyond) : 32u;
            u32 below = cut < 32u ? (1u << cut) - 1u : 0xffffffffu;
            leap(c, j, g, base, g.fires & below & ~((1u << at) - 1u));
            slots += lanes_at(g.ends, 31) - before;
            if (!beyond && !last) break;
            close_window(c, j, from, beyond ? base + cut : c.m.to);
            if (!beyond) break;
            before = cut != 0u ? lanes_at(g.ends, (int)cut - 1) : 0u;
            at = cut;
            from = base + cut;
            slots = 0u;
        }
    }
}

// All samples of the stretch on the cells.
GPU_FN void pulse_squad(Squad& c) {
    if (can_jump(c.a, c.p)) {
        leap_squad(c);
        return;
    }
    Laned<u32> all;
    LANES(l) all[l] = l < c.lines ? 1u : 0u;
    step_squad(c, c.m.from, c.m.to, all);
}
