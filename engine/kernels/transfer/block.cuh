// Thirty-two cells of a slice in lockstep, with their pulses: a warp on a GPU, vectors on a CPU.
// Taken in once for each device of a unit, inside the namespace of that device.
#include "args.cuh"
#include "update/args.cuh"

enum { record_size = RECORD };
struct SliceCells {
    Laned<float> w, record[RECORD + 1];
    Laned<u32> cell;
    int lines;
};

CALLED void load_block(const UpdateArgs& a, const SliceStrip& s, SliceCells& k) {
    k.lines = s.lines;
    LANES_UP_TO(l, (s.lines + 15) & ~15) {
        i64 at = s.first + (l < s.lines ? l : 0) * s.stride;
        k.cell[l] = (u32)at;
        for (int f = 0; f < RECORD; ++f) k.record[f][l] = a.cells[at * RECORD + f];
        k.w[l] = hidden_weight(a.w[at], load_state(&k.record[0][l], LANE_STRIDE));
    }
}

// Writes back the cells that `touched` marks; n > 0 numbers the writes of a strip within the call.
CALLED void store_block(const UpdateArgs& a, const SliceStrip& s, SliceCells& k, Laned<u32>& touched, u32 n) {
    Laned<float> seen;
#if WRITE_NOISE
    Laned<float> z;
    float sigma = a.params[0].write_noise_std * a.params[0].dw_min;
    shared_normals(key_of(a.frozen[0]), {a.call, a.frozen[0].step, WRITE}, s.number << 2, n, z);
    LANES(l) {
        State state = load_state(&k.record[0][l], LANE_STRIDE);
        state.persistent = k.w[l];
        store_state(&k.record[0][l], LANE_STRIDE, state);
        seen[l] = k.w[l] + sigma * z[l];
    }
#else
    LANES(l) seen[l] = k.w[l];
#endif
    LANES_OF(l, s.lines) if (l < s.lines && touched[l] != 0u) {
        i64 at = s.first + l * s.stride;
        a.w[at] = seen[l];
        for (int f = CELL_FLOATS; f < RECORD; ++f) a.cells[at * RECORD + f] = k.record[f][l];
    }
}

// What is read of one cell after write number n of its strip, whose cell lies in group `number` of four lines.
FN float strip_weight(const UpdateArgs& a, i64 replica, float hidden, u32 number, u32 line, u32 n) {
#if WRITE_NOISE
    float z[4], sigma = a.params[replica].write_noise_std * a.params[replica].dw_min;
    const Control& c = a.frozen[replica];
    normals4(key_of(c), {a.call, c.step, WRITE}, number, n, z[0], z[1], z[2], z[3]);
    float low = choose((line & 1u) != 0u, z[1], z[0]), high = choose((line & 1u) != 0u, z[3], z[2]);
    return hidden + sigma * choose((line & 2u) != 0u, high, low);
#else
    return hidden;
#endif
}

// Puts the cells of the strip back to their reset value: b_reset + reset_std z, within their bounds.
CALLED void reset_block(const UpdateArgs& a, const SliceStrip& s, u32 n) {
    SliceCells k;
    Laned<float> z;
    Laned<u32> all;
    load_block(a, s, k);
    shared_normals(key_of(a.frozen[0]), {a.call, a.frozen[0].step, RESET}, s.number << 2, n, z);
    LANES_OF(l, s.lines) {
        Cell c = load_cell(&k.record[0][l], LANE_STRIDE);
        k.w[l] = c.reset_bias + a.params[0].reset_std * z[l];
        bound_weight(k.w[l], c);
        all[l] = 1u;
    }
    store_block(a, s, k, all, 0x20000000u + n);
}
