// A window on a CPU: the pulses of sixteen cells, sample by sample, then jumps of the cells that may and steps of others.
#include "update/coincidence.cuh"
#include "update/jump_cells.cuh"
#include "update/lockstep.cuh"
#if WIDE > 1

// The number of pulses for each sample that has any, with the top bit set where they go up; `most` slots in a sample.
struct PulseRuns {
    int n;
    u32 most;
    WideBits count;
    u32 word[WINDOW + 1][WIDE];  // a sample without pulses may be written behind the last one that has some
};

// Without a branch for trains of one word: samples without pulses are overwritten by the next one.
template <class L> FN void collect_runs(const UpdateArgs& a, const TrainView& m, const L& lines, PulseRuns& r) {
    bool plain = a.type == STOCHASTIC && a.words == 1 && !m.signs;
    int at = 0;
    u32 most = 0u;
    WideBits count = {};
    for (i64 q = m.from; q < m.to; ++q) {
        i64 b = sample_of(m, q);
        const Amplitude& plan = m.plans[b];
        WideBits n, up;
        if (plain) {
            // Words of a sample without slots are whatever was there before.
            u32 own = plan.length > 0 ? m.line[b * m.line_stride] : 0u;
            fetch_words(up, m.crossing + b * m.crossing_stride, lines);
            n = coincidences(up, own);
            up = up ^ (own ^ direction_of(m, plan) << 31);
        } else {
            n = pulses_in(a, m, b, lines, up);
            up = up << 31;
        }
        put(r.word[at], n | (up & ~SLOT_MASK));
        count = count + n;
        most = most < (u32)plan.length ? (u32)plan.length : most;
        at += some(n);
    }
    r.n = at;
    r.most = most;
    r.count = count;
}

// Takes in the records of sixteen cells by their numbers; the values of a cell lie `stride` apart.
FN void load_records(const float* records, const u32* numbers, float* to, i64 stride) {
    int f = 0;
    for (; RECORD >= 4 && f < RECORD; f = f == RECORD - 4 ? RECORD : (f + 8 <= RECORD ? f + 4 : RECORD - 4)) {
        Four rows[WIDE];
        Wide columns[4];
        for (int l = 0; l < WIDE; ++l) __builtin_memcpy(&rows[l], records + (i64)numbers[l] * RECORD + f, sizeof(Four));
        transpose(rows, columns);
        for (int m = 0; m < 4; ++m) put(to + (f + m) * stride, columns[m]);
    }
    for (; f < RECORD; ++f) for (int l = 0; l < WIDE; ++l) to[f * stride + l] = records[(i64)numbers[l] * RECORD + f];
}

// The course of the cells through all runs, of which none has 2^BITS pulses or more.
template <u32 BITS> FN void integrate_runs_of(const PulseRuns& r, const LinearSteps<Wide>& k, GaussianPath<Wide>& t) {
    for (int q = 0; q < r.n; ++q) {
        WideBits n;
        fetch(n, r.word[q]);
        advance(t, k, (WideMask)n < 0, n, (1u << BITS) - 1u);
    }
}
CALLED GaussianPath<Wide> integrate_runs(const PulseRuns& r, const LinearSteps<Wide>& k, const float* w) {
    Wide from;
    fetch(from, w);
    GaussianPath<Wide> t = path_from(from);
    if (r.most < 4u) integrate_runs_of<2>(r, k, t);
    else if (r.most < 8u) integrate_runs_of<3>(r, k, t);
    else if (r.most < 16u) integrate_runs_of<4>(r, k, t);
    else if (r.most < 32u) integrate_runs_of<5>(r, k, t);
    else integrate_runs_of<12>(r, k, t);
    return t;
}

// One jump for each cell that has pulses and is free. Returns the bits of those that must take them one by one.
FN u32 finish_runs(const UpdateArgs& a, const PulseRuns& r, const LinearSteps<Wide>& ways, const Cells& k) {
    return flags(finish_windows(a, k, ways, integrate_runs(r, ways, k.w), r.count));
}

// Draws of a cell for AHEAD groups of four pulses, those of a group AHEAD numbers apart.
#define AHEAD 16
CALLED void draw_ahead(const UpdateArgs& a, const Cells& k, u32 cell, u32 group, float* z, float* u) {
    Key key = k.key;
    u32 step = k.step;
    LOOP for (int g = 0; g < AHEAD; ++g) draw_group(a, key, step, cell, group + (u32)g, z + g, u + g, AHEAD);
}

// The pulses of cell l, one by one.
CALLED void step_near_cell(const UpdateArgs& a, const Params& params, const PulseRuns& r, const Cells& k, int l) {
    const Params p = params;
    const Cell c = load_cell(k.record + l, k.stride);
    float z[4 * NOISE + 1][AHEAD], u[4 * UNIFORM + 1][AHEAD], w = k.w[l];
    u32 n = k.first[l], drawn = 0u;
    State none = {};
    for (int q = 0; q < r.n; ++q) {
        bool up = r.word[q][l] >> 31 != 0u;
        for (u32 left = r.word[q][l] & SLOT_MASK; left; --left, ++n) {
            float zn[NOISE + 1], un[UNIFORM + 1];
            if ((n >> 2) >= drawn) {
                draw_ahead(a, k, k.cell[l], n >> 2, &z[0][0], &u[0][0]);
                drawn = (n >> 2) + AHEAD;
            }
            u32 g = (n >> 2) + AHEAD - drawn;
            for (int m = 0; m < NOISE; ++m) zn[m] = z[(n & 3u) * NOISE + m][g];
            for (int m = 0; m < UNIFORM; ++m) un[m] = u[(n & 3u) * UNIFORM + m][g];
            pulse_once(w, p, c, none, up, zn, un);
        }
    }
    k.w[l] = w;
    k.first[l] = n;
}
FN void step_near_cells(const UpdateArgs& a, const Params& p, const PulseRuns& r, u32 mask, const Cells& k) {
    for (; mask; mask &= mask - 1u) step_near_cell(a, p, r, k, __builtin_ctz(mask));
}

// As many pulses as find room in a string of a cell.
#define STRING_BITS 60

// The pulses of sixteen cells one by one, in lockstep: strings of them are filled and applied in turn.
template <int S> CALLED void step_runs(const UpdateArgs& a, const Params& p, const PulseRuns& runs, const Lockstep<WIDE, S>& k) {
    u32 filled = 0u, room = min_u(runs.most, SLOTS);
    LOOP for (int l = 0; l < WIDE; ++l) k.count[l] = 0u;
    LOOP for (int l = 0; l < WIDE; ++l) k.bits[l] = 0u;
    for (int q = 0; q < runs.n; ++q) {
        WideBits word, most = {}, left;
        fetch(word, runs.word[q]);
        most = most + (u32)SLOTS;
        for (left = word & SLOT_MASK; some(left); left = choose(left > most, left - most, left - left)) {
            u32 now[WIDE], up[WIDE];
            put(now, choose(left > most, most, left));
            put(up, word >> 31);
            if (filled + room > STRING_BITS) {
                step_waiting(a, p, k, WIDE, false);
                filled = 3u;
            }
            LOOP for (int l = 0; l < WIDE; ++l) k.bits[l] = k.bits[l] | (u64)(((1u << now[l]) - 1u) & (0u - up[l])) << (u64)k.count[l];
            LOOP for (int l = 0; l < WIDE; ++l) k.count[l] += now[l];
            filled += room;
        }
    }
    step_waiting(a, p, k, WIDE, true);
}
#endif
