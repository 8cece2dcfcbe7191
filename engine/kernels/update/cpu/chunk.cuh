// The pulsed update on a CPU: the same pulses and draws as update_reference, sixteen cells at a time.
// The pulses of a cell are collected as a string of bits (1 = up) and applied in groups of four, which share one block
// of random numbers; so cells of one chunk need not be at the same pulse, only at the same place in a group.
#include "strings.cuh"
#include "update/lockstep.cuh"

struct CellChunk {
    float w[CHUNK], record[RECORD + 1][CHUNK];
    u32 cell[CHUNK], first[CHUNK], count[CHUNK];
    u64 bits[CHUNK];
};

// What applies to a whole stretch of cells from `first` on: `last` at the end of a call.
struct RowContext {
    const UpdateArgs& a;
    const Params& p;
    Key key;
    u32 step;
    i64 first;
    float *w, *records;
    bool last;
};
static RowContext row_context(const UpdateArgs& a, i64 replica, i64 first) {
    i64 at = replica * a.rows * a.cols + first;
    const Params& p = a.params[replica];
    return {a, p, key_of(a.frozen[replica]), a.frozen[replica].step, first, a.w + at, a.cells + at * RECORD, false};
}
FN u32 due_pulses(const RowContext& t, u32 count) { return t.last ? count : count & ~3u; }
FN Lockstep<CHUNK> lockstep_of(const RowContext& t, CellChunk& k) {
    return {t.key, t.step, k.w, &k.record[0][0], k.cell, k.bits, k.count, k.first};
}

// Takes in up to sixteen listed cells; replicas beyond them hold the first one without pulses.
static void load_chunk(const RowContext& t, const u32* list, int n, const RowStrings& strings, CellChunk& k) {
    for (int l = 0; l < CHUNK; ++l) {
        u32 j = list[l < n ? l : 0];
        k.cell[l] = (u32)(t.first + j);
        k.count[l] = l < n ? due_pulses(t, strings.count[j]) : 0u;
        k.first[l] = 4u * strings.block[j];
        k.bits[l] = strings.bits[j];
        k.w[l] = t.w[j];
        for (int f = 0; f < RECORD; ++f) k.record[f][l] = t.records[j * RECORD + f];
    }
    LOOP for (int l = 0; l < CHUNK; ++l) k.w[l] = hidden_weight(k.w[l], load_state(&k.record[0][l], CHUNK));
}

// Writes back the cells that `moved` marks and takes the pulses that they had off the strings.
static void store_chunk(const RowContext& t, const u32* list, u32 moved, RowStrings& strings, CellChunk& k) {
    float seen[CHUNK];
    Draw written = {t.a.call, t.step, WRITE};
    LOOP for (int l = 0; l < CHUNK; ++l) {
        State s = load_state(&k.record[0][l], CHUNK);
        seen[l] = written_weight(t.p, k.w[l], s, t.key, written, k.cell[l]);
        store_state(&k.record[0][l], CHUNK, s);
    }
    for (; moved; moved &= moved - 1u) {
        int l = __builtin_ctz(moved);
        u32 j = list[l];
        t.w[j] = seen[l];
        for (int f = CELL_FLOATS; f < RECORD; ++f) t.records[j * RECORD + f] = k.record[f][l];
        u32 had = k.first[l] - 4u * strings.block[j];
        strings.bits[j] >>= had;
        strings.count[j] -= had;
        strings.block[j] += had >> 2;
    }
}

// Applies the pulses of sixteen listed cells one by one.
static void step_listed(const RowContext& t, const u32* list, int n, RowStrings& strings) {
    CellChunk k;
    load_chunk(t, list, n, strings, k);
    step_waiting(t.a, t.p, lockstep_of(t, k), CHUNK, true);
    store_chunk(t, list, n < 32 ? (1u << n) - 1u : ~0u, strings, k);
}
