// From the words of a window's samples to pulses of cells, followed on their way or applied one by one.

// Cells of a line that is their own, crossed by other lines: words of both, part k of sample b in row b words + k.
// Samples from .. to - 1, or those that `picked` names by these numbers. `signs` and `chop` are those of choppers.
struct Stretch {
    const u32 *own, *other, *signs;
    const Amplitude* plans;
    const int* picked;
    i64 own_lines, other_lines, sign_lines, from, to;
    u32 chop;
    bool by_columns;
    const float* rates;
};
FN i64 sample_of(const Stretch& m, i64 n) { return m.picked ? m.picked[n] : n; }
// Where a cell draws, from its pulse number `first` in this call on.
struct Drawer { Key key; u32 step, cell, first; };

// Other lines from `at` on, of which those beyond `lines` have no pulses; or those of a list.
struct Neighbours { i64 at, lines; };
struct Listed { const u32* list; };
FN void fetch_words(u32& to, const u32* row, const Neighbours& k) { to = k.at < k.lines ? row[k.at] : 0u; }
FN u32 counted(int type, u32 own, u32 other, bool by_columns, int length) {
    return by_columns ? pulses_of(type, own, other, length) : pulses_of(type, other, own, length);
}
#if WIDE > 1
FN void fetch_words(WideBits& to, const u32* row, const Neighbours& k) {
    if (k.at + WIDE <= k.lines) {
        fetch(to, row + k.at);
        return;
    }
    u32 all[WIDE];
    for (int l = 0; l < WIDE; ++l) all[l] = k.at + l < k.lines ? row[k.at + l] : 0u;
    fetch(to, all);
}
FN void fetch_words(WideBits& to, const u32* row, const Listed& k) {
    u32 all[WIDE];
    LOOP for (int l = 0; l < WIDE; ++l) all[l] = row[k.list[l]];
    fetch(to, all);
}
FN WideBits counted(int type, u32 own, WideBits other, bool by_columns, int length) {
    u32 n[WIDE];
    put(n, other);
    LOOP for (int l = 0; l < WIDE; ++l) n[l] = counted(type, own, n[l], by_columns, length);
    fetch(other, n);
    return other;
}
#endif

// 1 where equal signs of both lines mean a pulse up.
FN u32 turn_of(const Stretch& m, const Amplitude& plan) { return m.chop ^ 1u ^ (plan.down ? 1u : 0u); }

// Pulses of sample b on the cells that other lines cross, and whether they go up.
template <class N, class L> FN N pulses_in(const UpdateArgs& a, const Stretch& m, i64 b, const L& lines, N& up) {
    const Amplitude& plan = m.plans[b];
    N n = {}, word = {}, turn = {};
    u32 own = 0u;
    for (int part = 0; part < a.words && part * SLOTS < plan.length; ++part) {
        i64 row = b * a.words + part;
        u32 fires = m.own[row * m.own_lines];
        if ((fires & SLOT_MASK) == 0u) continue;
        own = fires;
        fetch_words(word, m.other + row * m.other_lines, lines);
        if (a.type != STOCHASTIC) {
            n = counted(a.type, own, word, m.by_columns, plan.length);
            break;
        }
        n = n + popcount(word & (own & SLOT_MASK));
    }
    if (m.signs) fetch_words(turn, m.signs + b * m.sign_lines, lines);
    up = ((word ^ (own ^ turn_of(m, plan) << 31)) >> 31) ^ turn;
    return n;
}

// The course of a cell through samples from .. to - 1; returns the number of its pulses.
FN u32 chart(const UpdateArgs& a, const Stretch& m, const Neighbours& line, const Ways<float>& k, Course<float>& t) {
    u32 count = 0u;
    for (i64 b = m.from; b < m.to; ++b) {
        u32 up, n = pulses_in(a, m, b, line, up);
        if (n == 0u) continue;
        follow(t, k, up != 0u, n, (u32)m.plans[b].length);
        count += n;
    }
    return count;
}

// Draws of a cell that is stepped: number n comes next. `z` are the normals of two pulses, which are made when the first of
// them comes; `rest` are the words of those of the next two, where they share a block.
struct Steps {
    u32 n, rest[2];
    float z[2 * NOISE + 1], u[4 * UNIFORM + 1];
};
FN Steps steps_from(const Drawer& own) {
    Steps steps = {};
    steps.n = own.first;
    return steps;
}

// The normals of pulses n and n + 1, n even: those of draw_group. Words are drawn again only if `fresh`.
FN void draw_pair(const UpdateArgs& a, const Drawer& own, u32 n, bool fresh, Steps& t) {
    if (!a.noise_on) return;
    for (u32 m = 0; m < NOISE; ++m) {
        u32 pair = (n & 2u) / 2u * NOISE + m, r[4];
        if (NOISE > 1 || (n & 2u) == 0u || fresh) {
            words4(own.key, {a.call, own.step, PULSE}, own.cell, (n >> 2) * NOISE + pair / 2u, r[0], r[1], r[2], r[3]);
            t.rest[0] = r[2];
            t.rest[1] = r[3];
        }
        bool second = (pair & 1u) != 0u;
        normal2(second ? t.rest[0] : r[0], second ? t.rest[1] : r[1], t.z[2 * m], t.z[2 * m + 1]);
    }
}
FN void draw_uniforms(const UpdateArgs& a, const Drawer& own, u32 group, Steps& t) {
    for (u32 m = 0; m < UNIFORM; ++m) {
        u32 r[4];
        words4(own.key, {a.call, own.step, PULSE_UNIFORM}, own.cell, group * UNIFORM + m, r[0], r[1], r[2], r[3]);
        for (int q = 0; q < 4; ++q) t.u[4 * m + q] = uniform_of(r[q]);
    }
}
// One of four neighbours, by choices: a place that is computed would make a GPU keep them in memory.
FN float one_of_four(const float* v, u32 q, int stride) {
    float low = choose((q & 1u) != 0u, v[stride], v[0]), high = choose((q & 1u) != 0u, v[3 * stride], v[2 * stride]);
    return choose((q & 2u) != 0u, high, low);
}

