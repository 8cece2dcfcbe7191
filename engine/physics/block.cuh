// Thirty-two cells of a slice in lockstep, with their pulses: a warp on a GPU, vectors on a CPU.
// Taken in once for each device of a unit, inside the namespace of that device.

enum { record_size = RECORD };
struct Block {
    Laned<float> w, record[RECORD + 1];
    Laned<u32> cell;
    int lines;
};
// Pulses not applied yet: a bit for each (1 = up) and their number; `first` pulses of the call came before.
struct Pending {
    Laned<u64> bits;
    Laned<u32> count, first;
    float most;
    bool loaded;
};

CALLED void load_block(const UpdateArgs& a, const Strip& s, Block& k) {
    k.lines = s.lines;
    LANES_OF(l, s.lines) {
        i64 at = s.first + (l < s.lines ? l : 0) * s.stride;
        k.cell[l] = (u32)at;
        for (int f = 0; f < RECORD; ++f) k.record[f][l] = a.cells[at * RECORD + f];
        k.w[l] = hidden_weight(a.w[at], load_state(&k.record[0][l], LANE_STRIDE));
    }
}

// Writes back the cells that `touched` marks; n > 0 numbers the writes of a strip within the call.
CALLED void store_block(const UpdateArgs& a, const Strip& s, Block& k, Laned<u32>& touched, u32 n) {
    Laned<float> seen;
#if WRITE_NOISE
    Laned<float> z;
    float sigma = a.params[0].write_noise_std * a.params[0].dw_min;
    shared_normals(key_of(a.frozen[0]), {a.call, a.frozen[0].step, WRITE}, s.number << 2, n, z);
    LANES(l) {
        State state = load_state(&k.record[0][l], LANE_STRIDE);
        state.persistent = k.w[l];
        store_state(&k.record[0][l], LANE_STRIDE, state);
        seen[l] = k.w[l] + sigma * z[l];
    }
#else
    LANES(l) seen[l] = k.w[l];
#endif
    LANES_OF(l, s.lines) if (l < s.lines && touched[l] != 0u) {
        i64 at = s.first + l * s.stride;
        a.w[at] = seen[l];
        for (int f = CELL_FLOATS; f < RECORD; ++f) a.cells[at * RECORD + f] = k.record[f][l];
    }
}

// Applies `count` pulses to each cell. Number n of the pulses of a cell in a call has draw n, wherever it stands.
CALLED void pulse_block(const UpdateArgs& a, Block& k, Laned<u64>& bits, Laned<u32>& count, Laned<u32>& first) {
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
            k.w[l] = live ? w : k.w[l];
            if (STATE_PULSED && live) store_state(&k.record[0][l], LANE_STRIDE, s);
        }
    }
}

// Applies pulses that are pending: all of them, or at most `limit` of each cell, up to the end of a group of draws.
CALLED void spend(const UpdateArgs& a, const Strip& s, Block& k, Pending& g, u32 limit) {
    if (!g.loaded) load_block(a, s, k);
    g.loaded = true;
    Laned<u32> now;
    Laned<float> left;
    LANES(l) {
        u32 whole = ((g.first[l] + g.count[l]) & ~3u) - g.first[l], most = limit - (g.first[l] & 3u);
        u32 some = (int)whole > 0 ? (whole < most ? whole : most) : 0u;
        now[l] = limit == 0u ? g.count[l] : some;
    }
    pulse_block(a, k, g.bits, now, g.first);
    LANES(l) {
        g.first[l] += now[l];
        g.count[l] -= now[l];
        g.bits[l] = now[l] < 64u ? g.bits[l] >> (u64)now[l] : 0u;
        left[l] = (float)(int)g.count[l];
    }
    g.most = lanes_max(left);
}

// Puts the cells of the strip back to their reset value: b_reset + reset_std z, within their bounds.
CALLED void reset_block(const UpdateArgs& a, const Strip& s, u32 n) {
    Block k;
    Laned<float> z;
    Laned<u32> all;
    load_block(a, s, k);
    shared_normals(key_of(a.frozen[0]), {a.call, a.frozen[0].step, RESET}, s.number << 2, n, z);
    LANES_OF(l, s.lines) {
        Cell c = load_cell(&k.record[0][l], LANE_STRIDE);
        k.w[l] = c.reset_bias + a.params[0].reset_std * z[l];
        bound_weight(k.w[l], c);
        all[l] = 1u;
    }
    store_block(a, s, k, all, 0x20000000u + n);
}
