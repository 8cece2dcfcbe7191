// What: what a pulse changes at each weight of a grid, then a train of up pulses from the lower bound and one of down
// pulses. Numbers lie as [moment or point][cell].
// One item is: a cell, a thread.
// Must equal: the pulses of update_reference, which are made by the same functions.
// When it is chosen: for response curves.
#include "response.cuh"
KERNEL(respond, ResponseArgs) {
    const Params& p = a.params[0];
    Key key = key_of(a.control[0]);
    Draws draws = {key, (u32)item, 0};
    Cell c;
    construct_cell(p, c, draws, false);
    a.low[item] = c.min_bound;
    a.high[item] = c.max_bound;
    for (i64 g = 0; g < a.points; ++g) {
        a.up[g * a.items + item] = step_at(a.grid[g], p, c, true, a.normal);
        a.down[g * a.items + item] = step_at(a.grid[g], p, c, false, a.normal);
    }
    UpdateArgs pulses = {};
    pulses.noise_on = 1;
    State s = {};
    float w = c.min_bound;
    CellDraws pulsed = {key, 0u, (u32)item, 0u};
    Steps steps = steps_from(pulsed);
    for (i64 m = 0; m <= 2 * a.moments; ++m) {
        if (m > 0) step_often(pulses, p, pulsed, c, steps, m <= a.moments, (u32)a.each, s, w);
        Draw written = {(u32)m, 0u, WRITE};
        a.weights[m * a.items + item] = written_weight(p, w, s, key, written, (u32)item);
    }
}
