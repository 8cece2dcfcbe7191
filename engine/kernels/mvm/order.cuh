// The two conventions on which the bits of a read depend, one number after the other: where the
// random number of an element lies, and in which order an output adds up its inputs.
#include "mvm/bounds.cuh"

// Random number of element j of a vector in a pass: normal, or what to add before rounding.
FN float random_of(const Read& r, int sub, i64 j, int pass) {
    u32 at = (u32)(j / 128 * 32 + j % 32) | (u32)pass << 26, q = (u32)(j % 128 / 32), word[4];
    float z[4];
    Draw t = {r.t.call, r.t.step, r.t.stream + sub};
    words4(r.key, t, at, r.block, word[0], word[1], word[2], word[3]);
    normals4(r.key, t, at, r.block, z[0], z[1], z[2], z[3]);
    return sub == INPUT_ROUND || sub == OUTPUT_ROUND ? uniform_of(word[q]) - 0.5f : z[q];
}

// What is added up over the inputs of an output: weights times inputs, times what wires lose of
// them; magnitudes times magnitudes, times squares; inputs alone, their squares.
enum Sum { PRODUCT, DROPPED, LOAD, POWER, TOTAL, SQUARES };
FN float sum_of(const MvmArgs& a, const MvmPlan& p, i64 item, i64 o, int pass, int what) {
    float part[32] = {};
    Factors f = factors_of(a, item);
    for (i64 j = 0; j < a.n_in; ++j) {
        float v = part_of(p, a.v[item * a.n_in + j], pass),
              behind = behind_of((int)j, (float)a.n_in);
        i64 at = o * a.w_out + j * a.w_in;
        float w = a.asymmetry && pass == 0 ? f.w[at] * f.spread[at] : f.w[at];
        w = what == LOAD || what == POWER ? abs_(w)
            : what == TOTAL               ? 1.0f
            : what == SQUARES             ? v
                                          : w;
        v = what == DROPPED ? v * (1.0f - behind * behind) : what == LOAD ? abs_(v) : v;
        v = what == POWER ? v * v : v;
        // Forward 32 partial sums along the inputs, added in pairs; backward a single one.
        float* sum = part + (a.w_in == 1 || what >= TOTAL ? j % 32 : 0);
        *sum = fma_(w, v, *sum);
    }
    for (int half = 16; half; half /= 2) {
        for (int l = 0; l < half; ++l) part[l] = part[l] + part[l + half];
    }
    return part[0];
}
