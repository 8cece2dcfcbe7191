// Rows of cells that jump, window by window: cells as they lie where most of sixteen neighbours have pulses, else from a
// list. No result depends on the choice.
#include "jump_chunk.cuh"

// So many of sixteen neighbours are worked on where they lie.
#define DENSE 8

// What is read of the cells of a row that had pulses in one of several windows.
static void write_row(const RowContext& t, i64 width, const u32* done) {
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
static void collect_listed(const Row& row, u32* list, int n, PulseRuns& runs) {
    for (int l = n; l < CHUNK; ++l) list[l] = list[n - 1];
    collect_runs(row.t.a, row.m, ListedLines{list}, runs);
}

// Cells that come next.
static void prefetch_cells(const RowContext& t, i64 at) {
    for (i64 line = 0; line < CHUNK * RECORD; line += 16) __builtin_prefetch(t.records + at * RECORD + line, 1);
    __builtin_prefetch(t.w + at, 1);
}

static void jump_window(Row& row, u64 live) {
    PulseRuns runs;
    u32 list[TILE + CHUNK], near[TILE + CHUNK], lie[CHUNK];
    int listed = 0, left = 0;
    for (; live; live &= live - 1u) {
        u32 at = (u32)__builtin_ctzll(live) * CHUNK, n = min_u((u32)row.width - at, CHUNK);
        collect_runs(row.t.a, row.m, AdjacentLines{at, row.width}, runs);
        if (live & (live - 1u)) prefetch_cells(row.t, __builtin_ctzll(live & (live - 1u)) * CHUNK);
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

// Windows that rows pass before the next row's turn, and the samples of each that fire on any of these rows.
#define SPAN 16
struct WindowSpan { i64 end; int windows, first[SPAN + 1], samples[SPAN * WINDOW]; };

FN bool fires_in(const UpdateArgs& a, i64 sample, i64 first, i64 end) {
    u32 any = 0u;
    for (int k = 0; k < a.words && k * SLOTS < a.plans[sample].length; ++k) {
        const u32* d = a.d_words + (sample * a.words + k) * a.rows;
        for (i64 i = first; i < end; ++i) any |= d[i];
    }
    return (any & SLOT_MASK) != 0u;
}

// Windows from sample `begin` on as rows [first, end) meet them: of samples that write one row each most fire elsewhere.
static void open_span(const UpdateArgs& a, i64 replica, i64 begin, i64 first, i64 end, WindowSpan& s) {
    const Amplitude* plans = a.plans + replica * a.batch;
    int n = s.windows = 0;
    for (i64 from = begin; s.windows < SPAN && from < a.batch; from = s.end) {
        s.end = window_end(plans, from, a.batch);
        s.first[s.windows++] = n;
        for (i64 b = from; b < s.end; ++b) if (fires_in(a, replica * a.batch + b, first, end)) s.samples[n++] = (int)b;
    }
    s.first[s.windows] = n;
}

// A bit for every sixteen columns of a stretch of which one fires at all in a span.
static u64 live_columns(const UpdateArgs& a, i64 replica, i64 from, i64 width, const WindowSpan& s) {
    u64 all = ~0ull >> (64 - (width + CHUNK - 1) / CHUNK), live = 0u;
    for (int q = 0; q < s.first[s.windows] && live != all; ++q) for (int k = 0; k < a.words; ++k) {
        const u32* words = a.x_words + ((replica * a.batch + s.samples[q]) * a.words + k) * a.cols + from;
        for (u64 open = all & ~live; open; open &= open - 1u) {
            int at = __builtin_ctzll(open);
            WideBits word;
            fetch_words(word, words, AdjacentLines{at * CHUNK, width});
            live |= (u64)some(word & SLOT_MASK) << at;
        }
    }
    return live;
}

// Rows [first, end) of a replica, a stretch of columns from `from` on.
static void jump_rows(const UpdateArgs& a, i64 replica, i64 first, i64 end, i64 from) {
    WindowSpan s;
    u32 done[ROWS][TILE] = {};
    i64 width = a.cols - from < TILE ? a.cols - from : TILE;
    bool once = window_end(a.plans + replica * a.batch, 0, a.batch) == a.batch;
    for (i64 begin = 0; begin < a.batch; begin = s.end) {
        open_span(a, replica, begin, first, end, s);
        u64 live = live_columns(a, replica, from, width, s);
        for (int w = 0; w < s.windows; ++w) for (i64 i = first; i < end; ++i) {
            RowContext context = row_context(a, replica, i * a.cols + from);
            context.last = once;
            Row row = {context, trains_of(a, replica, i, from), width, done[i - first]};
            row.m.picked = row.picked;
            pick_samples(a, row, s.samples + s.first[w], s.samples + s.first[w + 1]);
            if (row.m.to > 0) jump_window(row, live);
        }
    }
    for (i64 i = first; i < end && !once; ++i) write_row(row_context(a, replica, i * a.cols + from), width, done[i - first]);
}
