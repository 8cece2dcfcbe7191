// The pulsed update on a CPU.
// What: the pulses of a stretch of a row are listed first; cells that have any are applied sixteen at a time.
// One item is: a stretch of up to 1024 cells of some rows, a thread.
// Must equal: update_reference.
// When it is chosen: on a CPU.
#include "trains/cpu/trains.cu"
#include "jump_rows.cuh"

// A bit for each of sixteen cells that has at least `least` pulses.
FN u32 filled_cells(const u32* count, u32 least) {
    u32 mask = 0;
    LOOP for (int l = 0; l < CHUNK; ++l) mask |= count[l] >= least ? 1u << l : 0u;
    return mask;
}

// Lists the cells that have pulses to apply, in order of their number, so that the sixteen of a chunk are done at about
// the same time. Returns how many there are.
static int list_cells(const RowContext& t, const RowStrings& strings, u32 least, u32* list) {
    u32 start[STRING_BITS + 3] = {};
    for (u64 left = strings.touched; left; left &= left - 1) {
        int at = __builtin_ctzll(left) * CHUNK;
        for (u32 m = filled_cells(strings.count + at, least); m; m &= m - 1)
            ++start[due_pulses(t, strings.count[at + __builtin_ctz(m)]) + 1];
    }
    for (int g = 1; g <= STRING_BITS + 1; ++g) start[g + 1] += start[g];
    int n = (int)start[STRING_BITS + 2];
    for (u64 left = strings.touched; left; left &= left - 1) {
        int at = __builtin_ctzll(left) * CHUNK;
        for (u32 m = filled_cells(strings.count + at, least); m; m &= m - 1) {
            u32 j = (u32)(at + __builtin_ctz(m));
            list[start[due_pulses(t, strings.count[j])]++] = j;
            __builtin_prefetch(t.records + j * RECORD);
        }
    }
    return n;
}

// Applies whole groups of pulses; at the end of the call (`last`) the rest as well.
static void flush_strings(const RowContext& t, RowStrings& strings) {
    u32 list[TILE];
    int n = list_cells(t, strings, t.last ? 1u : 4u, list);
    for (int at = 0; at < n; at += CHUNK) step_listed(t, list + at, n - at < CHUNK ? n - at : CHUNK, strings);
}

// All samples on one row of a stretch. RowStrings are empty before and after.
static void update_row(const UpdateArgs& a, i64 replica, i64 i, i64 from, RowStrings& strings) {
    i64 width = a.cols - from < TILE ? a.cols - from : TILE;
    RowContext row = row_context(a, replica, i * a.cols + from);
    int filled = 0;
    for (i64 b = 0; b < a.batch; ++b) {
        const Amplitude& plan = a.plans[replica * a.batch + b];
        for (int part = 0; part * SLOTS < plan.length; ++part) {
            i64 at = (replica * a.batch + b) * a.words + (a.type == STOCHASTIC ? part : 0);
            u32 d = a.d_words[at * a.rows + i];
            if ((d & SLOT_MASK) == 0u) continue;
            int room = plan.length - part * SLOTS < SLOTS ? plan.length - part * SLOTS : SLOTS;
            if (filled + room > STRING_BITS) {
                flush_strings(row, strings);
                filled = 3;
            }
            append(a, strings, a.x_words + at * a.cols + from, d, width, plan, part);
            filled += room;
        }
    }
    if (strings.touched == 0) return;
    row.last = true;
    flush_strings(row, strings);
    for (; strings.touched; strings.touched &= strings.touched - 1) {
        int at = __builtin_ctzll(strings.touched) * CHUNK;
        LOOP for (int l = 0; l < CHUNK; ++l) strings.block[at + l] = 0;
    }
}

// Some rows of one replica, a stretch of at most TILE columns.
KERNEL(update_stretch, UpdateArgs) {
    i64 tiles = (a.cols + TILE - 1) / TILE, parts = (a.rows + ROWS - 1) / ROWS, part = item / tiles % parts;
    i64 replica = item / tiles / parts, from = item % tiles * TILE, end = (part + 1) * ROWS < a.rows ? (part + 1) * ROWS : a.rows;
    if (part == 0 && from == 0) a.control[replica].step = a.frozen[replica].step + 1u;
    if (can_jump(a, a.params[replica])) {
        jump_rows(a, replica, part * ROWS, end, from);
        return;
    }
    RowStrings strings = {};
    for (i64 i = part * ROWS; i < end; ++i) update_row(a, replica, i, from, strings);
}

// All cells, by trains that are made.
extern "C" void update_rows(const UpdateArgs* a, i64 threads) {
    UpdateArgs b = *a;
    b.items = a->replicas * ((a->rows + ROWS - 1) / ROWS) * ((a->cols + TILE - 1) / TILE);
    update_stretch(&b, threads);
}

// The whole update in one call: plans, trains, cells.
extern "C" void pulsed_update(const UpdateArgs* a, i64 threads) {
    UpdateArgs b = *a;
    i64 samples = a->replicas * a->batch;
    b.items = samples;
    plan_samples(&b, threads);
    b.items = samples * ((a->cols + 31) / 32 + (a->rows + 31) / 32);
    make_trains(&b, threads);
    update_rows(&b, threads);
}
