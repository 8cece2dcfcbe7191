// What: programming and reading conductances; a noise model's own text stands between this and the
//   header. The means of outputs by which drift is compensated for.
// One item is: 32 cells, a warp; an output or a matrix, a thread.
// Must equal: the formulas of engine/inference/models, as tests/inference has them.
// When it is chosen: always.
#include "inference/conductance.cuh"
#include "model/noise.cuh"

struct Cells {
    i64 matrix, at;
    int rest;
};
FN Cells cells_of(const InferenceArgs& a, i64 item) {
    i64 blocks = (a.cells + 31) / 32, matrix = item / blocks, at = item % blocks * 32;
    Cells c = {matrix, matrix * a.cells + at, a.cells - at < 32 ? (int)(a.cells - at) : 32};
    return c;
}
FN void load_cells(const float* from, const Cells& own, Laned<float>& v) {
    from += own.at;
    LANES(l) v[l] = l < own.rest ? from[l] : 0.0f;
}

// Normals for `count` calls of noise() in each lane.
template <int count> struct Normals {
    enum { blocks = count > 0 ? (count + 3) / 4 : 1 };
    Laned<float> z[4 * blocks];
};
template <int count> FN void draw(Normals<count>& n, Key key, Draw t, u32 cell, u32 block) {
    for (int b = 0; b < (count + 3) / 4; ++b)
        LANES(l) {
            u32 w0, w1, w2, w3;
            words4(key, t, cell + (u32)l, block + b, w0, w1, w2, w3);
            normal2(w0, w1, n.z[4 * b][l], n.z[4 * b + 1][l]);
            if (count > 4 * b + 2) normal2(w2, w3, n.z[4 * b + 2][l], n.z[4 * b + 3][l]);
        }
}
template <int count> struct Own {
    float z[count + 1];
};
template <int count> FN Own<count> own_normals(Normals<count>& n, int l) {
    Own<count> o;
    for (int k = 0; k < count; ++k) o.z[k] = n.z[k][l];
    return o;
}

FN void store_weights(
    const InferenceArgs& a, const Cells& own, Laned<float>& total, float gain, float low
) {
    float offset = a.kind == SINGLE ? low : 0.0f, *out = a.out + own.at;
    LANES(l)
        if (l < own.rest) out[l] = total[l] / gain + offset;
}

// From target weights to programmed conductances, and the weights that these make. A device that
// misses its target by more than `band` is programmed again, `rounds` times at most.
WARP_KERNEL(program_cells, InferenceArgs) {
    const NoiseModel& p = *(const NoiseModel*)a.params;
    Cells own = cells_of(a, item);
    i64 all = a.matrices * a.cells;
    float low = a.limits[2 * own.matrix], gain = gain_of(a, low, a.limits[2 * own.matrix + 1]);
    Key key = key_of(a.control[own.matrix]);
    Draw t = {a.call, 0, PROGRAMMING};
    Reach reach = {a.noise_g_max, a.g_min};
    Laned<float> weight, total;
    load_cells(a.w, own, weight);
    LANES(l) total[l] = 0.0f;
    for (int k = 0; k < a.devices; ++k) {
        Laned<float> target, best;
        Laned<u32> missed;
        conductances_of(a, weight, k, gain, low, target);
        LANES(l) {
            best[l] = 0.0f;
            missed[l] = l < own.rest ? 1u : 0u;
        }
        Share share = share_of(a, k);
        float *g = a.g + k * all + own.at, *kept = a.kept + k * KEPT * all + own.at;
        for (int round = 0; round < a.rounds && lanes_any(missed); ++round) {
            Normals<PROGRAM_NOISE> normals;
            draw(
                normals, key, t, (u32)(own.at - own.matrix * a.cells),
                (u32)(round * a.devices + k) * normals.blocks
            );
            LANES(l) {
                float made = target[l];
                Kept c;
                program_device(made, c, p, reach, 0.0f, own_normals(normals, l).z);
                u32 again = missed[l];
                best[l] = again ? made : best[l];
                missed[l] = again & (abs_(made - target[l]) > a.band ? 1u : 0u);
                if (again) store_kept(kept + l, all, c);
            }
        }
        LANES(l)
            if (l < own.rest) g[l] = best[l];
        LANES(l) total[l] = total[l] + share.factor * (best[l] - share.base);
    }
    store_weights(a, own, total, gain, low);
}

// The weights that the programmed devices make at `time`, read once. With `anew` the programmed
// weights are converted to conductances anew instead of taking those that were programmed.
WARP_KERNEL(drift_cells, InferenceArgs) {
    const NoiseModel& p = *(const NoiseModel*)a.params;
    Cells own = cells_of(a, item);
    i64 all = a.matrices * a.cells;
    float low = a.limits[2 * own.matrix], gain = gain_of(a, low, a.limits[2 * own.matrix + 1]);
    Key key = key_of(a.control[own.matrix]);
    Draw t = {a.call, 0, DRIFTING};
    Moment m = moment_of(p, a.time);
    Reach reach = {a.noise_g_max, a.g_min};
    Laned<float> weight, total;
    if (a.anew) load_cells(a.w, own, weight);
    LANES(l) total[l] = 0.0f;
    for (int k = 0; k < a.devices; ++k) {
        Laned<float> g;
        if (a.anew) conductances_of(a, weight, k, gain, low, g);
        else load_cells(a.g + k * all, own, g);
        Normals<DRIFT_NOISE> normals;
        draw(normals, key, t, (u32)(own.at - own.matrix * a.cells), (u32)k * normals.blocks);
        Share share = share_of(a, k);
        Laned<float> kept[KEPT + 1];
        for (int n = 0; n < KEPT; ++n) load_cells(a.kept + (k * KEPT + n) * all, own, kept[n]);
        LANES(l) {
            Kept c = kept_of(kept, l);
            float now = g[l];
            drift_device(now, c, m, p, reach, a.time, own_normals(normals, l).z);
            total[l] = total[l] + share.factor * (now - share.base);
            g[l] = now;
        }
        if (a.read)
            LANES(l)
                if (l < own.rest) a.read[k * all + own.at + l] = g[l];
    }
    store_weights(a, own, total, gain, low);
}

// One output a thread: its reads in their order.
KERNEL(mean_outputs, ReadoutArgs) {
    const float* y = a.y + item / a.outputs * a.reads * a.outputs + item % a.outputs;
    float sum = 0.0f;
    for (i64 b = 0; b < a.reads; ++b) sum = sum + abs_(y[b * a.outputs]);
    a.mean[item] = sum / (float)a.reads;
    if (!a.joined) a.mean[item] = max_(a.mean[item], a.floor);
}

// One matrix a thread: its outputs in their order.
KERNEL(mean_matrices, ReadoutArgs) {
    float sum = 0.0f;
    for (i64 o = 0; o < a.outputs; ++o) sum = sum + a.y[item * a.outputs + o];
    a.mean[item] = max_(sum / (float)a.outputs, a.floor);
}
