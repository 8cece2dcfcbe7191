// The samples in which both lines of one cell fire, in order, found by sample masks (trains/masks.cu).
#pragma once
#include "update/coincidence.cuh"
#include "update/steps.cuh"

// The masks of the two lines of a cell, and the groups and chunks of groups in which they meet (mark_hits.cu); where those are
// not listed, every group is looked at. Samples from `to` on do not count. `words` finds the pulses of trains with more slots
// than one.
struct HitList {
    const SampleMask *line, *crossing;
    const SampleGroup* groups;
    const u32 *listed, *listed_chunks;
    i64 cells, to;
    int number, chunks, spans;
    TrainView words;
    AdjacentLines cells_line;
};

// The masks of a group in which the lines may meet; group -1 is behind the last one.
struct HitGroup {
    int group;
    SampleMask line, crossing;
    SampleGroup shared;
};

// Where a cell is in its samples: `samples` are left of the group at hand, `groups` of the chunk behind it, `chunks` of the
// span of chunks. What comes next is fetched ahead, so that a cell does not wait for memory at each hit: the group `next`,
// and the groups of the chunk `ahead`.
struct HitCursor {
    int span, chunk, base, group;
    u32 chunks, groups, ahead, samples, rises;
    SampleGroup shared;
    HitGroup next;
};

// A sample in which both lines fire, and the number of its window; `rises` says where its pulse goes if it has just one.
struct Hit {
    i64 sample;
    u32 window;
    bool single, rises;
};

// The first `n` of 32; none if n <= 0.
FN u32 first_of(int n) { return n <= 0 ? 0u : up_to(n < GROUP ? (u32)n - 1u : 31u); }
// Groups of a chunk in which the lines may meet, and chunks of a span; none behind the last ones.
FN u32 groups_in(const HitList& m, int chunk) {
    return m.listed ? m.listed[chunk * m.cells] : first_of(m.number - chunk * GROUP);
}
FN u32 chunks_in(const HitList& m, int span) {
    if (span >= m.spans) return 0u;
    return m.listed ? m.listed_chunks[span * m.cells] : first_of(m.chunks - span * HIT_SPAN < HIT_SPAN ? m.chunks - span * HIT_SPAN : HIT_SPAN);
}

// The chunk that comes after the one at hand is fetched; chunk -1 is behind the last one.
FN void fetch_chunk(const HitList& m, HitCursor& at) {
    while (at.chunks == 0u && at.span + 1 < m.spans) {
        at.span += 1;
        at.chunks = chunks_in(m, at.span);
    }
    at.chunk = at.chunks != 0u ? at.span * HIT_SPAN + first_bit(at.chunks | 0x80000000u) : -1;
    at.chunks &= at.chunks - 1u;
    at.ahead = at.chunk >= 0 ? groups_in(m, at.chunk) : 0u;
}
FN void fetch_group(const HitList& m, HitCursor& at) {
    if (at.groups == 0u) {
        if (at.chunk < 0) {
            at.next.group = -1;
            return;
        }
        at.groups = at.ahead;
        at.base = at.chunk * GROUP;
        fetch_chunk(m, at);
    }
    int group = at.base + first_bit(at.groups);
    at.groups &= at.groups - 1u;
    at.next = {group, m.line[(i64)group * m.words.line_stride], m.crossing[(i64)group * m.words.crossing_stride], m.groups[group]};
}
FN void enter_group(const HitList& m, HitCursor& at) {
    at.group = at.next.group;
    at.samples = at.next.line.fires & at.next.crossing.fires;
    at.rises = at.next.line.signs ^ at.next.crossing.signs ^ (0u - m.words.chop);
    at.shared = at.next.shared;
    fetch_group(m, at);
}

