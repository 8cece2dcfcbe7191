// Random numbers as a pure function of key and counter: Philox4x32-10 (Salmon et al., SC 2011, Random123).
// Key: made from the seed of the run and the id of the tile. Counter: what is drawn, and in which call.
#pragma once
#include "maths.cuh"

struct Key { u32 a, b; };
struct Draw { u32 call, step, stream; };

enum Stream {
    CONSTRUCT = 1, CONSTRUCT_UNIFORM, TRAIN_X, TRAIN_D, ROUND_X, ROUND_D, PULSE, PULSE_UNIFORM, WRITE,
    DECAY, DIFFUSE, RESET, RESET_CHOICE, DRIFT, FROZEN,
    FORWARD, BACKWARD = FORWARD + 16, EVALUATE = BACKWARD + 16, EVALUATE_BACK = EVALUATE + 16, ALGORITHM = EVALUATE_BACK + 16
};

FN void philox(u32& a, u32& b, u32& c, u32& d, Key k) {
    for (int round = 0; round < 10; ++round) {
        u32 h0 = mul_hi(0xD2511F53u, a), l0 = 0xD2511F53u * a;
        u32 h1 = mul_hi(0xCD9E8D57u, c), l1 = 0xCD9E8D57u * c;
        a = h1 ^ b ^ k.a;
        c = h0 ^ d ^ k.b;
        b = l1;
        d = l0;
        k.a += 0x9E3779B9u;
        k.b += 0xBB67AE85u;
    }
}

// Four random words for element `at`, block `block` of its draws.
FN void words4(Key k, Draw t, u32 at, u32 block, u32& a, u32& b, u32& c, u32& d) {
    a = at; b = block; c = t.call; d = (t.stream << 24) | (t.step & 0xffffffu);
    philox(a, b, c, d, k);
}

// Uniform in (0, 1), both ends excluded.
FN float uniform_of(u32 w) { return fma_((float)(int)(w >> 9), 1.1920929e-7f, 5.9604645e-8f); }

// Two standard normals from two words (Box & Muller 1958).
FN void normal2(u32 a, u32 b, float& z0, float& z1) {
    float u = fma_((float)(int)(a >> 1), 4.65661287e-10f, 2.32830644e-10f);
    float r = sqrt_(-2.0f * log_normal(u, 0.0f));
    float s, c;
    turn(b, s, c);
    z0 = r * c;
    z1 = r * s;
}

FN void normals4(Key k, Draw t, u32 at, u32 block, float& z0, float& z1, float& z2, float& z3) {
    u32 a, b, c, d;
    words4(k, t, at, block, a, b, c, d);
    normal2(a, b, z0, z1);
    normal2(c, d, z2, z3);
}

// Draw number n of an element, alone (three quarters of the work are thrown away: not for inner loops).
FN float normal_at(Key k, Draw t, u32 at, u32 n) {
    float z[4];
    normals4(k, t, at, n >> 2, z[0], z[1], z[2], z[3]);
    return z[n & 3u];
}
FN float uniform_at(Key k, Draw t, u32 at, u32 n) {
    u32 w[4];
    words4(k, t, at, n >> 2, w[0], w[1], w[2], w[3]);
    return uniform_of(w[n & 3u]);
}

// What a call needs to draw: lives in device memory, so that a captured graph does not repeat its noise.
// `turn` counts the samples of a cell whose devices take turns.
struct Control { u32 key_a, key_b, step; float lr; u32 turn, spare[11]; };
FN Key key_of(const Control& c) { Key k = {c.key_a, c.key_b}; return k; }
