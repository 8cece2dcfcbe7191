// The pulsed update on a CPU: the same pulses and draws as update_cells, sixteen cells at a time.
// The pulses of a cell are collected as a string of bits (1 = up) and applied in groups of four, which share one block
// of random numbers; so cells of one group need not be at the same pulse, only at the same quarter of a block.

struct Chunk {
    float w[CHUNK], record[RECORD + 1][CHUNK], z[4 * NOISE + 1][CHUNK], u[4 * UNIFORM + 1][CHUNK];
    u32 cell[CHUNK], count[CHUNK], block[CHUNK];
    u64 bits[CHUNK];
};

static void run_group(const UpdateArgs& a, const Params& p, Key key, u32 step, Chunk& k, u32 g, u32 pulses) {
    LOOP for (int l = 0; l < CHUNK; ++l) draw_group(a, key, step, k.cell[l], k.block[l] + g, &k.z[0][l], &k.u[0][l], CHUNK);
    for (u32 q = 0; q < pulses; ++q) {
        LOOP for (int l = 0; l < CHUNK; ++l) {
            bool up = ((k.bits[l] >> (4 * g + q)) & 1u) != 0u, live = 4 * g + q < k.count[l];
            Cell c = load_cell(&k.record[0][l], CHUNK);
            State s = load_state(&k.record[0][l], CHUNK);
            float w = k.w[l], z[NOISE + 1], u[UNIFORM + 1];
            for (int m = 0; m < NOISE; ++m) z[m] = k.z[q * NOISE + m][l];
            for (int m = 0; m < UNIFORM; ++m) u[m] = k.u[q * UNIFORM + m][l];
            pulse_once(w, p, c, s, up, z, u);
            k.w[l] = live ? w : k.w[l];
            if (STATE_PULSED && live) store_state(&k.record[0][l], CHUNK, s);
        }
    }
}

// Applies all whole groups of sixteen listed cells; at the end of the call (`last`) the rest as well.
static void run_chunk(const UpdateArgs& a, i64 lane, i64 first, const u32* list, int n, Strings& strings, bool last) {
    Chunk k;
    const Params& p = a.params[lane];
    const Control& control = a.frozen[lane];
    Key key = key_of(control);
    u32 longest = 0;
    float* w = a.w + lane * a.rows * a.cols;
    float* records = a.cells + lane * a.rows * a.cols * RECORD;
    for (int l = 0; l < CHUNK; ++l) {
        u32 j = list[l < n ? l : 0], count = last ? strings.count[j] : strings.count[j] & ~3u;
        k.cell[l] = (u32)(first + j);
        k.count[l] = l < n ? count : 0u;
        k.block[l] = strings.block[j];
        k.bits[l] = strings.bits[j];
        longest = longest > k.count[l] ? longest : k.count[l];
        for (int f = 0; f < RECORD; ++f) k.record[f][l] = records[(first + j) * RECORD + f];
        if (!a.noise_on) for (int m = 0; m < 4 * NOISE; ++m) k.z[m][l] = 0.0f;
    }
    LOOP for (int l = 0; l < CHUNK; ++l) k.w[l] = hidden_weight(w[k.cell[l]], load_state(&k.record[0][l], CHUNK));
    for (u32 g = 0; 4 * g < longest; ++g) run_group(a, p, key, control.step, k, g, min_u(longest - 4 * g, 4u));
    for (int l = 0; l < n; ++l) {
        u32 j = list[l];
        State s = load_state(&k.record[0][l], CHUNK);
        w[k.cell[l]] = written_weight(p, k.w[l], s, key, {a.call, control.step, WRITE}, k.cell[l]);
        if (RECORD > CELL_FLOATS) store_state(records + (first + j) * RECORD, 1, s);
        strings.bits[j] >>= k.count[l];
        strings.count[j] -= k.count[l];
        strings.block[j] += k.count[l] >> 2;
    }
}

FN u32 groups_of(u32 count, bool last) { return last ? (count + 3u) >> 2 : count >> 2; }