FN HitCursor before_all(const HitList& m) {
    HitCursor at = {};
    at.chunks = chunks_in(m, 0);
    fetch_chunk(m, at);
    fetch_group(m, at);
    return at;
}
// Right before a hit that was found earlier.
FN HitCursor before_hit(const HitList& m, i64 sample) {
    HitCursor at = {};
    u32 chunk = (u32)(sample / (GROUP * GROUP)), group = (u32)(sample / GROUP % GROUP), bit = (u32)(sample % GROUP);
    at.span = (int)(chunk / HIT_SPAN);
    at.chunks = chunks_in(m, at.span) & ~up_to(chunk % HIT_SPAN);
    fetch_chunk(m, at);
    at.base = (int)chunk * GROUP;
    at.groups = groups_in(m, (int)chunk) & ~(up_to(group) >> 1);
    fetch_group(m, at);
    enter_group(m, at);
    at.samples &= 0xffffffffu << bit;
    return at;
}

FN bool next_hit(const HitList& m, HitCursor& at, Hit& h) {
    while (at.samples == 0u) {
        if (at.next.group < 0) return false;
        enter_group(m, at);
    }
    u32 bit = (u32)first_bit(at.samples);
    at.samples &= at.samples - 1u;
    h.sample = (i64)at.group * GROUP + bit;
    h.window = at.shared.before + popcount(at.shared.starts & up_to(bit));
    h.single = ((at.shared.single >> bit) & 1u) != 0u;
    h.rises = ((at.rises >> bit) & 1u) != 0u;
    return h.sample < m.to;
}

// Pulses of a hit, and whether they go up: none where the slots of longer trains do not meet.
FN u32 pulses_of_hit(const UpdateArgs& a, const HitList& m, const Hit& h, u32& up) {
    up = h.rises ? 1u : 0u;
    return h.single ? 1u : pulses_in(a, m.words, h.sample, m.cells_line, up);
}

// The pulses of a cell from a place on, one by one: those of one window, or all. Returns their number.
FN u32 step_hits(const UpdateArgs& a, const Params& p, const HitList& m, HitCursor at, bool whole, const CellDraws& draws, const Cell& c,
                 State& s, float& w) {
    Steps steps = steps_from(draws);
    Hit h;
    for (u32 window = 0u; next_hit(m, at, h); window = h.window) {
        if (!whole && steps.n != draws.first && h.window != window) break;
        u32 up, n = pulses_of_hit(a, m, h, up);
        step_often(a, p, draws, c, steps, up != 0u, n, s, w);
    }
    return steps.n - draws.first;
}

// All pulses of a cell: window by window in jumps where its device can, else one by one.
FN void pulse_hits(const UpdateArgs& a, const Params& p, const HitList& m, CellDraws& draws, const float* record, State& s, float& w) {
    HitCursor at = before_all(m);
    Hit h;
    if (!can_jump(a, p)) {
        draws.first += step_hits(a, p, m, at, true, draws, load_cell(record, 1), s, w);
        return;
    }
    // Most cells of many networks get no pulse: their constants are not looked at.
    bool more = next_hit(m, at, h);
    if (!more) return;
    LinearSteps<float> k;
    load_linear_steps(p, record, 1, k);
    while (more) {
        i64 first = h.sample;
        u32 window = h.window, count = 0u;
        u64 directions = 0u;
        GaussianPath<float> t = path_from(w);
        // The draw of the window is made while memory answers; it does not depend on what the window brings.
        float z = pulse_normal(a, draws.key, draws.step, draws.cell, draws.first);
        for (; more && h.window == window; more = next_hit(m, at, h)) {
            u32 up, n = pulses_of_hit(a, m, h, up);
            advance(t, k, up != 0u, n, n);
            if (n != 0u && count + n <= 64u) directions = directions | (up != 0u ? ~(u64)0 >> (64u - n) : (u64)0) << count;
            count += n;
        }
        if (count != 0u && stays_within_bounds(t, k)) {
            w = sample_final_weight(t, z);
            draws.first += count;
        } else if (count != 0u && count <= 64u) {
            step_string(a, p, draws, load_cell(record, 1), directions, count, s, w);
            draws.first += count;
        } else if (count != 0u) {
            draws.first += step_hits(a, p, m, before_hit(m, first), false, draws, load_cell(record, 1), s, w);
        }
    }
}