// Equal pulses of a cell, one by one.
FN void step_often(const UpdateArgs& a, const Params& p, const Drawer& own, const Cell& c, Steps& t, bool up, u32 number, State& s,
                   float& w) {
    for (; number != 0u; --number, ++t.n) {
        u32 q = t.n & 3u;
        bool fresh = t.n == own.first;
        if ((q & 1u) == 0u || fresh) draw_pair(a, own, t.n & ~1u, fresh, t);
        if (UNIFORM > 0 && (q == 0u || fresh)) draw_uniforms(a, own, t.n >> 2, t);
        float z[NOISE + 1], u[UNIFORM + 1];
        for (int m = 0; m < NOISE; ++m) z[m] = choose((q & 1u) != 0u, t.z[NOISE + m], t.z[m]);
        for (int m = 0; m < UNIFORM; ++m) u[m] = one_of_four(t.u + m, q, UNIFORM);
        pulse_once(w, p, c, s, up, z, u);
    }
}

// Pulses of one group of four draws, those that `due` marks. All four are made and some are dropped: choices cost a GPU less
// than branches. Number k of the normals of the group lies at z[k * stride].
FN void pulse_group(const Params& p, const Cell& c, u32 bits, u32 due, const float* z, const float* u, int stride, State& s, float& w) {
    UNROLLED for (u32 q = 0; q < 4u; ++q) {
        float zq[NOISE + 1], uq[UNIFORM + 1], moved = w;
        State left = s;
        for (int m = 0; m < NOISE; ++m) zq[m] = z[(q * NOISE + m) * stride];
        for (int m = 0; m < UNIFORM; ++m) uq[m] = u[(q * UNIFORM + m) * stride];
        pulse_once(moved, p, c, left, ((bits >> q) & 1u) != 0u, zq, uq);
        bool live = ((due >> q) & 1u) != 0u;
        w = choose(live, moved, w);
        if (STATE_PULSED && live) s = left;
    }
}
// `count` pulses of a cell whose directions are known, the first in bit 0 (1 = up).
FN void step_string(const UpdateArgs& a, const Params& p, const Drawer& own, const Cell& c, u64 bits, u32 count, State& s, float& w) {
    float z[4 * NOISE + 1] = {}, u[4 * UNIFORM + 1] = {};
    for (u32 n = own.first, end = own.first + count; n != end;) {
        u32 begin = n & 3u, take = min_u(end - n, 4u - begin);
        draw_group(a, own.key, own.step, own.cell, n >> 2, z, u, 1);
        pulse_group(p, c, (u32)bits << begin, ((1u << take) - 1u) << begin, z, u, 1, s, w);
        bits = bits >> take;
        n += take;
    }
}

// The pulses of a cell in samples from .. to - 1, one by one. Returns their number.
FN u32 step_through(const UpdateArgs& a, const Params& p, const Stretch& m, const Neighbours& line, const Drawer& own,
                    const Cell& c, State& s, float& w) {
    Steps steps = steps_from(own);
    for (i64 b = m.from; b < m.to; ++b) {
        u32 up, n = pulses_in(a, m, b, line, up);
        step_often(a, p, own, c, steps, up != 0u, n, s, w);
    }
    return steps.n - own.first;
}

// All samples of a stretch on one cell, window by window.
FN void pulse_cell(const UpdateArgs& a, const Params& p, const Stretch& all, const Neighbours& line, Drawer& own,
                   const float* record, i64 stride, State& s, float& w) {
    bool jumps = can_jump(a, p);
    Cell c = load_cell(record, stride);
    Ways<float> k;
    Stretch m = all;
    if (jumps) load_ways(p, record, stride, k);
    for (; m.from < all.to; m.from = m.to) {
        m.to = jumps ? window_end(m.plans, m.from, all.to) : all.to;
        Course<float> t = course_of(w);
        u32 count = jumps ? chart(a, m, line, k, t) : 0u;
        if (count != 0u && is_free(t, k)) {
            w = landing(t, pulse_normal(a, own.key, own.step, own.cell, own.first));
            own.first += count;
        } else if (count != 0u || !jumps) {
            own.first += step_through(a, p, m, line, own, c, s, w);
        }
    }
}

// Sixteen cells on a CPU, one on a GPU: weights, their constants, of which the values of a cell lie `stride` apart, their
// numbers, and the pulses that they had in this call.
struct Cells {
    Key key;
    u32 step;
    float *w, *record;
    i64 stride;
    u32 *cell, *first;
};

// The end of a jump for each cell that has pulses and is free. Returns the number of pulses of the others.
FN WideBits land(const UpdateArgs& a, const Cells& k, const Ways<Wide>& ways, const Course<Wide>& t, WideBits count) {
    float z[WIDE];
    LOOP for (int l = 0; l < WIDE; ++l) z[l] = pulse_normal(a, k.key, k.step, k.cell[l], k.first[l]);
    Wide draw, w;
    WideBits first, none = {};
    fetch(draw, z);
    fetch(w, k.w);
    fetch(first, k.first);
    auto open = is_free(t, ways);
    put(k.w, choose((count != none) & open, landing(t, draw), w));
    put(k.first, first + choose(open, count, none));
    return choose(open, none, count);
}
