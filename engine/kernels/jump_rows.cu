// Rows of cells that jump, window by window: cells as they lie where most of sixteen neighbours have pulses, else from a
// list. No result depends on the choice.

// So many of sixteen neighbours are worked on where they lie.
#define DENSE 8

// What is read of the cells of a row that had pulses in one of several windows.
static void show_row(const Take& t, i64 width, const u32* done) {
#if WRITE_NOISE
    Draw written = {t.a.call, t.step, WRITE};
    for (i64 at = 0; at < width; at += CHUNK) {
        u32 any = 0u;
        float seen[CHUNK], hidden[CHUNK];
        i64 n = width - at < CHUNK ? width - at : CHUNK;
        for (i64 l = 0; l < n; ++l) any |= done[at + l];
        if (any == 0u) continue;
        for (i64 l = 0; l < CHUNK; ++l) hidden[l] = load_state(t.records + (at + (l < n ? l : 0)) * RECORD, 1).persistent;
        LOOP for (int l = 0; l < CHUNK; ++l) {
            State s = {};
            seen[l] = written_weight(t.p, hidden[l], s, t.key, written, (u32)(t.first + at + l));
        }
        for (i64 l = 0; l < n; ++l) t.w[at + l] = done[at + l] != 0u ? seen[l] : t.w[at + l];
    }
#endif
}

// Up to sixteen cells of a list; those beyond its end are the last one again.
static void collect_listed(const Row& row, u32* list, int n, Runs& runs) {
    for (int l = n; l < CHUNK; ++l) list[l] = list[n - 1];
    collect(row.t.a, row.m, Listed{list}, runs);
}

// Cells that come next.
static void expect_cells(const Take& t, i64 at) {
    for (i64 line = 0; line < CHUNK * RECORD; line += 16) __builtin_prefetch(t.records + at * RECORD + line, 1);
    __builtin_prefetch(t.w + at, 1);
}

static void jump_window(Row& row, u64 live) {
    Runs runs;
    u32 list[TILE + CHUNK], near[TILE + CHUNK], lie[CHUNK];
    int listed = 0, left = 0;
    for (; live; live &= live - 1u) {
        u32 at = (u32)__builtin_ctzll(live) * CHUNK, n = min_u((u32)row.width - at, CHUNK);
        collect(row.t.a, row.m, Neighbours{at, row.width}, runs);
        if (live & (live - 1u)) expect_cells(row.t, __builtin_ctzll(live & (live - 1u)) * CHUNK);
        u32 mask = flags(runs.count);
        if (popcount(mask) < DENSE) {
            for (; mask; mask &= mask - 1u) {
                list[listed++] = at + (u32)__builtin_ctz(mask);
                __builtin_prefetch(row.t.records + list[listed - 1] * RECORD);
            }
            continue;
        }
        for (u32 l = 0; l < CHUNK; ++l) lie[l] = at + (l < n ? l : n - 1u);
        jump_chunk(row, runs, lie, (int)n, near, left);
    }
    for (int at = 0; at < listed; at += CHUNK) {
        int n = listed - at < CHUNK ? listed - at : CHUNK;
        collect_listed(row, list + at, n, runs);
        jump_chunk(row, runs, list + at, n, near, left);
    }
    for (int at = 0; at < left; at += CHUNK) {
        int n = left - at < CHUNK ? left - at : CHUNK;
        collect_listed(row, near + at, n, runs);
        step_chunk(row, runs, near + at, n);
    }
}

// A bit for every sixteen columns of a stretch of which one fires at all.
static u64 live_columns(const UpdateArgs& a, i64 lane, i64 from, i64 width) {
    u64 live = 0u;
    for (i64 at = 0; at < width; at += CHUNK) {
        WideBits all = {}, word;
        for (i64 row = lane * a.batch * a.words; row < (lane + 1) * a.batch * a.words; ++row) {
            fetch_words(word, a.x_words + row * a.cols + from, Neighbours{at, width});
            all |= word;
        }
        live |= (u64)some(all & SLOT_MASK) << (at / CHUNK);
    }
    return live;
}

static void jump_row(const UpdateArgs& a, i64 lane, i64 i, i64 from, u64 live) {
    Take take = take_of(a, lane, i * a.cols + from);
    i64 words = lane * a.batch * a.words;
    Row row = {take};
    row.m = {a.d_words + words * a.rows + i, a.x_words + words * a.cols + from, nullptr, a.plans + lane * a.batch, row.picked};
    row.m.own_lines = a.rows;
    row.m.other_lines = a.cols;
    row.width = a.cols - from < TILE ? a.cols - from : TILE;
    for (i64 begin = 0, end; begin < a.batch; begin = end) {
        end = window_end(row.m.plans, begin, a.batch);
        take.last = begin == 0 && end == a.batch;
        pick_samples(a, row, begin, end);
        if (row.m.to > 0) jump_window(row, live);
    }
    if (!take.last) show_row(take, row.width, row.done);
}
