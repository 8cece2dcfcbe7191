// What: what of a periphery outlasts a call: constants of outputs and weights, drawn once, and the
//   running average of the input scale.
// One item is: a replica, for mvm_freeze_weights a weight.
// Must equal: tests/naive/mvm.py.
// When it is chosen: when a tile is made; mvm_average for NM_AVERAGE_ABS_MAX.
#include "mvm/dac.cuh"

// Constants of the outputs of a replica, one thread, so that the mean of the bends has an order.
// Half of the outputs have a voltage offset.
KERNEL(mvm_freeze, MvmArgs) {
    const MvmPlan p = a.plan[0];
    Key key = key_of(a.control[item]);
    Draw t = {a.call, 0, FROZEN};
    float *row = a.frozen + item * FROZEN_ROWS * a.n_out, sum = 0.0f;
    for (i64 i = 0; i < a.n_out; ++i) {
        float sigma = normal_at(key, t, (u32)i, SIGMA), bend = normal_at(key, t, (u32)i, BEND);
        float o = p.v_offset_std * normal_at(key, t, (u32)i, OFFSET);
        bool chosen = p.v_offset_positive ? o > 0.0f : normal_at(key, t, (u32)i, GAIN) > 0.0f;
        row[SIGMA * a.n_out + i] = abs_(p.out_noise * (1.0f + p.out_noise_std * sigma));
        row[OFFSET * a.n_out + i] = chosen ? o : 0.0f;
        row[BEND * a.n_out + i] = abs_(p.bend * (1.0f + p.bend_std * bend));
        sum = sum + row[BEND * a.n_out + i];
    }
    float mean = sum / (float)a.n_out;
    float root = p.slope > 0.0f ? 1.0f + (mean + p.r_series) * p.slope : 1.0f;
    for (i64 i = 0; i < a.n_out; ++i) row[GAIN * a.n_out + i] = root * root;
}

// The factor of a weight where the input is negative.
KERNEL(mvm_freeze_weights, MvmArgs) {
    i64 cells = a.n_in * a.n_out;
    Draw t = {a.call, 0, FROZEN};
    float z = normal_at(key_of(a.control[item / cells]), t, (u32)(item % cells), FROZEN_ROWS);
    a.asymmetry[item] = 1.0f + a.plan[0].w_read_asymmetry * z;
}

// The running average of the input scale, vector by vector, before mvm_input.
WARP_KERNEL(mvm_average, MvmArgs) {
    float decay = a.plan[0].nm_decay, s = a.average[item];
    for (i64 b = item * a.batch; b < (item + 1) * a.batch; ++b) {
        float top = abs_max_of(a.x + b * a.n_in, a.n_in, ONE_WARP);
        s = s < 0.0f ? top : (1.0f - decay) * s + decay * top;
        if (first_lane()) a.alpha[b] = s;
    }
    if (first_lane()) a.average[item] = s;
}
