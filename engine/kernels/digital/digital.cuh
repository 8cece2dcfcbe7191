// Digital arithmetic beside the crossbars: what an algorithm keeps in floating point.
#pragma once
#include "random.cuh"

enum { QUANTISE = ALGORITHM, PICK_ROW, DRAW_NUMBERS };

// Lines are the n values of a sample; `half` is half the number of bins.
struct QuantiseArgs {
    i64 items, batch, n;
    const float* v;
    float* q;
    const Control* control;
    int half, stochastic;
    u32 call;
};

// chi takes the outer products of a mini-batch. Before sample `split`, what is whole in units of `unit` goes to `whole`.
// Samples are summed in blocks of SUMMED: the first block of each part of the mini-batch goes on from chi, the sums of the
// others begin at 0 and are added in order. So a GPU can make those sums in parallel (`partial`, as [block][replica][row]
// [column]), while a mini-batch of one block costs no more than its products.
#define SUMMED 256
struct ChiArgs {
    i64 items, replicas, rows, cols, batch, split, start, count;
    const float *x, *d;
    float *chi, *whole, *partial;
    const Control* control;
    float rate, unit;
    int transfer, random_row;
    u32 call;
};

// Blocks of a part of n samples whose sums begin at 0.
FN i64 later_blocks(i64 n) { return n > SUMMED ? (n - 1) / SUMMED : 0; }

struct NumberArgs {
    i64 items, replicas;
    float* out;
    const Control* control;
    float scale;
    int uniform;
    u32 call;
};
