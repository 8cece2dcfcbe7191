// Pulses of one cell one by one, with their draws.
#pragma once
#include "args.cuh"
#include "device/step.cuh"

// Where a cell draws, from its pulse number `first` in this call on.
struct CellDraws { Key key; u32 step, cell, first; };

// Draws of a cell that is stepped: number n comes next. `z` are the normals of two pulses, which are made when the first of
// them comes; `rest` are the words of those of the next two, where they share a block.
struct Steps {
    u32 n, rest[2];
    float z[2 * NOISE + 1], u[4 * UNIFORM + 1];
};
FN Steps steps_from(const CellDraws& draws) {
    Steps steps = {};
    steps.n = draws.first;
    return steps;
}

// The normals of pulses n and n + 1, n even: those of draw_group. Words are drawn again only if `fresh`.
FN void draw_pair(const UpdateArgs& a, const CellDraws& draws, u32 n, bool fresh, Steps& t) {
    if (!a.noise_on) return;
    for (u32 m = 0; m < NOISE; ++m) {
        u32 pair = (n & 2u) / 2u * NOISE + m, r[4];
        if (NOISE > 1 || (n & 2u) == 0u || fresh) {
            words4(draws.key, {a.call, draws.step, PULSE}, draws.cell, (n >> 2) * NOISE + pair / 2u, r[0], r[1], r[2], r[3]);
            t.rest[0] = r[2];
            t.rest[1] = r[3];
        }
        bool second = (pair & 1u) != 0u;
        normal2(second ? t.rest[0] : r[0], second ? t.rest[1] : r[1], t.z[2 * m], t.z[2 * m + 1]);
    }
}
FN void draw_uniforms(const UpdateArgs& a, const CellDraws& draws, u32 group, Steps& t) {
    for (u32 m = 0; m < UNIFORM; ++m) {
        u32 r[4];
        words4(draws.key, {a.call, draws.step, PULSE_UNIFORM}, draws.cell, group * UNIFORM + m, r[0], r[1], r[2], r[3]);
        for (int q = 0; q < 4; ++q) t.u[4 * m + q] = uniform_of(r[q]);
    }
}
// One of four neighbours, by choices: a place that is computed would make a GPU keep them in memory.
FN float one_of_four(const float* v, u32 q, int stride) {
    float low = choose((q & 1u) != 0u, v[stride], v[0]), high = choose((q & 1u) != 0u, v[3 * stride], v[2 * stride]);
    return choose((q & 2u) != 0u, high, low);
}

// Equal pulses of a cell, one by one.
FN void step_often(const UpdateArgs& a, const Params& p, const CellDraws& draws, const Cell& c, Steps& t, bool up, u32 number, State& s,
                   float& w) {
    for (; number != 0u; --number, ++t.n) {
        u32 q = t.n & 3u;
        bool fresh = t.n == draws.first;
        if ((q & 1u) == 0u || fresh) draw_pair(a, draws, t.n & ~1u, fresh, t);
        if (UNIFORM > 0 && (q == 0u || fresh)) draw_uniforms(a, draws, t.n >> 2, t);
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
FN void step_string(const UpdateArgs& a, const Params& p, const CellDraws& draws, const Cell& c, u64 bits, u32 count, State& s, float& w) {
    float z[4 * NOISE + 1] = {}, u[4 * UNIFORM + 1] = {};
    for (u32 n = draws.first, end = draws.first + count; n != end;) {
        u32 begin = n & 3u, take = min_u(end - n, 4u - begin);
        draw_group(a, draws.key, draws.step, draws.cell, n >> 2, z, u, 1);
        pulse_group(p, c, (u32)bits << begin, ((1u << take) - 1u) << begin, z, u, 1, s, w);
        bits = bits >> take;
        n += take;
    }
}
