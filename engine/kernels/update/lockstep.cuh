// Pulses that wait in strings of bits, applied in lockstep: each group of four draws to several cells at once.
#pragma once
#include "args.cuh"
#include "device/step.cuh"

// N cells on a CPU, one a thread on a GPU (N = 1): number l of each lies at [l], value f of a record at [f * S + l]. `count`
// pulses wait, the direction of the first in bit 0 (1 = up), after `first` pulses that came before.
template <int N, int S = N> struct Lockstep {
    Key key;
    u32 step;
    float *w, *record;
    const u32* cell;
    u64* bits;
    u32 *count, *first;
};

// Up to four pulses of draw group number g behind the first one, for cells that have `due` pulses in all.
template <int N, int S> FN void step_group(const UpdateArgs& a, const Params& p, const Lockstep<N, S>& k, int cells, const u32* due, u32 g,
                                    u32 pulses, float* z, float* u) {
    LOOP for (int l = 0; l < cells; ++l) draw_group(a, k.key, k.step, k.cell[l], (k.first[l] >> 2) + g, z + l, u + l, N);
    for (u32 q = 0; q < pulses; ++q) LOOP for (int l = 0; l < cells; ++l) {
        // Pulses of the group that came before have huge numbers.
        u32 n = 4u * g + q - (k.first[l] & 3u);
        bool live = n < due[l], up = ((u32)(k.bits[l] >> (u64)(n & 63u)) & 1u) != 0u;
        Cell c = load_cell(k.record + l, S);
        State s = load_state(k.record + l, S);
        float w = k.w[l], zq[NOISE + 1], uq[UNIFORM + 1];
        for (int m = 0; m < NOISE; ++m) zq[m] = z[(q * NOISE + m) * N + l];
        for (int m = 0; m < UNIFORM; ++m) uq[m] = u[(q * UNIFORM + m) * N + l];
        pulse_once(w, p, c, s, up, zq, uq);
        k.w[l] = pick(live, w, k.w[l]);
        if (STATE_PULSED && live) store_state(k.record + l, S, s);
    }
}

// Pulses that wait: all of them, or up to the last one that ends a group, so that no draw is made twice. The first `cells`
// of the N cells count.
template <int N, int S> FN void step_waiting(const UpdateArgs& a, const Params& p, const Lockstep<N, S>& k, int cells, bool all) {
    float z[4 * NOISE + 1][N], u[4 * UNIFORM + 1][N];
    u32 due[N], longest = 0u;
    LOOP for (int l = 0; l < N; ++l) {
        u32 whole = ((k.first[l] + k.count[l]) & ~3u) - k.first[l];
        due[l] = all ? k.count[l] : (int)whole > 0 ? whole : 0u;
        u32 last = due[l] != 0u ? (k.first[l] & 3u) + due[l] : 0u;
        longest = longest > last ? longest : last;
    }
    // Without noise there are no draws.
    if (!a.noise_on) for (int m = 0; m < 4 * NOISE; ++m) for (int l = 0; l < N; ++l) z[m][l] = 0.0f;
    for (u32 g = 0; 4u * g < longest; ++g) step_group(a, p, k, cells, due, g, min_u(longest - 4u * g, 4u), &z[0][0], &u[0][0]);
    LOOP for (int l = 0; l < N; ++l) {
        k.bits[l] = due[l] < 64u ? k.bits[l] >> (u64)due[l] : (u64)0;
        k.count[l] -= due[l];
        k.first[l] += due[l];
    }
}
