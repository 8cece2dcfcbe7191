// The pulsed update by a single sample.
// What: a warp counts the pulses of 256 cells of a row and lists those that have any, by their number, so that its threads
// work on cells with as many pulses as their neighbours'.
// One item is: 256 cells of a row, a warp; then a thread is a cell that has pulses.
// Must equal: update_reference.
// When it is chosen: on a GPU, where there is one sample.
#include "update/coincidence.cuh"
#include "update/steps.cuh"

#define LISTED_CELLS 256
// A cell in the list: its place, its direction in bit 8, and the number of its pulses.
#define RISES_BIT 256u
// Cells that are stepped are listed by the pairs of their pulses, as normal numbers come in pairs; those with so many or
// more are listed together.
#define MOST_PAIRS 3u

// Pulses of 32 cells from column `col` on, as entries of the list without their places. Trains of random bits in one word are
// looked up here, others by pulses_in.
FN void count_pulses(const UpdateArgs& a, const TrainView& m, i64 col, u32 line, Laned<u32>& found) {
    bool plain = a.type == STOCHASTIC && a.words == 1;
    const u32* crossing = m.crossing + col;
    int there = (int)(a.cols - col);
    LANES(l) {
        u32 up = 0u, n = 0u, word = plain && l < there ? crossing[l] : 0u;
        if (plain) {
            n = coincidences(word, line);
            up = (word ^ line) >> 31;
        } else if (l < there) {
            n = pulses_in(a, m, 0, AdjacentLines{col + l, a.cols}, up);
        }
        found[l] = n << 9 | (up != 0u ? RISES_BIT : 0u);
    }
}

// Lists the cells. Returns how many there are.
FN u32 list_pulsed(const UpdateArgs& a, const TrainView& m, i64 from, bool by_number, u32* list) {
    const Amplitude& plan = m.plans[0];
    u32 line = plan.length > 0 ? m.line[0] ^ direction_of(m, plan) << 31 : 0u, all = 0u;
    if (plan.length == 0 || (a.words == 1 && (line & SLOT_MASK) == 0u)) return 0u;
    Laned<u32> found[LISTED_CELLS / 32];
    UNROLLED for (int q = 0; q < LISTED_CELLS / 32; ++q) count_pulses(a, m, from + 32 * q, line, found[q]);
    for (u32 pairs = 1u; pairs <= (by_number ? MOST_PAIRS : 1u); ++pairs) UNROLLED for (int q = 0; q < LISTED_CELLS / 32; ++q) {
        Laned<u32> chosen;
        LANES(l) {
            u32 n = found[q][l] >> 9;
            chosen[l] = (by_number ? min_u((n + 1u) / 2u, MOST_PAIRS) == pairs : n != 0u) ? 1u : 0u;
        }
        u32 mask = lanes_mask(chosen);
        LANES(l) if (chosen[l] != 0u) list[all + popcount(mask & ~(0xffffffffu << l))] = found[q][l] | (u32)(32 * q + l);
        all += popcount(mask);
    }
    lanes_sync();
    return all;
}

// The equal pulses that one cell gets.
FN void pulse_equally(const UpdateArgs& a, const Params& p, CellDraws& draws, const float* record, bool jumps, bool rises, u32 number,
                      State& s, float& w) {
    if (jumps) {
        LinearSteps<float> k;
        load_linear_step(p, record, rises, k);
        GaussianPath<float> t = path_from(w);
        advance_equal(t, k, number);
        if (stays_within_bounds(t, k)) {
            w = sample_final_weight(t, pulse_normal(a, draws.key, draws.step, draws.cell, 0u));
            return;
        }
    }
    Steps steps = steps_from(draws);
    step_often(a, p, draws, load_cell(record, 1), steps, rises, number, s, w);
}

// A cell of the list with all that is read of it.
struct PulsedCell {
    u32 entry;
    float w, record[RECORD + 1];
};
FN void fetch_cell(const float* weights, const float* records, u32 entry, PulsedCell& cell) {
    cell.entry = entry;
    cell.w = weights[entry % LISTED_CELLS];
    load_run<RECORD>(records + entry % LISTED_CELLS * RECORD, cell.record);
}

CROWDED_KERNEL(update_pulsed, UpdateArgs) {
    i64 parts = (a.cols + LISTED_CELLS - 1) / LISTED_CELLS, line = item / parts, from = item % parts * LISTED_CELLS;
    i64 replica = line / a.rows, row = line % a.rows;
    const Control& control = a.frozen[replica];
    const Params& p = a.params[replica];
    if (row == 0 && from == 0 && first_lane()) a.control[replica].step = control.step + 1u;
    TrainView m = trains_of(a, replica, row, 0);
    WARP_LIST(u32, list, LISTED_CELLS);
    bool jumps = can_jump(a, p);
    u32 number = list_pulsed(a, m, from, !jumps, list);
    float *weights = a.w + line * a.cols + from, *records = a.cells + (line * a.cols + from) * RECORD;
    Laned<PulsedCell> cells, next;
    LANES(l) if ((u32)l < number) fetch_cell(weights, records, list[l], next[l]);
    for (u32 at = 0u; at < number; at += 32u) {
        // The next cells are fetched while memory would wait for these.
        LANES(l) {
            cells[l] = next[l];
            if (at + 32u + l < number) fetch_cell(weights, records, list[at + 32u + l], next[l]);
        }
        LANES(l) if (at + l < number) {
            const PulsedCell& c = cells[l];
            u32 place = c.entry % LISTED_CELLS, cell = (u32)(row * a.cols + from) + place;
            State s = load_state(c.record, 1);
            float w = hidden_weight(c.w, s);
            CellDraws draws = {key_of(control), control.step, cell, 0u};
            pulse_equally(a, p, draws, c.record, jumps, (c.entry & RISES_BIT) != 0u, c.entry >> 9, s, w);
            weights[place] = written_weight(p, w, s, draws.key, {a.call, control.step, WRITE}, cell);
            store_state(records + place * RECORD, 1, s);
        }
    }
}
