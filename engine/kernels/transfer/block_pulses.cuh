// Pulses on the cells of a block: in lockstep one by one, or in jumps. Taken in after block.cuh.
#include "block.cuh"
#include "update/coincidence.cuh"
#include "update/jump_cells.cuh"

// Applies `count` pulses to each cell one by one, four draws at a time.
CALLED void step_block(const UpdateArgs& a, Block& k, Laned<u64>& bits, Laned<u32>& count, Laned<u32>& first) {
    const Params p = a.params[0];
    Key key = key_of(a.frozen[0]);
    u32 step = a.frozen[0].step;
    Laned<float> groups, z[4 * NOISE + 1], u[4 * UNIFORM + 1];
    LANES(l) groups[l] = count[l] != 0u ? (float)(int)(((first[l] + count[l] + 3u) >> 2) - (first[l] >> 2)) : 0.0f;
    int most = (int)lanes_max(groups);
    if (!a.noise_on) for (int m = 0; m < 4 * NOISE; ++m) LANES(l) z[m][l] = 0.0f;
    for (int g = 0; g < most; ++g) {
        LANES_OF(l, k.lines) draw_group(a, key, step, k.cell[l], (first[l] >> 2) + g, &z[0][l], &u[0][l], LANE_STRIDE);
        for (int q = 0; q < 4; ++q) LANES_OF(l, k.lines) {
            u32 n = 4u * ((first[l] >> 2) + g) + q - first[l];
            bool live = n < count[l], up = ((u32)(bits[l] >> (u64)(n & 63u)) & 1u) != 0u;
            Cell c = load_cell(&k.record[0][l], LANE_STRIDE);
            State s = load_state(&k.record[0][l], LANE_STRIDE);
            float w = k.w[l], zq[NOISE + 1], uq[UNIFORM + 1];
            for (int m = 0; m < NOISE; ++m) zq[m] = z[q * NOISE + m][l];
            for (int m = 0; m < UNIFORM; ++m) uq[m] = u[q * UNIFORM + m][l];
            pulse_once(w, p, c, s, up, zq, uq);
            k.w[l] = pick(live, w, k.w[l]);
            if (STATE_PULSED && live) store_state(&k.record[0][l], LANE_STRIDE, s);
        }
    }
}

// Group g of a block.
FN Cells cells_of(const UpdateArgs& a, Block& k, int g, Laned<u32>& first) {
    int at = g * WIDE;
    return {key_of(a.frozen[0]), a.frozen[0].step, &k.w[at], &k.record[0][at], LANE_STRIDE, &k.cell[at], &first[at]};
}

// Applies `count` equal pulses to each cell, at most `most`. Number n of the pulses of a cell has draw n.
CALLED void pulse_block(const UpdateArgs& a, Block& k, Laned<u64>& bits, Laned<u32>& count, Laned<u32>& first, u32 most) {
    const Params p = a.params[0];
    if (!can_jump(a, p)) {
        step_block(a, k, bits, count, first);
        return;
    }
    Laned<u32> near, up;
    LANES(l) {
        near[l] = 0u;
        up[l] = (u32)bits[l] & 1u;
    }
    WIDES(g, k.lines) {
        Cells cells = cells_of(a, k, g, first);
        Ways<Wide> ways;
        Wide w;
        WideBits n, rises;
        load_ways(p, cells.record, cells.stride, ways);
        fetch(w, cells.w);
        fetch(n, &count[g * WIDE]);
        fetch(rises, &up[g * WIDE]);
        Course<Wide> t = course_of(w);
        follow(t, ways, rises != 0u, n, most);
        put(&near[g * WIDE], land(a, cells, ways, t, n));
    }
    LANES(l) count[l] = near[l] != 0u ? count[l] : 0u;
    if (lanes_flag(lanes_any(near))) step_block(a, k, bits, count, first);
}

// Applies pulses that are pending: all of them, or up to the last one that ends a group of four.
CALLED void spend(const UpdateArgs& a, Block& k, Pending& g, bool all) {
    Laned<u32> now;
    Laned<float> left;
    LANES(l) {
        u32 whole = ((g.first[l] + g.count[l]) & ~3u) - g.first[l];
        now[l] = all ? g.count[l] : (int)whole > 0 ? whole : 0u;
    }
    step_block(a, k, g.bits, now, g.first);
    LANES(l) {
        g.first[l] += now[l];
        g.count[l] -= now[l];
        g.bits[l] = now[l] < 64u ? g.bits[l] >> (u64)now[l] : 0u;
        left[l] = (float)(int)g.count[l];
    }
    g.most = lanes_max(left);
}
