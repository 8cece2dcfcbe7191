// Transfer of a fast array into slower ones: settings, schedule, the digital buffer between two arrays.
// A slice is what one transfer reads and writes: a column of the arrays, or a row. Its cells lie on the `lines` that
// cross it. Nothing that belongs to one slice depends on another, so slices are walked apart.
#pragma once
#include "trains/trains.cuh"

enum Rule { PLAIN, BUFFERED, AVERAGED, CHOPPED, DYNAMIC };
enum TransferStream { FLIP = ALGORITHM, FLIP_OUT, SELECT, RESET_SLICE, READ_NOISE, READ_ROUND };
#define MAX_ARRAYS 8

struct TransferPlan {
    float fast_lr, auto_gain, decay, fast_granularity, slow_granularity, buffer_granularity, threshold;
    float step, momentum, tail, buffer_cap, most, in_chop_prob, out_chop_prob, reset_prob;
    float read_in, out_noise, out_step, out_bound, out_scale, out_asymmetry;
    float transfer_lr[8], ratio[8], gamma[8];
    int rule, arrays, reads, by_columns, random_slice, scale_fast, scale_transfer, auto_scale, chop_random, sweeps;
    int forget, no_buffer, correct_magnitude, correct_accumulation, out_sto_round, whole, sum_signs;
    int period[8];
};

// A read of `slice` of array `from` after sample `sample`, in sweep number `sweep` over all slices.
struct Event { u32 sample, slice, from, sweep; };
// The reads of one array in a call: every `period` samples, the first one `phase` samples nearer than that; `next` is the
// slice that comes first, where they are read in turn.
struct Reads { u32 period, phase, number, next; };
// What a call has: events, slots of slices that are read, and the sweeps that were over before it.
struct Found { u32 events, slots, sweeps; };
// One of the slower arrays, by addresses.
struct Link { u64 w, cells, control; };

// From `first` on for rounds of reads: the one at hand has the reads order[first .. last - 1], samples low .. high - 1.
struct TransferArgs {
    i64 items, replicas, rows, cols, batch, slots, max_events, listed;
    float *w, *cells;
    const void *params, *slow_params;
    Control *control, *frozen;
    const PulsePlan *plan, *write_plan;
    const TransferPlan* transfer;
    Amplitude* plans;
    const float *x, *d;
    u32 *x_words, *d_words, *x_rest, *d_rest;
    const Link* chain;
    float *visible, *buffer, *mean, *past, *maxima, *rates, *drive;
    i64* counters;
    Reads* reads;
    Found* found;
    u32 *in_chop, *out_chop, *out_signs, *marks, *slot_slices, *slot_chops, *slot_until, *done;
    Event* events;
    int words, type, noise_on, slow_noise_on, write_type, write_groups;
    u32 call, slow_call;
    i64 first, last, low, high;
    i64* rounds;
    u32 *order, *since, *until;
    float *one_hot, *chosen;
    SampleMask *x_masks, *d_masks;
    SampleGroup* groups;
    u32* hits;
    int spread;
};

// A normal for each of 32 neighbours, the first a multiple of 4: four of them share a block of random numbers.
CALLED void shared_normals(Key key, Draw t, u32 first, u32 block, Laned<float>& z) {
    if (LANE_STRIDE == 1) {
        LANES(l) {
            float w[4];
            normals4(key, t, (first >> 2) + ((u32)l >> 2), block, w[0], w[1], w[2], w[3]);
            u32 q = (u32)l & 3u;
            z[l] = q == 0u ? w[0] : (q == 1u ? w[1] : (q == 2u ? w[2] : w[3]));
        }
        return;
    }
    float w[4][8];
    LOOP for (int m = 0; m < 8; ++m) normals4(key, t, (first >> 2) + (u32)m, block, w[0][m], w[1][m], w[2][m], w[3][m]);
    LANES(l) z[l] = w[l & 3][l >> 2];
}

// Where the cells of a slice lie in an array: cell number first + l * stride on line l.
// `number` counts groups of four lines of all slices.
struct SliceStrip { i64 first, stride; int lines; u32 number; };

FN i64 slices_of(const TransferArgs& a, const TransferPlan& p) { return p.by_columns ? a.cols : a.rows; }
FN i64 lines_of(const TransferArgs& a, const TransferPlan& p) { return p.by_columns ? a.rows : a.cols; }
FN const Link& link_of(const TransferArgs& a, const TransferPlan& p, u32 k) { return a.chain[k - 1]; }
FN Control& slow_frozen(const TransferArgs& a, u32 k, i64 replica) { return a.frozen[k * a.replicas + replica]; }

FN float transfer_rate(const TransferPlan& p, u32 from, float lr) { return p.transfer_lr[from] * (p.scale_transfer ? lr : 1.0f); }
FN float buffer_rate(const TransferPlan& p, u32 from, float lr) { return abs_(transfer_rate(p, from, lr)) * p.ratio[from]; }

// The output stage and ADC of a transfer: input and output are not scaled to the ranges of their converters.
FN float read_out(const TransferPlan& p, float weight, float noise, float dither) {
    float y = weight * p.read_in;
    y = y < 0.0f ? y * (1.0f - p.out_asymmetry) : y;
    y = p.out_noise > 0.0f ? y + p.out_noise * noise : y;
    y = p.out_step > 0.0f ? p.out_step * round_(y / p.out_step + dither) : y;
    y = p.out_bound > 0.0f ? clamp_(y, -p.out_bound, p.out_bound) : y;
    return y * p.out_scale;
}

FN float whole_steps(const TransferPlan& p, float h) { return clamp_(trunc_(h), -p.most, p.most); }
FN float left_over(const TransferPlan& p, float h, float n, float unit) {
    return p.forget ? p.momentum * h : h - (1.0f - p.momentum) * n * unit;
}

// Number of pulses that the slower cell gets after a read of y; h is the buffer in units of weight.
FN float buffered_pulses(const TransferPlan& p, float& h, float y, float rate) {
    h = h + rate * y;
    float n = whole_steps(p, h / p.threshold);
    h = n != 0.0f ? left_over(p, h, n, p.threshold) : h;
    return n;
}

// The buffer is a running mean of the reads in units of weight; the cell moves by `rate` times it where it is more than a step.
FN float averaged_pulses(const TransferPlan& p, float& h, float y, float rate) {
    h = p.momentum * h + (1.0f - p.momentum) * y;
    return abs_(h) > p.threshold ? rate * h / p.slow_granularity : 0.0f;
}

// As buffered_pulses, with a buffer in units of pulses; v is what was read, scaled and with the sign of its choppers.
FN float chopped_pulses(const TransferPlan& p, float& h, float v) {
    h = p.no_buffer ? v : h + v;
    float n = whole_steps(p, h);
    h = n != 0.0f ? left_over(p, h, n, 1.0f) : h;
    return n;
}

// Reads are taken relative to their mean before the chopper last switched.
FN float dynamic_pulses(const TransferPlan& p, float& h, float& mean, float& past, float y, float scale, bool switched) {
    past = switched ? mean : past;
    h = h + scale * (y - past);
    float n = whole_steps(p, h), cap = p.most * p.buffer_cap;
    float left = left_over(p, h, n, 1.0f);
    left = !p.forget && cap > 0.0f ? clamp_(left, -cap, cap) : left;
    h = n != 0.0f ? left : h;
    mean = (1.0f - p.tail) * mean + p.tail * y;
    return n;
}
