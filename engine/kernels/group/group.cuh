// Cells of several devices: who takes which pulses, what the cell weighs, which pairs are full.
#pragma once
#include "trains/trains.cuh"

enum Policy { POLICY_ALL, POLICY_FIXED, POLICY_SEQUENTIAL, POLICY_RANDOM };
enum { TURN = ALGORITHM };

struct GroupArgs {
    i64 items, replicas, rows, cols, batch;
    float* w;
    const float *parts[8];
    float factors[8];
    Control *control, *frozen;
    const Amplitude* plans;
    Amplitude* dealt;
    const u32 *x_words, *d_words;
    u32 *x_split, *d_split;
    int words, devices, policy, first;
    u32 call;
};

struct RefreshArgs {
    i64 items, rows, cols;
    const float *up, *down;
    float *up_write, *down_write, *chosen;
    float up_high, up_low, down_high, down_low;
};

// The device that takes sample b of a call.
FN u32 device_of(const GroupArgs& a, const Control& c, i64 b) {
    u32 n = (u32)a.devices;
    if (a.policy == POLICY_SEQUENTIAL) return (u32)(((i64)a.first + 1 + (i64)c.turn + b) % n);
    if (a.policy != POLICY_RANDOM) return (u32)a.first;
    Draw t = {a.call, c.step, TURN};
    return min_u((u32)(int)(uniform_at(key_of(c), t, (u32)b, 0) * (float)a.devices), n - 1u);
}

// A word of a line whose sign is wanted, made to point the other way if `turned`; nothing for the other sign.
FN u32 word_if(u32 word, bool negative, bool turned) {
    bool is = (word >> 31) != 0u;
    return is != negative ? 0u : word ^ (turned ? 0x80000000u : 0u);
}
