// Pulses on the cells of a warp, one by one. Draws are those of steps.cuh, so the results are as well.
#include "warp_cells.cuh"
#include "update/steps.cuh"

// A cell that waits with more pulses makes all go on.
#define QUEUE_LIMIT 32

// Pulses not applied yet: a bit for each (1 = up), and their number.
struct PulseQueue { Laned<u64> bits; Laned<u32> count; };

FN bool any_above(Laned<u32>& count, u32 most) {
    Laned<u32> over;
    LANES(l) over[l] = count[l] > most ? 1u : 0u;
    return lanes_flag(lanes_any(over));
}

// How many of the next four draws of cell l its pulses take: up to the end of a group of four, or fewer if `all`.
FN u32 due_draws(WarpCells& c, PulseQueue& g, int l, bool all) {
    u32 room = 4u - (c.first[l] & 3u), some = min_u(g.count[l], room);
    return all || some == room ? some : 0u;
}

// The pulses of one group of draws.
GPU_FN void apply_group(WarpCells& c, PulseQueue& g, bool all, Laned<float>* z, Laned<float>* u) {
    LANES(l) {
        u32 begin = c.first[l] & 3u, take = due_draws(c, g, l, all);
        if (take != 0u) {
            State s = c.s[l];
            float w = c.w[l];
            u32 due = ((1u << take) - 1u) << begin;
            pulse_group(c.p, load_cell(c.record[l], 1), (u32)g.bits[l] << begin, due, &z[0][l], &u[0][l], LANE_STRIDE, s, w);
            c.w[l] = w;
            c.s[l] = s;
        }
        c.first[l] += take;
        g.count[l] -= take;
        g.bits[l] = g.bits[l] >> take;
    }
}

// Draws for the cells that have pulses, and the pulses that they serve. Where such cells are half of them or fewer, the
// threads of others draw for them: 2^shift groups for each in turn.
GPU_FN void draw_and_step(WarpCells& c, PulseQueue& g, bool all) {
    Laned<u32> have, owner, rank, cell, next, from;
    Laned<float> z[4 * NOISE + 1], u[4 * UNIFORM + 1], own_z[4 * NOISE + 1], own_u[4 * UNIFORM + 1];
    LANES(l) {
        have[l] = due_draws(c, g, l, all);
        cell[l] = c.cell[l];
        next[l] = c.first[l] >> 2;
    }
    u32 mask = lanes_mask(have), n = popcount(mask), shift = 0u;
    if (n <= 16u) {
        shift = n > 1u ? 4u - (u32)last_bit(n - 1u) : 5u;
        WARP_LIST(u32, owners, 32);
        lanes_sync();
        LANES(l) {
            rank[l] = popcount(mask & ((1u << l) - 1u));
            if (have[l] != 0u) owners[rank[l]] = (u32)l;
        }
        lanes_sync();
        LANES(l) owner[l] = (u32)l >> shift < n ? owners[(u32)l >> shift] : 0u;
        Laned<u32> its_cell, its_next;
        lanes_from(cell, owner, its_cell);
        lanes_from(next, owner, its_next);
        LANES(l) {
            cell[l] = its_cell[l];
            next[l] = its_next[l] + ((u32)l & ((1u << shift) - 1u));
        }
    }
    for (int q = 0; q < 4 * NOISE; ++q) LANES(l) own_z[q][l] = 0.0f;
    LANES(l) draw_group(c.a, c.key, c.step, cell[l], next[l], &own_z[0][l], &own_u[0][l], LANE_STRIDE);
    for (u32 t = 0u; t < 1u << shift; ++t) {
        for (int q = 0; q < 4 * NOISE; ++q) LANES(l) z[q][l] = own_z[q][l];
        for (int q = 0; q < 4 * UNIFORM; ++q) LANES(l) u[q][l] = own_u[q][l];
        if (n <= 16u) {
            LANES(l) from[l] = ((rank[l] << shift) + t) & 31u;
            for (int q = 0; q < 4 * NOISE; ++q) lanes_from(own_z[q], from, z[q]);
            for (int q = 0; q < 4 * UNIFORM; ++q) lanes_from(own_u[q], from, u[q]);
        }
        apply_group(c, g, all, z, u);
        LANES(l) have[l] = due_draws(c, g, l, all);
        if (!lanes_flag(lanes_any(have))) break;
    }
}

