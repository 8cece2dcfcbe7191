// Windows of the cells of a warp: the way of each is followed, then one jump for those that are free; windows, jumps and draws
// are those of jump.cuh.
#include "warp_steps.cuh"

// Words that are fetched together, so that their latencies pass at once.
#define FETCHED 4

// Cells that jump: the window that they are in, from sample `from` on, and their pulses in it.
struct WindowState {
    Laned<LinearSteps<float>> k;
    Laned<GaussianPath<float>> t;
    Laned<u32> count;
    bool level;
};
FN void open_window(WarpCells& c, WindowState& j) {
    LANES(l) {
        j.t[l] = path_from(c.w[l]);
        j.count[l] = 0u;
    }
}

// The next N samples in sight that `chosen` marks; those that are missing bring nothing. No train has 2^BITS slots or
// more; BITS is 0 where no step depends on the weight. There is no branch on whether there is a sample: the loads would
// wait behind it, and no pulses change nothing.
template <u32 BITS, int N> GPU_FN void advance_next(WarpCells& c, WindowState& j, SampleBlock& g, Laned<const u32*>& row, u32& chosen) {
    Laned<u32> word[N];
    u32 own[N];
    int at = 0;
    UNROLLED for (int q = 0; q < N; ++q) {
        at = chosen != 0u ? first_bit(chosen | 0x80000000u) : at;
        own[q] = lanes_at(g.line, at);
        own[q] = chosen != 0u ? own[q] : 0u;
        LANES(l) word[q][l] = row[l][(u32)at * (u32)c.m.crossing_stride];
        chosen &= chosen - 1u;
    }
    UNROLLED for (int q = 0; q < N; ++q) {
        LANES(l) {
            u32 n = coincidences(word[q][l], own[q]);
            advance_unrolled<BITS>(j.t[l], j.k[l], (int)(word[q][l] ^ own[q]) < 0, n);
            j.count[l] += n;
        }
    }
}
template <u32 BITS> GPU_FN void advance_plain(WarpCells& c, WindowState& j, SampleBlock& g, i64 base, u32 chosen) {
    Laned<const u32*> row;
    LANES(l) row[l] = c.crossing[l] + base * c.m.crossing_stride;
    while (popcount(chosen) > 1u) advance_next<BITS, FETCHED>(c, j, g, row, chosen);
    if (chosen) advance_next<BITS, 1>(c, j, g, row, chosen);
}
GPU_FN void advance_samples(WarpCells& c, WindowState& j, SampleBlock& g, i64 base, u32 chosen) {
    if (!g.plain) {
        for (; chosen; chosen &= chosen - 1u) {
            int at = first_bit(chosen);
            u32 most = lanes_at(g.length, at);
            Laned<u32> word, n, up;
            count_sample(c, g, base, at, 0u, word, n, up);
            LANES(l) {
                advance(j.t[l], j.k[l], up[l] != 0u, n[l], most);
                j.count[l] += n[l];
            }
        }
        return;
    }
    if (j.level) advance_plain<0>(c, j, g, base, chosen);
    else if (!any_above(g.length, 3u)) advance_plain<2>(c, j, g, base, chosen);
    else if (!any_above(g.length, 7u)) advance_plain<3>(c, j, g, base, chosen);
    else advance_plain<5>(c, j, g, base, chosen);
}

// Where the cells are in their samples: at bit `at` of the 32 from `base` on, with `slots` of the open window before these,
// and `before` of these in earlier windows.
struct WindowCursor {
    i64 base, from;
    u32 at, before, slots;
    SampleBlock g;
};
// Follows the cells through the rest of the open window, whose end is set. Returns whether it is the last one.
GPU_FN bool advance_window(WarpCells& c, WindowState& j, WindowCursor& v, i64& end) {
    for (;;) {
        Laned<u32> over;
        LANES(l) over[l] = (u32)l >= v.at && v.base + l > v.from && v.slots + v.g.ends[l] - v.before > WINDOW ? 1u : 0u;
        u32 beyond = lanes_mask(over), cut = beyond ? (u32)first_bit(beyond) : 32u;
        u32 below = cut < 32u ? (1u << cut) - 1u : 0xffffffffu;
        advance_samples(c, j, v.g, v.base, v.g.fires & below & ~((1u << v.at) - 1u));
        if (beyond) {
            end = v.base + cut;
            v.before = cut != 0u ? lanes_at(v.g.ends, (int)cut - 1) : 0u;
            v.at = cut;
            v.from = end;
            v.slots = 0u;
            return false;
        }
        v.slots += lanes_at(v.g.ends, 31) - v.before;
        v.base += 32;
        if (v.base >= c.m.to) break;
        load_sample_block(c, v.base, c.m.to, v.g);
        v.at = v.before = 0u;
    }
    end = c.m.to;
    return true;
}

// The end of a window: cells that are free make their jump. Afterwards `count` marks the others that have pulses.
GPU_FN void finish_window(WarpCells& c, WindowState& j) {
    LANES(l) {
        j.count[l] = l < c.lines ? j.count[l] : 0u;
        if (j.count[l] != 0u && stays_within_bounds(j.t[l], j.k[l])) {
            c.w[l] = sample_final_weight(j.t[l], pulse_normal(c.a, c.key, c.step, c.cell[l], c.first[l]));
            c.first[l] += j.count[l];
            j.count[l] = 0u;
        }
    }
}

// All samples of the stretch on the cells: in jumps, window by window, or one by one.
GPU_FN void pulse_warp_cells(WarpCells& c) {
    bool jumps = can_jump(c.a, c.p);
    WindowState j;
    WindowCursor v = {c.m.from, c.m.from, 0u, 0u, 0u};
    if (jumps) {
        Laned<u32> sloped;
        LANES(l) {
            load_linear_steps(c.p, c.record[l], 1, j.k[l]);
            sloped[l] = j.k[l].slope[0] != 0.0f || j.k[l].slope[1] != 0.0f ? 1u : 0u;
        }
        j.level = !lanes_flag(lanes_any(sloped));
        load_sample_block(c, v.base, c.m.to, v.g);
    }
    LANES(l) j.count[l] = l < c.lines ? 1u : 0u;
    for (bool last = !jumps;;) {
        i64 from = v.from, end = c.m.to;
        if (jumps) {
            open_window(c, j);
            last = advance_window(c, j, v, end);
            finish_window(c, j);
        }
        if (any_above(j.count, 0u)) step_cells(c, from, end, j.count);
        if (last) return;
    }
}
