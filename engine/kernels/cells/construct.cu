// What: draws the constants of every cell, once, when an array is made.
// One item is: a cell, a thread.
// Must equal: tests/naive/construct.py.
// When it is chosen: always.
#include "construct.cuh"
KERNEL(construct_cells, ArrayArgs) {
    i64 replica = item / (a.rows * a.cols), cell = item % (a.rows * a.cols);
    Draws draws = {key_of(a.control[replica]), (u32)cell, 0};
    Cell c;
    construct_cell(a.params[replica], c, draws, cell % a.cols == a.cols - 1);
    store_cell(a.cells + item * RECORD, c);
    State s = {};
    store_state(a.cells + item * RECORD, 1, s);
}
