// Pulses on the cells of a block: in lockstep one by one, or in jumps. Taken in after block.cuh.

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

// The pulses of one cell that must not jump. A CPU makes its draws first, all at once.
CALLED void step_lane(const UpdateArgs& a, const Params& p, Block& k, int l, const Pulses& g) {
    enum { AHEAD = LANE_STRIDE == 1 ? 1 : 8 };
    float z[4 * AHEAD * NOISE + 1], w = k.w[l], none = 0.0f;
    Cell c = load_cell(&k.record[0][l], LANE_STRIDE);
    State s = {};
    for (u32 n = 0; n < g.count; ++n) {
        u32 at = (g.first + n) % (4u * AHEAD);
        if (n == 0u || at == 0u) LOOP for (u32 m = 0; m < AHEAD; ++m)
            draw_group(a, g.key, g.step, g.cell, ((g.first + n) / (4u * AHEAD)) * AHEAD + m, z + 4 * m * NOISE, &none, 1);
        pulse_once(w, p, c, s, ((g.bits >> n) & 1u) != 0u, z + at * NOISE, &none);
    }
    k.w[l] = w;
}

// What a pulse in one direction does to each cell, and where pulses take them.
struct Affines { Laned<float> shift, slope, keep, variance; };
struct Courses { Laned<float> mean, variance, widest, low, high; };

CALLED void chart_block(const Params& p, Block& k, Laned<u32>& bits, Laned<u32>& count, Courses& t) {
    Affines up, down;
    Laned<float> most;
    LANES_OF(l, k.lines) {
        Cell c = load_cell(&k.record[0][l], LANE_STRIDE);
        Affine u = affine_of(p, c, true), d = affine_of(p, c, false);
        up.shift[l] = u.shift; up.slope[l] = u.slope; up.keep[l] = u.keep; up.variance[l] = u.variance;
        down.shift[l] = d.shift; down.slope[l] = d.slope; down.keep[l] = d.keep; down.variance[l] = d.variance;
        t.mean[l] = t.low[l] = t.high[l] = k.w[l];
        t.variance[l] = t.widest[l] = 0.0f;
    }
    LANES(l) most[l] = (float)(int)count[l];
    u32 longest = (u32)(int)lanes_max(most);
    for (u32 n = 0; n < longest; ++n) LANES_OF(l, k.lines) {
        bool rises = ((bits[l] >> n) & 1u) != 0u, live = n < count[l];
        Course c = {t.mean[l], t.variance[l], t.widest[l], t.low[l], t.high[l]};
        float shift = rises ? up.shift[l] : down.shift[l], slope = rises ? up.slope[l] : down.slope[l];
        float keep = rises ? up.keep[l] : down.keep[l], variance = rises ? up.variance[l] : down.variance[l];
        advance(c, live ? shift : 0.0f, live ? slope : 0.0f, live ? keep : 1.0f, live ? variance : 0.0f);
        t.mean[l] = c.mean;
        t.variance[l] = c.variance;
        t.widest[l] = c.widest;
        t.low[l] = c.low;
        t.high[l] = c.high;
    }
}

// Applies the `count` lowest of `bits` to each cell in one jump, or one by one where a bound is within reach.
CALLED void jump_block(const UpdateArgs& a, Block& k, Laned<u32>& bits, Laned<u32>& count, Laned<u32>& first) {
    const Params p = a.params[0];
    Key key = key_of(a.frozen[0]);
    u32 step = a.frozen[0].step;
    Courses t;
    Laned<u32> near;
    chart_block(p, k, bits, count, t);
    LANES(l) near[l] = 0u;
    LANES_OF(l, k.lines) {
        Course c = {t.mean[l], t.variance[l], t.widest[l], t.low[l], t.high[l]};
        float low, high, to = landing(c, pulse_normal(a, key, step, k.cell[l], first[l]));
        bounds_of(p, load_cell(&k.record[0][l], LANE_STRIDE), low, high);
        bool some = count[l] != 0u, open = is_free(c, low, high);
        near[l] = some && !open ? 1u : 0u;
        k.w[l] = pick(some && open, to, k.w[l]);
    }
    if (!lanes_any(near)) return;
    LANES(l) if (l < k.lines && near[l] != 0u) step_lane(a, p, k, l, {key, step, k.cell[l], first[l], count[l], bits[l]});
}

// Applies `count` pulses to each cell. Number n of the pulses of a cell in a call has draw n, wherever it stands.
CALLED void pulse_block(const UpdateArgs& a, Block& k, Laned<u64>& bits, Laned<u32>& count, Laned<u32>& first) {
    if (!can_jump(a, a.params[0])) { step_block(a, k, bits, count, first); return; }
    Laned<u32> done, now, at, some;
    LANES(l) done[l] = 0u;
    for (;;) {
        LANES(l) {
            at[l] = first[l] + done[l];
            now[l] = min_u(JUMP - (at[l] & (JUMP - 1u)), count[l] - done[l]);
            some[l] = (u32)(bits[l] >> (u64)(done[l] & 63u));
            done[l] += now[l];
        }
        if (!lanes_flag(lanes_any(now))) return;
        jump_block(a, k, some, now, at);
    }
}

// Applies pulses that are pending: all of them, or up to the last one that ends a group.
CALLED void spend(const UpdateArgs& a, const Strip& s, Block& k, Pending& g, bool all) {
    if (!g.loaded) load_block(a, s, k);
    g.loaded = true;
    Laned<u32> now;
    Laned<float> left;
    LANES(l) {
        u32 whole = ((g.first[l] + g.count[l]) & ~(JUMP - 1u)) - g.first[l];
        now[l] = all ? g.count[l] : (int)whole > 0 ? whole : 0u;
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
