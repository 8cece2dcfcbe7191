// Pulses that cannot jump on thirty-two cells of a slice: strings of them, applied in lockstep.
// Taken in after block_pulses.cuh, inside the namespace of the fast device.
#include "transfer/block_pulses.cuh"

// Random trains without choppers of the lines, for the first N replicas: most walks take this way.
template <int N> FN void append_random(const u32* others, u32 own, u32 turn, int lines, PendingPulses& g) {
    Laned<u32> both;
    u32 any = 0u;
    LANES_UP_TO(l, N) {
        both[l] = (l < lines ? others[l] : 0u) & own & SLOT_MASK;
        any |= both[l];
    }
    if (!lanes_flag(any != 0u)) return;
    LANES_UP_TO(l, N) {
        u32 some = popcount(both[l]), up = ((own ^ (l < lines ? others[l] : 0u)) >> 31) ^ turn;
        u32 ones = ((1u << some) - 1u) & (0u - (up & 1u));
        g.bits[l] = g.bits[l] | (u64)ones << (u64)g.count[l];
        g.count[l] += some;
    }
}

// Rows of words lie in one room, so that reading a few words beyond a row is harmless.
CALLED void append_word(const UpdateArgs& a, const SliceStrip& s, const TrainView& m, PendingPulses& g, i64 b, int part) {
    const Amplitude& plan = a.plans[b];
    bool random = a.type == STOCHASTIC;
    i64 row = b * a.words + (random ? part : 0);
    u32 own = m.line[row * m.line_stride], skip = random ? 0u : (u32)(part * SLOTS), rising = plan.down ? 1u : 0u;
    const u32* others = m.crossing + row * m.crossing_stride;
    if (random && !m.signs) {
        u32 turn = m.chop ^ 1u ^ rising;
        if (s.lines <= 16) append_random<16>(others, own, turn, s.lines, g);
        else append_random<32>(others, own, turn, s.lines, g);
        return;
    }
    Laned<u32> n, turn, hits;
    LANES(l) hits[l] = 0u;
    LANES_OF(l, s.lines) hits[l] = l < s.lines && (others[l] & (random ? own : SLOT_MASK) & SLOT_MASK) != 0u ? 1u : 0u;
    if (!lanes_flag(lanes_any(hits))) return;
    LANES(l) turn[l] = m.chop;
    if (m.signs) LANES_OF(l, s.lines) turn[l] = m.chop ^ (l < s.lines ? m.signs[b * m.sign_stride + l] : 0u);
    if (random) LANES_OF(l, s.lines) n[l] = popcount(own & others[l] & SLOT_MASK);
    else LANES_OF(l, s.lines) {
        u32 all = m.by_columns ? pulses_of(a.type, own, others[l], plan.length) : pulses_of(a.type, others[l], own, plan.length);
        n[l] = min_u(all > skip ? all - skip : 0u, SLOTS);
    }
    LANES_OF(l, s.lines) {
        u32 some = hits[l] != 0u ? n[l] : 0u, up = ((own ^ others[l]) >> 31) ^ turn[l] ^ 1u ^ rising;
        u32 ones = ((1u << some) - 1u) & (0u - (up & 1u));
        g.bits[l] = g.bits[l] | (u64)ones << (u64)g.count[l];
        g.count[l] += some;
    }
}

FN float most_pulses(PendingPulses& g) {
    Laned<float> count;
    LANES(l) count[l] = (float)(int)g.count[l];
    return lanes_max(count);
}

// Pulses one by one, up to sixty of a cell in a string of bits.
CALLED void walk_steps(const UpdateArgs& a, const SliceStrip& s, const TrainView& m, SliceCells& k, Laned<u32>& first) {
    PendingPulses g;
    g.most = 0.0f;
    LANES(l) {
        g.bits[l] = 0u;
        g.count[l] = 0u;
        g.first[l] = first[l];
    }
    for (i64 b = m.from; b < m.to; ++b) {
        int length = a.plans[b].length;
        for (int part = 0; part * SLOTS < length; ++part) {
            if ((m.line[(b * a.words + (a.type == STOCHASTIC ? part : 0)) * m.line_stride] & SLOT_MASK) == 0u) continue;
            float room = (float)(length - part * SLOTS < SLOTS ? length - part * SLOTS : SLOTS);
            if (g.most + room > (float)PENDING_BITS) g.most = most_pulses(g);
            if (g.most + room > (float)PENDING_BITS) apply_pending(a, k, g, false);
            append_word(a, s, m, g, b, part);
            g.most = g.most + room;
        }
    }
    apply_pending(a, k, g, true);
    LANES(l) first[l] = g.first[l];
}
