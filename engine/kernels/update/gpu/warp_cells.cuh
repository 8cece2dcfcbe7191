// Thirty-two neighbouring cells that a GPU works on in lockstep, a thread a cell, and what the samples bring them.
#include "update/coincidence.cuh"

// The cells on their way: `lines` of them are there, and the first one takes the places of others. The words of the line
// that crosses cell l lie from other[l] on, its constants from record[l] on; it has had `first` pulses.
struct WarpCells {
    const UpdateArgs& a;
    const Params& p;
    TrainView m;
    int lines;
    Key key;
    u32 step;
    Laned<u32> cell, first;
    Laned<const u32*> crossing;
    Laned<const float*> record;
    Laned<State> s;
    Laned<float> w;
};

// What the line of the cells brings in samples base .. base + 31: its word with the top bit set where an equal sign of the
// other line means a pulse down, the length of the trains, and the slots up to the end of each.
struct SampleBlock {
    Laned<u32> line, length, ends;
    u32 fires;
    bool plain;
};
GPU_FN void load_sample_block(const WarpCells& c, i64 base, i64 to, SampleBlock& g) {
    const TrainView& m = c.m;
    g.plain = c.a.type == STOCHASTIC && c.a.words == 1 && !m.signs;
    Laned<u32> any;
    LANES(l) {
        i64 b = base + l;
        bool there = b < to;
        u32 length = there ? (u32)m.plans[b].length : 0u, own = 0u;
        if (g.plain && length != 0u) own = m.line[b * m.line_stride];
        any[l] = own & SLOT_MASK;
        for (int part = 0; !g.plain && part < c.a.words && (u32)(part * SLOTS) < length; ++part)
            any[l] |= m.line[(b * c.a.words + part) * m.line_stride] & SLOT_MASK;
        g.line[l] = there ? own ^ direction_of(m, m.plans[b]) << 31 : 0u;
        g.length[l] = g.ends[l] = length;
    }
    lanes_add_up(g.ends);
    g.fires = lanes_mask(any);
}

FN void fetch_crossing(WarpCells& c, i64 b, Laned<u32>& word) { LANES(l) word[l] = c.crossing[l][b * c.m.crossing_stride]; }

// Cell number, constants, state and weight of a place; `l` counts lines.
FN void load_lane(WarpCells& c, int l, u32 cell, const float* record, float seen) {
    c.cell[l] = cell;
    c.first[l] = 0u;
    c.crossing[l] = c.m.crossing + (l < c.lines ? l : 0);
    c.record[l] = record;
    c.s[l] = load_state(record, 1);
    c.w[l] = hidden_weight(seen, c.s[l]);
}

// Pulses of sample base + at on all cells, and whether they go up; `word` are those of the other lines if trains are plain.
GPU_FN void count_sample(WarpCells& c, const SampleBlock& g, i64 base, int at, u32 own, Laned<u32>& word, Laned<u32>& n, Laned<u32>& up) {
    LANES(l) {
        if (g.plain) {
            n[l] = coincidences(word[l], own);
            up[l] = (word[l] ^ own) >> 31;
        } else {
            n[l] = pulses_in(c.a, c.m, base + at, AdjacentLines{l < c.lines ? l : 0, c.lines}, up[l]);
        }
    }
}
