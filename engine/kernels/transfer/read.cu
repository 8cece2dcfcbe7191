// What: a slice that is read: what its lines read as, what the next array shall get for it, its chopper. Knows no device.
// One item is: a cell, a thread (transfer_sum); its functions read a slice with a warp.
// Must equal: tests/naive/transfer.py.
// When it is chosen: always.
#include "args.cuh"

// A slice of one replica that is being read. Bit 0 of `chop` is its sign, bit 1 whether it has just switched; `slot` numbers
// the slices of the call, `w` are the weights of the fast array.
struct SliceRead {
    i64 replica, slice, begin, end;
    u32 slot, chop;
    Key key;
    Draw draw;
    const float* w;
};

FN SliceStrip strip_of(const TransferArgs& a, const TransferPlan& p, const SliceRead& k, i64 at) {
    i64 left = k.end - at;
    SliceStrip s;
    s.first = p.by_columns ? at * a.cols + k.slice : k.slice * a.cols + at;
    s.stride = p.by_columns ? a.cols : 1;
    s.lines = left < 32 ? (int)left : 32;
    s.number = (u32)(k.slice * ((lines_of(a, p) + 3) >> 2) + (at >> 2));
    return s;
}

// What 32 lines of a slice of array `e.from` read as.
CALLED void read_block(const TransferArgs& a, const TransferPlan& p, const SliceRead& k, const Event& e, i64 at, u32 number, Laned<float>& y) {
    const float* from = e.from == 0u ? k.w : (const float*)link_of(a, p, e.from).w + k.replica * a.rows * a.cols;
    SliceStrip s = strip_of(a, p, k, at);
    Draw round = {k.draw.call, k.draw.step, READ_ROUND};
    Laned<float> z, u;
    LANES(l) z[l] = u[l] = 0.0f;
    if (p.out_noise > 0.0f) shared_normals(k.key, {k.draw.call, k.draw.step, READ_NOISE}, (u32)at, number, z);
    if (p.out_sto_round) LANES(l) u[l] = uniform_at(k.key, round, (u32)(at + l), number) - 0.5f;
    LANES(l) y[l] = from[s.first + (l < s.lines ? l : 0) * s.stride];
    LANES(l) y[l] = read_out(p, y[l], z[l], u[l]);
}

struct Scales { float rate, scale; bool warm; };
FN Scales scales_of(const TransferArgs& a, const TransferPlan& p, const SliceRead& k, const Event& e) {
    Scales s;
    s.rate = buffer_rate(p, e.from, slow_frozen(a, (u32)p.arrays - 1u, k.replica).lr);
    float fast = p.correct_magnitude ? a.rates[k.replica * a.batch + e.sample] : 1.0f;
    float unit = p.correct_magnitude ? fast * p.buffer_granularity * p.slow_granularity / p.fast_granularity : p.buffer_granularity;
    s.scale = s.rate / unit;
    u32 turn = e.sweep % (u32)p.sweeps + 1u;
    if (p.correct_accumulation) s.scale = s.scale / min_((float)(int)turn, 1.0f / p.fast_granularity);
    s.warm = p.rule != DYNAMIC || e.sweep > (u32)p.sweeps;
    return s;
}

// From what 32 lines read as to what the next array shall get: minus the number of its pulses, or minus the reading.
FN void drive_block(const TransferArgs& a, const TransferPlan& p, const SliceRead& k, const Event& e, i64 at, Laned<float>& y) {
    i64 base = (e.from * a.replicas + k.replica) * a.rows * a.cols, lines = lines_of(a, p);
    SliceStrip s = strip_of(a, p, k, at);
    Scales c = scales_of(a, p, k, e);
    float lr = slow_frozen(a, (u32)p.arrays - 1u, k.replica).lr;
    const u32* out = p.out_chop_prob > 0.0f ? a.out_signs + (k.replica * a.batch + e.sample) * lines + at : nullptr;
    bool switched = (k.chop & 2u) != 0u;
    LANES(l) if (l < s.lines) {
        i64 cell = base + s.first + l * s.stride;
        float scale = ((k.chop ^ (out ? out[l] : 0u)) & 1u) != 0u ? -c.scale : c.scale, n = y[l];
        if (p.rule == BUFFERED) n = buffered_pulses(p, a.buffer[cell], y[l], c.rate);
        if (p.rule == AVERAGED) n = averaged_pulses(p, a.buffer[cell], y[l], transfer_rate(p, e.from, lr));
        if (p.rule == CHOPPED) n = chopped_pulses(p, a.buffer[cell], scale * y[l]);
        if (p.rule == DYNAMIC) n = dynamic_pulses(p, a.buffer[cell], a.mean[cell], a.past[cell], y[l], scale, switched);
        y[l] = c.warm ? -n : 0.0f;
    }
    LANES(l) y[l] = l < s.lines ? y[l] : 0.0f;
}

// Reads a slice; what the next array shall get goes to `drive`. Returns the largest of it.
CALLED float read_slice(const TransferArgs& a, const TransferPlan& p, const SliceRead& k, const Event& e, u32 number) {
    i64 lines = lines_of(a, p);
    float* drive = a.drive + (k.replica * a.slots + k.slot) * lines;
    Laned<float> top, y;
    LANES(l) top[l] = 0.0f;
    for (i64 at = k.begin; at < k.end; at += 32) {
        read_block(a, p, k, e, at, number, y);
        drive_block(a, p, k, e, at, y);
        LANES(l) top[l] = max_(abs_(y[l]), top[l]);
        LANES(l) if (at + l < k.end) drive[at + l] = y[l];
    }
    return lanes_max(top);
}

// The chopper of a slice after its read: bit 0 its sign, bit 1 whether it has just switched.
FN u32 next_chop(const TransferPlan& p, const SliceRead& k, const Event& e, u32 number) {
    bool due = p.sweeps > 1 && e.sweep % (u32)p.sweeps + 1u == (u32)p.sweeps && (p.rule == DYNAMIC || !p.chop_random);
    bool drawn = p.chop_random && p.in_chop_prob > uniform_at(k.key, {k.draw.call, k.draw.step, FLIP}, (u32)k.slice, number);
    u32 sign = k.chop & 1u;
    return due || drawn ? (sign ^ 1u) | (p.rule == DYNAMIC ? 2u : 0u) : sign;
}

// What the tile shows: the sum of all arrays, the fast one with the signs of its choppers.
KERNEL(transfer_sum, TransferArgs) {
    const TransferPlan& p = a.transfer[0];
    i64 cells = a.rows * a.cols, replica = item / cells, i = item % cells / a.cols, j = item % a.cols;
    i64 slice = p.by_columns ? j : i, line = p.by_columns ? i : j;
    u32 turned = !p.sum_signs ? 0u : (a.in_chop[replica * slices_of(a, p) + slice] ^ a.out_chop[replica * lines_of(a, p) + line]) & 1u;
    float sum = (turned != 0u ? -p.gamma[0] : p.gamma[0]) * a.w[item];
    for (u32 k = 1; (int)k < p.arrays; ++k) sum = sum + p.gamma[k] * ((const float*)link_of(a, p, k).w)[item];
    a.visible[item] = sum;
}
