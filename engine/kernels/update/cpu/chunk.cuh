// The pulsed update on a CPU: the same pulses and draws as update_cells, sixteen cells at a time.
// The pulses of a cell are collected as a string of bits (1 = up) and applied in groups of four, which share one block
// of random numbers; so cells of one chunk need not be at the same pulse, only at the same place in a group.
#include "strings.cuh"
#include "device/step.cuh"

struct Chunk {
    float w[CHUNK], record[RECORD + 1][CHUNK], z[4 * NOISE + 1][CHUNK], u[4 * UNIFORM + 1][CHUNK];
    u32 cell[CHUNK], first[CHUNK], count[CHUNK], block[CHUNK], skip[CHUNK], held[CHUNK];
    u64 bits[CHUNK];
};

// What applies to a whole stretch of cells from `first` on: `last` at the end of a call.
struct Take {
    const UpdateArgs& a;
    const Params& p;
    Key key;
    u32 step;
    i64 first;
    float *w, *records;
    bool last;
};
static Take take_of(const UpdateArgs& a, i64 lane, i64 first) {
    i64 at = lane * a.rows * a.cols + first;
    const Params& p = a.params[lane];
    return {a, p, key_of(a.frozen[lane]), a.frozen[lane].step, first, a.w + at, a.cells + at * RECORD, false};
}
FN u32 taken(const Take& t, u32 count) { return t.last ? count : count & ~3u; }

// Takes in up to sixteen listed cells; lanes beyond them hold the first one without pulses. Returns the most pulses.
static u32 load_chunk(const Take& t, const u32* list, int n, const Strings& strings, Chunk& k) {
    u32 longest = 0;
    for (int l = 0; l < CHUNK; ++l) {
        u32 j = list[l < n ? l : 0];
        k.cell[l] = (u32)(t.first + j);
        k.count[l] = l < n ? taken(t, strings.count[j]) : 0u;
        k.block[l] = strings.block[j];
        k.skip[l] = 0u;
        k.bits[l] = strings.bits[j];
        longest = longest > k.count[l] ? longest : k.count[l];
        k.w[l] = t.w[j];
        for (int f = 0; f < RECORD; ++f) k.record[f][l] = t.records[j * RECORD + f];
    }
    LOOP for (int l = 0; l < CHUNK; ++l) k.w[l] = hidden_weight(k.w[l], load_state(&k.record[0][l], CHUNK));
    return longest;
}

// Writes back the cells that `moved` marks and takes their pulses off the strings.
static void store_chunk(const Take& t, const u32* list, u32 moved, Strings& strings, Chunk& k) {
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
        strings.bits[j] >>= k.count[l];
        strings.count[j] -= k.count[l];
        strings.block[j] += k.count[l] >> 2;
    }
}

static void run_group(const Take& t, Chunk& k, u32 g, u32 pulses) {
    LOOP for (int l = 0; l < CHUNK; ++l) draw_group(t.a, t.key, t.step, k.cell[l], k.block[l] + g, &k.z[0][l], &k.u[0][l], CHUNK);
    for (u32 q = 0; q < pulses; ++q) {
        LOOP for (int l = 0; l < CHUNK; ++l) {
            bool up = ((k.bits[l] >> (4 * g + q)) & 1u) != 0u, live = 4 * g + q >= k.skip[l] && 4 * g + q < k.count[l];
            Cell c = load_cell(&k.record[0][l], CHUNK);
            State s = load_state(&k.record[0][l], CHUNK);
            float w = k.w[l], z[NOISE + 1], u[UNIFORM + 1];
            for (int m = 0; m < NOISE; ++m) z[m] = k.z[q * NOISE + m][l];
            for (int m = 0; m < UNIFORM; ++m) u[m] = k.u[q * UNIFORM + m][l];
            pulse_once(w, t.p, c, s, up, z, u);
            k.w[l] = pick(live, w, k.w[l]);
            if (STATE_PULSED && live) store_state(&k.record[0][l], CHUNK, s);
        }
    }
}

// Without noise there are no draws.
static void clear_noise(const Take& t, Chunk& k) {
    if (!t.a.noise_on) for (int m = 0; m < 4 * NOISE; ++m) for (int l = 0; l < CHUNK; ++l) k.z[m][l] = 0.0f;
}

// Applies the pulses of sixteen listed cells one by one.
static void run_chunk(const Take& t, const u32* list, int n, Strings& strings) {
    Chunk k;
    u32 longest = load_chunk(t, list, n, strings, k);
    clear_noise(t, k);
    for (u32 g = 0; 4 * g < longest; ++g) run_group(t, k, g, min_u(longest - 4 * g, 4u));
    store_chunk(t, list, n < 32 ? (1u << n) - 1u : ~0u, strings, k);
}
