// Pulses on the cells of a squad, one by one: draws of window.cuh, so its results as well. Taken in after squad.cuh.

// A cell that waits with more pulses makes all go on.
#define WAITING 32

// Pulses not applied yet: a bit for each (1 = up), and their number.
struct Queue { Laned<u64> bits; Laned<u32> count; };

FN bool any_beyond(Laned<u32>& count, u32 most) {
    Laned<u32> over;
    LANES(l) over[l] = count[l] > most ? 1u : 0u;
    return lanes_flag(lanes_any(over));
}

// How many of the next four draws of cell l its pulses take: up to the end of a group of four, or fewer if `all`.
FN u32 taken(Squad& c, Queue& g, int l, bool all) {
    u32 room = 4u - (c.first[l] & 3u), some = min_u(g.count[l], room);
    return all || some == room ? some : 0u;
}

// The pulses of one group of draws.
GPU_FN void apply_group(Squad& c, Queue& g, bool all, Laned<float>* z, Laned<float>* u) {
    LANES(l) {
        u32 begin = c.first[l] & 3u, take = taken(c, g, l, all);
        if (take != 0u) {
            Cell cell = load_cell(c.record[l], 1);
            State s = c.s[l];
            float w = c.w[l], zq[NOISE + 1], uq[UNIFORM + 1];
            u32 bits = (u32)g.bits[l] << begin;
            UNROLLED for (u32 q = 0; q < 4u; ++q) {
                if (q < begin || q >= begin + take) continue;
                for (int m = 0; m < NOISE; ++m) zq[m] = z[q * NOISE + m][l];
                for (int m = 0; m < UNIFORM; ++m) uq[m] = u[q * UNIFORM + m][l];
                pulse_once(w, c.p, cell, s, ((bits >> q) & 1u) != 0u, zq, uq);
            }
            c.w[l] = w;
            c.s[l] = s;
        }
        c.first[l] += take;
        g.count[l] -= take;
        g.bits[l] = g.bits[l] >> take;
    }
}

// Draws for the cells that have pulses, and the pulses that they serve. Where such cells are few, the threads of others
// draw for them: 2^shift groups for each in turn.
GPU_FN void step_round(Squad& c, Queue& g, bool all) {
    Laned<u32> have, owner, rank, cell, group, from;
    Laned<float> z[4 * NOISE + 1], u[4 * UNIFORM + 1], own_z[4 * NOISE + 1], own_u[4 * UNIFORM + 1];
    for (int q = 0; q < 4 * NOISE; ++q) LANES(l) own_z[q][l] = 0.0f;
    LANES(l) have[l] = taken(c, g, l, all);
    u32 mask = lanes_mask(have), n = popcount(mask), shift = 0u;
    while (shift < 5u && n << (shift + 1u) <= 32u) ++shift;
    LANES(l) {
        owner[l] = (u32)l;
        rank[l] = shift == 0u ? (u32)l : popcount(mask & ((1u << l) - 1u));
    }
    u32 number = 0u;
    for (u32 left = shift == 0u ? 0u : mask; left; left &= left - 1u, ++number)
        LANES(l) owner[l] = (u32)l >> shift == number ? (u32)first_bit(left) : owner[l];
    lanes_from(c.cell, owner, cell);
    lanes_from(c.first, owner, group);
    LANES(l) {
        u32 next = (group[l] >> 2) + ((u32)l & ((1u << shift) - 1u));
        draw_group(c.a, c.key, c.step, cell[l], next, &own_z[0][l], &own_u[0][l], LANE_STRIDE);
    }
    for (u32 t = 0u; t < 1u << shift; ++t) {
        LANES(l) from[l] = ((rank[l] << shift) + t) & 31u;
        for (int q = 0; q < 4 * NOISE; ++q) lanes_from(own_z[q], from, z[q]);
        for (int q = 0; q < 4 * UNIFORM; ++q) lanes_from(own_u[q], from, u[q]);
        apply_group(c, g, all, z, u);
        LANES(l) have[l] = taken(c, g, l, all);
        if (!lanes_flag(lanes_any(have))) break;
    }
}

// The pulses of samples from .. to - 1 on the cells that `chosen` marks, one by one.
GPU_FN void step_squad(Squad& c, i64 from, i64 to, Laned<u32>& chosen) {
    Queue q;
    Sight g;
    LANES(l) {
        q.bits[l] = 0u;
        q.count[l] = 0u;
    }
    for (i64 base = from; base < to; base += 32) {
        look(c, base, to, g);
        Laned<u32> word, next, n, up;
        if (g.plain && g.fires) fetch_others(c, base + first_bit(g.fires), next);
        for (u32 left = g.fires; left;) {
            int at = first_bit(left);
            LANES(l) word[l] = next[l];
            left &= left - 1u;
            if (g.plain && left) fetch_others(c, base + first_bit(left), next);
            pulses_at(c, g, base, at, lanes_at(g.own, at), word, n, up);
            LANES(l) n[l] = chosen[l] != 0u ? n[l] : 0u;
            do {
                LANES(l) {
                    u32 some = min_u(n[l], SLOTS), ones = ((1u << some) - 1u) & (0u - (up[l] & 1u));
                    q.bits[l] = q.bits[l] | (u64)ones << q.count[l];
                    q.count[l] += some;
                    n[l] -= some;
                }
                while (any_beyond(q.count, WAITING)) step_round(c, q, false);
            } while (any_beyond(n, 0u));
        }
    }
    while (any_beyond(q.count, 0u)) step_round(c, q, true);
}