// The samples of a stretch whose line fires, 32 at a time: `left` are still to come.
struct SampleCursor {
    i64 base, to;
    u32 left;
    // Samples that are looked up together, and slots that the longest of their trains has.
    u32 together;
    SampleBlock g;
};
GPU_FN bool find_sample(WarpCells& c, SampleCursor& f) {
    while (f.left == 0u) {
        f.base += 32;
        if (f.base >= f.to) return false;
        load_sample_block(c, f.base, f.to, f.g);
        f.left = f.g.fires;
        // So many trains find room in a queue that holds QUEUE_LIMIT pulses.
        f.together = any_above(f.g.length, 15u) ? 1u : (any_above(f.g.length, 7u) ? 2u : 4u);
    }
    return true;
}

// Queues the pulses of up to N samples whose trains are plain; `keep` are the slots that count, none for cells that are not
// chosen. There is no branch on whether there is a sample, see advance_next.
template <int N> GPU_FN void queue_plain(WarpCells& c, SampleCursor& f, Laned<u32>& keep, PulseQueue& q) {
    Laned<u32> word[N];
    u32 own[N];
    int at = 0;
    UNROLLED for (int k = 0; k < N; ++k) {
        at = f.left != 0u ? first_bit(f.left | 0x80000000u) : at;
        own[k] = lanes_at(f.g.line, at);
        own[k] = f.left != 0u ? own[k] : 0u;
        LANES(l) word[k][l] = c.crossing[l][(f.base + at) * c.m.crossing_stride];
        f.left &= f.left - 1u;
    }
    UNROLLED for (int k = 0; k < N; ++k) LANES(l) {
        u32 n = popcount(word[k][l] & own[k] & keep[l]), falls = (u32)((int)~(word[k][l] ^ own[k]) >> 31);
        q.bits[l] = q.bits[l] | (u64)(((1u << n) - 1u) & ~falls) << q.count[l];
        q.count[l] += n;
    }
}
// The pulses of one sample of any trains: as many as a word has slots, and what is left in n.
GPU_FN void queue_sample(WarpCells& c, SampleCursor& f, Laned<u32>& keep, PulseQueue& q, Laned<u32>& n, Laned<u32>& up) {
    if (!any_above(n, 0u)) {
        Laned<u32> unused;
        count_sample(c, f.g, f.base, first_bit(f.left), 0u, unused, n, up);
        LANES(l) n[l] = keep[l] != 0u ? n[l] : 0u;
        f.left &= f.left - 1u;
    }
    LANES(l) {
        u32 some = min_u(n[l], SLOTS), ones = ((1u << some) - 1u) & (0u - (up[l] & 1u));
        q.bits[l] = q.bits[l] | (u64)ones << q.count[l];
        q.count[l] += some;
        n[l] -= some;
    }
}

// The pulses of samples from .. to - 1 on the cells that `chosen` marks, one by one: they wait in queues until a cell has
// many, so that few threads idle while pulses are applied.
GPU_FN void step_cells(WarpCells& c, i64 from, i64 to, Laned<u32>& chosen) {
    PulseQueue q;
    SampleCursor f;
    Laned<u32> keep, n, up;
    f.base = from - 32;
    f.to = to;
    f.left = 0u;
    LANES(l) {
        q.bits[l] = 0u;
        q.count[l] = n[l] = up[l] = 0u;
        keep[l] = chosen[l] != 0u ? SLOT_MASK : 0u;
    }
    for (bool more = true;;) {
        while (more && !any_above(q.count, QUEUE_LIMIT)) {
            bool rest = any_above(n, 0u);
            more = rest || find_sample(c, f);
            if (!more) break;
            if (rest || !f.g.plain) queue_sample(c, f, keep, q, n, up);
            else if (f.together == 4u) queue_plain<4>(c, f, keep, q);
            else if (f.together == 2u) queue_plain<2>(c, f, keep, q);
            else queue_plain<1>(c, f, keep, q);
        }
        if (!more && !any_above(q.count, 0u)) break;
        draw_and_step(c, q, !more);
    }
}
