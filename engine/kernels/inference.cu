// Programming and reading conductances, 32 cells at a time; a noise model's own text stands between this and the header.

struct Cells { i64 matrix, at; int rest; };
FN Cells cells_of(const InferenceArgs& a, i64 item) {
    i64 blocks = (a.cells + 31) / 32, at = item % blocks * 32;
    Cells c = {item / blocks, at, a.cells - at < 32 ? (int)(a.cells - at) : 32};
    return c;
}
// Lanes beyond the end repeat the last cell and store nothing.
FN i64 own_cell(const Cells& c, int l) { return c.at + (l < c.rest ? l : c.rest - 1); }

// Enough normals for `count` calls of noise() of a device.
template <int count> FN void draw_normals(Key key, Draw t, i64 cell, u32 block, float* z) {
    for (int b = 0; b < (count + 3) / 4; ++b)
        normals4(key, t, (u32)cell, block + b, z[4 * b], z[4 * b + 1], z[4 * b + 2], z[4 * b + 3]);
}
template <int count> struct Normals { enum { blocks = count > 0 ? (count + 3) / 4 : 1, size = 4 * blocks }; };

// From target weights to programmed conductances, and the weights that these make. A device that misses its target by
// more than `band` is programmed again, `rounds` times at most.
WARP_KERNEL(program_cells, InferenceArgs) {
    const NoiseModel& p = *(const NoiseModel*)a.params;
    Cells own = cells_of(a, item);
    i64 all = a.matrices * a.cells, first = own.matrix * a.cells;
    float low = a.limits[2 * own.matrix], gain = gain_of(a, low, a.limits[2 * own.matrix + 1]);
    Key key = key_of(a.control[own.matrix]);
    Draw t = {a.call, 0, PROGRAMMING};
    Reach reach = {a.noise_g_max, a.g_min};
    Laned<float> total;
    LANES(l) total[l] = 0.0f;
    for (int k = 0; k < a.devices; ++k) {
        Laned<float> best;
        Laned<u32> missed;
        LANES(l) { best[l] = 0.0f; missed[l] = 1u; }
        for (int round = 0; round < a.rounds && lanes_any(missed); ++round) {
            u32 block = (u32)(round * a.devices + k) * Normals<PROGRAM_NOISE>::blocks;
            LANES(l) {
                i64 cell = own_cell(own, l);
                float z[Normals<PROGRAM_NOISE>::size];
                draw_normals<PROGRAM_NOISE>(key, t, cell, block, z);
                float target = conductance_of(a, a.w[first + cell], k, gain, low), g = target;
                Kept c;
                program_device(g, c, p, reach, 0.0f, z);
                bool again = missed[l] != 0u;
                best[l] = again ? g : best[l];
                missed[l] = abs_(best[l] - target) > a.band ? 1u : 0u;
                if (l < own.rest && again) store_kept(a.kept + k * KEPT * all + first + cell, all, c);
            }
        }
        LANES(l) {
            if (l < own.rest) a.g[k * all + first + own.at + l] = best[l];
            total[l] = total[l] + share_of(a, best[l], k);
        }
    }
    float offset = a.kind == SINGLE ? low : 0.0f;
    LANES(l) if (l < own.rest) a.out[first + own.at + l] = total[l] / gain + offset;
}

// The weights that the programmed devices make at `time`, read once. With `anew` the programmed weights are converted to
// conductances anew instead of taking those that were programmed.
WARP_KERNEL(drift_cells, InferenceArgs) {
    const NoiseModel& p = *(const NoiseModel*)a.params;
    Cells own = cells_of(a, item);
    i64 all = a.matrices * a.cells, first = own.matrix * a.cells;
    float low = a.limits[2 * own.matrix], gain = gain_of(a, low, a.limits[2 * own.matrix + 1]);
    Key key = key_of(a.control[own.matrix]);
    Draw t = {a.call, 0, DRIFTING};
    Reach reach = {a.noise_g_max, a.g_min};
    Laned<float> total;
    LANES(l) total[l] = 0.0f;
    for (int k = 0; k < a.devices; ++k) LANES(l) {
        i64 cell = own_cell(own, l), at = first + cell;
        float z[Normals<DRIFT_NOISE>::size];
        draw_normals<DRIFT_NOISE>(key, t, cell, (u32)k * Normals<DRIFT_NOISE>::blocks, z);
        float g = a.anew ? conductance_of(a, a.w[at], k, gain, low) : a.g[k * all + at];
        Kept c = load_kept(a.kept + k * KEPT * all + at, all);
        drift_device(g, c, p, reach, a.time, z);
        total[l] = total[l] + share_of(a, g, k);
    }
    float offset = a.kind == SINGLE ? low : 0.0f;
    LANES(l) if (l < own.rest) a.out[first + own.at + l] = total[l] / gain + offset;
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
