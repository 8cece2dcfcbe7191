// What a matrix-vector product (MVM) of a tile is given, and where its vectors lie.
// B vectors a replica, I inputs, O outputs. A replica is an independent copy of the array.
//
// One product may take several passes over the array (one sign of the input at a time, some bits
// of it). Each pass multiplies its part of the input v; with IR drop also v less what the wires
// lose, and |v|; with PCM read noise also v^2. Each of these vectors is a section: first all that
// are multiplied with the weights, then those that are multiplied with their absolute values.
#pragma once
#include "portable.cuh"
#include "maths.cuh"
#include "random.cuh"

enum NoiseManagement {
    NM_NONE,
    NM_ABS_MAX,
    NM_ABS_MAX_NP_SUM,
    NM_MAX,
    NM_CONSTANT,
    NM_AVERAGE_ABS_MAX
};
enum BoundManagement { BM_NONE, BM_ITERATIVE, BM_ITERATIVE_WORST_CASE };
enum WeightNoise { WN_NONE, WN_ADDITIVE_CONSTANT, WN_PCM_READ };
enum Reading {
    MV_ONE_PASS,
    MV_POS_NEG_SEPARATE,
    MV_POS_NEG_SEPARATE_DIGITAL_SUM,
    MV_SPLIT_MODE,
    MV_BIT_WISE
};
// Added to the stream of a product: what a random number is for.
enum SubStream { INPUT_NOISE, INPUT_ROUND, OUTPUT_NOISE, OUTPUT_ROUND, WEIGHT_NOISE };
// Rows of `frozen`: constants of each output that are drawn once.
enum Frozen { SIGMA, OFFSET, BEND, GAIN, FROZEN_ROWS };

// The settings. A bound or a step of 0 is none. `plain`: the periphery needs no more than
// plan_of<true> leaves of it.
struct MvmPlan {
    float inp_bound, inp_step, inp_noise, inp_asymmetry;
    float out_bound, out_step, out_noise, out_noise_std, out_scale, out_asymmetry;
    float nm_thres, nm_decay, nm_assumed_wmax, max_bm_factor, max_bm_res;
    float w_noise, ir_drop, ir_ratio, r_series, reference, v_offset_std, bend, bend_std, slope;
    float w_read_asymmetry;
    int noise_management, bound_management, inp_sto_round, out_sto_round, test_negative, clears;
    int weight_noise, reading, passes, split_shift, signed_kinds, absolute_kinds, sections;
    int offset, curve, sums, v_offset_positive, plain;
};

struct ModifyArgs;  // how the weights of each vector are disturbed, if they are (hwa/modifier.cuh)
struct Retry;       // how far bound management is with a vector (bounds.cuh)

// `x` [vector][I], `w` with steps w_out and w_in, `y` [vector][O]. `v` [section][I] of all vectors
// are converted inputs, `z` [section][O] their products. `alpha`, `retry`: one a vector.
struct MvmArgs {
    i64 items, replicas, batch, first, n_in, n_out, w_out, w_in;
    const float *x, *w;
    float *asymmetry, *frozen, *v, *z, *y, *alpha, *sums, *average;
    const Control* control;
    const MvmPlan* plan;
    const ModifyArgs* per_sample;
    Retry* retry;
    int* queue;
    u32 call, stream;
    int exact;
};

// Bound management on a GPU: counters of each round of reads, then two lists of the vectors that a
// round reads, for even and odd ones. The input stage clears the counters.
#define QUEUE_ROUNDS 40
#define QUEUE_COUNTERS 8
#define QUEUE_SIZE (QUEUE_ROUNDS * QUEUE_COUNTERS)
enum Counter {
    QUEUED,
    INPUTS_CLAIMED,
    INPUTS_DONE,
    TILES_CLAIMED,
    TILES_DONE,
    OUTPUTS_CLAIMED,
    OUTPUTS_DONE
};

// One read of one vector; `block` numbers its random numbers: the vector, and how often it was
// read before.
struct Read {
    Key key;
    Draw t;
    i64 item;
    u32 block;
};
FN Read read_of(const MvmArgs& a, i64 item, u32 round) {
    const Control& c = a.control[item / a.batch];
    u32 block = (u32)(a.first + item % a.batch) | round << 26;
    Read r = {key_of(c), {a.call, c.step, a.stream}, item, block};
    return r;
}

// Sections of a replica lie one after the other, each with all vectors.
FN i64 row_of(const MvmArgs& a, const MvmPlan& p, i64 item, int section) {
    if (p.sections == 1) return item;
    return (item / a.batch * p.sections + section) * a.batch + item % a.batch;
}
FN int signed_section(const MvmPlan& p, int pass, int kind) { return pass * p.signed_kinds + kind; }
FN int absolute_section(const MvmPlan& p, int pass, int kind) {
    return p.passes * p.signed_kinds + pass * p.absolute_kinds + kind;
}
FN float* input_of(const MvmArgs& a, const MvmPlan& p, i64 item, int section) {
    return a.v + row_of(a, p, item, section) * a.n_in;
}
FN float* product_of(const MvmArgs& a, const MvmPlan& p, i64 item, int section) {
    return a.z + row_of(a, p, item, section) * a.n_out;
}

// Most peripheries are plain: one pass, noise of the output alone, converters that round to the
// nearest step. Their plan is a copy in which a compiler sees what is not there.
template <bool plain> FN MvmPlan plan_of(const MvmArgs& a) {
    MvmPlan p = a.plan[0];
    if (!plain) return p;
    p.reading = MV_ONE_PASS;
    p.passes = p.signed_kinds = p.sections = 1;
    p.absolute_kinds = p.sums = p.offset = p.curve = p.inp_sto_round = p.out_sto_round = 0;
    p.weight_noise = WN_NONE;
    p.ir_drop = p.inp_noise = p.inp_asymmetry = p.out_asymmetry = p.out_noise_std = 0.0f;
    return p;
}
