// Lines of trains that wait for random numbers on a CPU: sixteen at a time, from wherever they lie.
#include "trains/trains.cuh"

#define PACK 16
#define MAX_PACKED (PACK + 32 * 3)

// Lines that wait for random numbers. Word k of the block (`at`, `block`) sets `bit[k]` of the word `to[k * step]` if it
// is below target[k].
struct PackedLines {
    Key key;
    Draw draw;
    int n;
    u32 at[MAX_PACKED], block[MAX_PACKED], target[4][MAX_PACKED], bit[4][MAX_PACKED];
    u32* to[MAX_PACKED];
    i64 step[MAX_PACKED];
};

static void draw_pack(PackedLines& q, int from) {
    u32 hit[4][PACK], any[4] = {};
    LOOP for (int l = 0; l < PACK; ++l) {
        u32 r0, r1, r2, r3;
        words4(q.key, q.draw, q.at[from + l], q.block[from + l], r0, r1, r2, r3);
        hit[0][l] = r0 < q.target[0][from + l] ? 1u << l : 0u;
        hit[1][l] = r1 < q.target[1][from + l] ? 1u << l : 0u;
        hit[2][l] = r2 < q.target[2][from + l] ? 1u << l : 0u;
        hit[3][l] = r3 < q.target[3][from + l] ? 1u << l : 0u;
    }
    for (int k = 0; k < 4; ++k) LOOP for (int l = 0; l < PACK; ++l) any[k] |= hit[k][l];
    for (int k = 0; k < 4; ++k) for (u32 m = any[k]; m; m &= m - 1u) {
        int l = from + __builtin_ctz(m);
        q.to[l][k * q.step[l]] |= q.bit[k][l];
    }
}
static void drain(PackedLines& q) {
    int from = 0;
    for (; from + PACK <= q.n; from += PACK) draw_pack(q, from);
    for (int i = from; from && i < q.n; ++i) {
        q.at[i - from] = q.at[i];
        q.block[i - from] = q.block[i];
        for (int k = 0; k < 4; ++k) q.target[k][i - from] = q.target[k][i];
        for (int k = 0; k < 4; ++k) q.bit[k][i - from] = q.bit[k][i];
        q.to[i - from] = q.to[i];
        q.step[i - from] = q.step[i];
    }
    q.n -= from;
}
static void finish_packs(PackedLines& q) {
    drain(q);
    if (q.n == 0) return;
    for (int i = q.n; i < PACK; ++i) for (int k = 0; k < 4; ++k) q.target[k][i] = 0u;
    for (int i = q.n; i < PACK; ++i) q.at[i] = q.block[i] = 0u;
    draw_pack(q, 0);
    q.n = 0;
}
