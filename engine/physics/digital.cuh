// Digital arithmetic beside the crossbars: what an algorithm keeps in floating point.
#pragma once

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
struct ChiArgs {
    i64 items, lanes, rows, cols, batch, split, start, count;
    const float *x, *d;
    float *chi, *whole;
    const Control* control;
    float rate, unit;
    int transfer, random_row;
    u32 call;
};

struct NumberArgs {
    i64 items, lanes;
    float* out;
    const Control* control;
    float scale;
    int uniform;
    u32 call;
};
