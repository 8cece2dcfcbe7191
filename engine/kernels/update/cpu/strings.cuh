// RowStrings of pulses on a CPU: what the trains of a call mean for a stretch of cells, a bit for each pulse (1 = up).
#include "runs.cuh"

#define TILE 1024
#define ROWS 8
#define CHUNK 16

// `touched` has a bit for every sixteen cells that hold pulses.
struct RowStrings { u64 touched, bits[TILE]; u32 count[TILE], block[TILE]; };

// Adds the pulses of one pair of words to the strings of sixteen cells.
static bool append_chunk(const UpdateArgs& a, u64* bits, u32* count, const u32* x, u32 d, const Amplitude& plan, u32 skip) {
    u32 n[CHUNK], any = 0;
    if (a.type == STOCHASTIC) {
        LOOP for (int l = 0; l < CHUNK; ++l) any |= x[l] & d & SLOT_MASK;
        if (any == 0u) return false;
    }
    LOOP for (int l = 0; l < CHUNK; ++l) {
        u32 all = pulses_of(a.type, x[l], d, plan.length);
        n[l] = min_u(all > skip ? all - skip : 0u, SLOTS);
    }
    u32 rising = plan.down ? 0u : 1u, ones[CHUNK];
    LOOP for (int l = 0; l < CHUNK; ++l) ones[l] = ((1u << n[l]) - 1u) & (0u - (((x[l] ^ d) >> 31) ^ rising));
    LOOP for (int l = 0; l < CHUNK; ++l) bits[l] = bits[l] | ((u64)ones[l] << (u64)count[l]);
    LOOP for (int l = 0; l < CHUNK; ++l) count[l] += n[l];
    return true;
}

static void append(const UpdateArgs& a, RowStrings& strings, const u32* x, u32 d, i64 width, const Amplitude& plan, int part) {
    u32 skip = a.type == STOCHASTIC ? 0u : (u32)(part * SLOTS), rest[CHUNK] = {};
    for (i64 at = 0; at < width; at += CHUNK) {
        const u32* here = x + at;
        if (at + CHUNK > width) {
            for (i64 j = at; j < width; ++j) rest[j - at] = x[j];
            here = rest;
        }
        bool some = append_chunk(a, strings.bits + at, strings.count + at, here, d, plan, skip);
        strings.touched |= (u64)some << (at / CHUNK);
    }
}