// A bit for each of sixteen cells that has at least `least` pulses.
FN u32 filled_cells(const u32* count, u32 least) {
    u32 mask = 0;
    LOOP for (int l = 0; l < CHUNK; ++l) mask |= (u32)(count[l] >= least) << l;
    return mask;
}

// Cells are taken in order of their number of groups, so that the sixteen of a chunk are done at about the same time.
static void flush(const UpdateArgs& a, i64 lane, i64 first, Strings& strings, bool last) {
    u32 list[TILE], start[MOST_GROUPS + 2] = {}, least = last ? 1u : 4u;
    for (u64 left = strings.touched; left; left &= left - 1) {
        int at = __builtin_ctzll(left) * CHUNK;
        for (u32 m = filled_cells(strings.count + at, least); m; m &= m - 1)
            ++start[groups_of(strings.count[at + __builtin_ctz(m)], last) + 1];
    }
    for (int g = 1; g <= MOST_GROUPS; ++g) start[g + 1] += start[g];
    int n = (int)start[MOST_GROUPS + 1];
    const float* records = a.cells + (lane * a.rows * a.cols + first) * RECORD;
    for (u64 left = strings.touched; left; left &= left - 1) {
        int at = __builtin_ctzll(left) * CHUNK;
        for (u32 m = filled_cells(strings.count + at, least); m; m &= m - 1) {
            u32 j = (u32)(at + __builtin_ctz(m));
            list[start[groups_of(strings.count[j], last)]++] = j;
            __builtin_prefetch(records + j * RECORD);
        }
    }
    for (int at = 0; at < n; at += CHUNK) run_chunk(a, lane, first, list + at, n - at < CHUNK ? n - at : CHUNK, strings, last);
}

// One row of one lane, a stretch of at most TILE columns.
KERNEL(update_rows, UpdateArgs) {
    i64 tiles = (a.cols + TILE - 1) / TILE, row = item / tiles, lane = row / a.rows, i = row % a.rows;
    i64 from = item % tiles * TILE, width = a.cols - from < TILE ? a.cols - from : TILE, first = i * a.cols + from;
    if (i == 0 && from == 0) a.control[lane].step = a.frozen[lane].step + 1u;
    Strings strings;
    strings.touched = 0;
    i64 padded = (width + CHUNK - 1) / CHUNK * CHUNK;
    LOOP for (i64 j = 0; j < padded; ++j) strings.bits[j] = 0;
    LOOP for (i64 j = 0; j < padded; ++j) strings.count[j] = strings.block[j] = 0;
    int filled = 0;
    for (i64 b = 0; b < a.batch; ++b) {
        const Amplitude& plan = a.plans[lane * a.batch + b];
        for (int part = 0; part * SLOTS < plan.length; ++part) {
            i64 at = (lane * a.batch + b) * a.words + (a.type == STOCHASTIC ? part : 0);
            u32 d = a.d_words[at * a.rows + i];
            if ((d & SLOT_MASK) == 0u) continue;
            int room = plan.length - part * SLOTS < SLOTS ? plan.length - part * SLOTS : SLOTS;
            if (filled + room > STRING_BITS) {
                flush(a, lane, first, strings, false);
                filled = 3;
            }
            append(a, strings, a.x_words + at * a.cols + from, d, width, plan, part);
            filled += room;
        }
    }
    flush(a, lane, first, strings, true);
}

// The whole update in one call: plans, trains, cells.
extern "C" void pulsed_update(const UpdateArgs* a, i64 threads) {
    UpdateArgs b = *a;
    i64 samples = a->lanes * a->batch;
    b.items = samples;
    plan_samples(&b, threads);
    b.items = samples * ((a->cols + 31) / 32 + (a->rows + 31) / 32);
    make_trains(&b, threads);
    b.items = a->lanes * a->rows * ((a->cols + TILE - 1) / TILE);
    update_rows(&b, threads);
}
