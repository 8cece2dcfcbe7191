// Windows of sixteen cells of a row on a CPU: the same jumps and steps as those of update_reference.
#include "chunk.cuh"
#include "runs.cuh"

// A stretch of cells of a row, the pulses that each had before, and the samples of a window in which it fires at all.
struct Row {
    const RowContext& t;
    TrainView m;
    i64 width;
    u32* done;
    int picked[WINDOW];
};

static void pick_samples(const UpdateArgs& a, Row& row, const int* from, const int* to) {
    row.m.from = row.m.to = 0;
    for (; from < to; ++from) {
        int length = row.m.plans[*from].length;
        u32 any = 0u;
        for (int k = 0; k * SLOTS < length && k < a.words; ++k) any |= row.m.line[(*from * a.words + k) * a.rows];
        if ((any & SLOT_MASK) != 0u) row.picked[row.m.to++] = *from;
    }
}

// Takes in sixteen cells of which the first n count.
static Cells load_cells(const Row& row, const u32* list, CellChunk& k) {
    const RowContext& t = row.t;
    for (int l = 0; l < CHUNK; ++l) {
        u32 j = list[l];
        k.cell[l] = (u32)(t.first + j);
        k.first[l] = row.done[j];
        k.w[l] = t.w[j];
    }
    load_records(t.records, list, &k.record[0][0], CHUNK);
    LOOP for (int l = 0; l < CHUNK; ++l) k.w[l] = hidden_weight(k.w[l], load_state(&k.record[0][l], CHUNK));
    return {t.key, t.step, k.w, &k.record[0][0], CHUNK, k.cell, k.first};
}

// Writes back the first n cells as far as `moved` marks them: what is read of them, or, if more will follow, their hidden
// weight alone.
static void store_cells(Row& row, const u32* list, int n, u32 moved, CellChunk& k) {
    const RowContext& t = row.t;
    float seen[CHUNK];
    Draw written = {t.a.call, t.step, WRITE};
    if (t.last) LOOP for (int l = 0; l < CHUNK; ++l) {
        State s = load_state(&k.record[0][l], CHUNK);
        seen[l] = written_weight(t.p, k.w[l], s, t.key, written, k.cell[l]);
        store_state(&k.record[0][l], CHUNK, s);
    } else LOOP for (int l = 0; l < CHUNK; ++l) {
        State s = load_state(&k.record[0][l], CHUNK);
        seen[l] = k.w[l];
        hide_weight(k.w[l], s);
        store_state(&k.record[0][l], CHUNK, s);
    }
    for (int l = 0; l < n; ++l) {
        u32 j = list[l];
        row.done[j] = k.first[l];
        t.w[j] = (moved >> l) & 1u ? seen[l] : t.w[j];
        for (int f = CELL_FLOATS; f < RECORD; ++f) t.records[j * RECORD + f] = k.record[f][l];
    }
}

// A jump for each of these cells that has pulses. Adds those for which a bound is within reach to `near`.
static void jump_chunk(Row& row, const PulseRuns& runs, const u32* list, int n, u32* near, int& left) {
    CellChunk k;
    LinearSteps<Wide> ways;
    Cells cells = load_cells(row, list, k);
    load_linear_steps(row.t.p, cells.record, cells.stride, ways);
    u32 all = (1u << n) - 1u, stays = finish_runs(row.t.a, runs, ways, cells) & all;
    store_cells(row, list, n, flags(runs.count) & ~stays, k);
    for (; stays; stays &= stays - 1u) near[left++] = list[__builtin_ctz(stays)];
}

// The pulses of up to sixteen cells one by one, in lockstep.
static void step_chunk(Row& row, const PulseRuns& runs, const u32* list, int n) {
    CellChunk k;
    load_cells(row, list, k);
    step_runs(row.t.a, row.t.p, runs, lockstep_of(row.t, k));
    store_cells(row, list, n, (1u << n) - 1u, k);
}
