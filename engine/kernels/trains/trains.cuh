// From a sample (x, d) and a learning rate to pulse trains, and from trains to pulses.
// A word of a train holds 31 slots and, in the top bit, the sign of its line.
#pragma once
#include "random.cuh"

#define SLOTS 31
#define SLOT_MASK 0x7fffffffu

enum PulseType { STOCHASTIC = 0, MEAN_COUNT = 1, DETERMINISTIC = 2, EXACT = 3 };

struct PulsePlan {
    float granularity, desired_bl, grad_scale, res, x_res, d_res;
    int type, fixed_bl, manage_bl, manage_update, sto_round, max_bl;
};
struct Amplitude { float x, d; int length; int down; };

// Sample masks: a line in a group of 32 consecutive samples, one bit a sample. `fires` marks the samples in which any slot
// of the line fires, `signs` those in which it is negative; the lines of d carry the direction of the update as well, so
// that different signs of both lines mean a pulse up.
#define GROUP 32
struct SampleMask { u32 fires, signs; };
// What all cells share of a group. `starts` marks the samples that begin a window (WINDOW in jump.cuh), `before` counts the
// windows that began in earlier groups. `single` marks the trains of one slot, of which the masks tell everything;
// `trained` marks all samples that have a train.
struct SampleGroup { u32 starts, before, single, trained; };
// Chunks of 32 groups of samples come in spans of so many.
#define HIT_SPAN 16
FN i64 spans_of(i64 chunks) { return (chunks + HIT_SPAN - 1) / HIT_SPAN; }
FN i64 groups_of(i64 batch) { return (batch + GROUP - 1) / GROUP; }
// The samples of a group up to one of them, inclusive.
FN u32 up_to(u32 sample) { return 0xffffffffu >> (31u - sample); }

// The largest of n magnitudes.
FN float largest_of(const float* v, i64 n) {
    Laned<float> top;
    LANES(l) top[l] = 0.0f;
    // Loads that do not wait for each other: a long line would be read at the pace of their latency.
    for (; n >= 512; n -= 512, v += 512) UNROLLED for (int q = 0; q < 16; ++q) LANES(l) top[l] = max_(abs_(v[32 * q + l]), top[l]);
    for (; n >= 128; n -= 128, v += 128) UNROLLED for (int q = 0; q < 4; ++q) LANES(l) top[l] = max_(abs_(v[32 * q + l]), top[l]);
    for (; n >= 32; n -= 32, v += 32) LANES(l) top[l] = max_(abs_(v[l]), top[l]);
    int rest = (int)n;
    if (rest > 0) LANES(l) top[l] = max_(l < rest ? abs_(v[l]) : 0.0f, top[l]);
    return lanes_max(top);
}

// Length of the trains and the factors from |x| and |d| to firing probabilities, for one sample.
FN Amplitude plan_sample(const PulsePlan& u, float lr, float x_max, float d_max) {
    Amplitude a = {0.0f, 0.0f, 0, lr >= 0.0f};
    float rate = abs_(lr);
    if (rate == 0.0f || x_max == 0.0f || d_max == 0.0f) return a;
    float d_scaled = u.grad_scale * d_max;
    float wanted = rate * x_max * d_scaled / u.granularity;
    float length = u.desired_bl;
    bool long_train = !u.fixed_bl && !u.manage_bl && u.granularity * u.desired_bl < rate;
    if (u.manage_bl) length = min_(-floor_(-wanted), u.desired_bl);
    else if (long_train) length = max_(-floor_(-rate / u.granularity), 1.0f);
    length = min_(length, (float)u.max_bl);
    float factor = long_train ? 1.0f : sqrt_(rate / (u.granularity * length));
    a.x = a.d = factor;
    a.length = (int)length;
    if (u.manage_update || u.manage_bl) {
        float d_top = wanted > u.desired_bl ? d_scaled * u.desired_bl / wanted : d_scaled;
        a.d = factor * sqrt_(x_max / d_top);
        a.x = factor * sqrt_(d_top / x_max);
    }
    return a;
}

// One binary digit: an open slot is decided where its random digit differs from the probability's.
FN void decide_plane(u32 random, u32 target, u32& open, u32& fired) {
    u32 plane = (u32)((int)target >> 31);
    fired |= open & plane & ~random;
    open &= ~(plane ^ random);
}

// Up to this many slots take a random word each; more share the digits of a word.
#define WORD_A_SLOT 12

FN u32 fires(u32 random, u32 target, u32 slots, u32 slot) { return (random < target ? 1u << slot : 0u) & slots; }

// The probability of a line as a binary fraction of 32 digits: 0 where nothing is left to chance, as in lines that never
// fire or surely do.
FN bool surely(float p) { return p * 4294967296.0f >= 4294967296.0f; }
FN u32 target_of(float probability) {
    float p = probability * 4294967296.0f;
    return p >= 1.0f && p < 4294967296.0f ? (u32)(p < 4294967040.0f ? p : 4294967040.0f) : 0u;
}

// Whether the only slot of a line fires: surely, or where the random word is below the target. Without a branch.
FN u32 fires_once(u32 random, float probability) {
    float p = probability * 4294967296.0f;
    bool chance = p >= 1.0f, sure = p >= 4294967296.0f;
    u32 target = (u32)min_(chance && !sure ? p : 0.0f, 4294967040.0f);
    return (u32)sure | (u32)(random < target);
}

// Up to this many slots take their words from a block that four samples share, of which each has a word of its own.
#define SHARED_SLOTS 2
FN u32 shared_line(u32 line) { return line | 0x80000000u; }
FN u32 shared_block(u32 sample, u32 slot) { return sample / 4u * SHARED_SLOTS + slot; }

// Bits of 32 lines of a sample in such a train.
FN void draw_shared(Laned<float>& probability, u32 slots, Key k, Draw t, u32 first_line, u32 sample, Laned<u32>& fired) {
    LANES(l) fired[l] = surely(probability[l]) ? slots : 0u;
    for (u32 slot = 0; slot < SHARED_SLOTS && (slots >> slot) != 0u; ++slot) LANES(l) {
        u32 r0, r1, r2, r3;
        words4(k, t, shared_line(first_line + l), shared_block(sample, slot), r0, r1, r2, r3);
        u32 own = sample & 2u ? (sample & 1u ? r3 : r2) : (sample & 1u ? r1 : r0);
        fired[l] |= fires(own, target_of(probability[l]), slots, slot);
    }
}

// Independent Bernoulli bits for 32 lines at once, of which the first N matter: random binary fractions are compared with the probability. In long
// trains that goes plane by plane from the top, until every slot is decided (about seven planes for 31 slots).
template <int N> FN void draw_bits(Laned<float>& probability, u32 slots, Key k, Draw t, u32 first_line, u32 first_block, Laned<u32>& fired) {
    Laned<u32> open, target;
    LANES(l) {
        fired[l] = surely(probability[l]) ? slots : 0u;
        target[l] = target_of(probability[l]);
        open[l] = target[l] ? slots : 0u;
    }
    bool few = (slots >> WORD_A_SLOT) == 0u;
    for (u32 block = 0; few && (slots >> (4u * block)) != 0u && lanes_any(open); ++block) {
        LANES_UP_TO(l, N) {
            u32 r0, r1, r2, r3, own = open[l], p = target[l];
            words4(k, t, first_line + l, first_block + block, r0, r1, r2, r3);
            fired[l] |= fires(r0, p, own, 4u * block) | fires(r1, p, own, 4u * block + 1u);
            fired[l] |= fires(r2, p, own, 4u * block + 2u) | fires(r3, p, own, 4u * block + 3u);
        }
    }
    for (u32 block = 0; !few && block < 8 && lanes_any(open); ++block) {
        LANES_UP_TO(l, N) {
            u32 r0, r1, r2, r3;
            words4(k, t, first_line + l, first_block + block, r0, r1, r2, r3);
            u32 o = open[l], f = fired[l], p = target[l];
            decide_plane(r0, p, o, f);
            decide_plane(r1, p << 1, o, f);
            decide_plane(r2, p << 2, o, f);
            decide_plane(r3, p << 3, o, f);
            open[l] = o;
            fired[l] = f;
            target[l] = p << 4;
        }
    }
}
FN void bernoulli_words(Laned<float>& p, u32 slots, Key k, Draw t, u32 first_line, u32 first_block, Laned<u32>& fired) {
    draw_bits<32>(p, slots, k, t, first_line, first_block, fired);
}

// SampleCursor probabilities on their steps. DeterministicImplicit has steps of its own for x and for d.
FN void round_probabilities(const PulsePlan& u, Laned<float>& p, Key k, Draw t, u32 first_line, u32 sample, bool is_x) {
    float res = u.type == DETERMINISTIC ? (is_x ? u.x_res : u.d_res) : u.res;
    if (!(res > 0.0f)) return;
    t.stream = is_x ? ROUND_X : ROUND_D;
    LANES(l) {
        float dither = u.sto_round ? uniform_at(k, t, first_line + l, sample << 2) : 0.5f;
        p[l] = res * round_(p[l] / res + (dither - 0.5f));
    }
}

// The word of a line that does not fire at random: its count, or its clipped amplitude as a float.
FN u32 count_word(const PulsePlan& u, float p, int length) {
    if (u.type == MEAN_COUNT) return (u32)clamp_(round_((float)length * p), 0.0f, (float)length);
    return bits_of(min_(p, 1.0f));
}

FN u32 slots_of(int length, int word) {
    int n = length - word * SLOTS;
    return n >= SLOTS ? SLOT_MASK : (n > 0 ? (1u << n) - 1u : 0u);
}

// Pulses that the words of two lines make on their cell.
FN u32 pulses_of(int type, u32 x, u32 d, int length) {
    u32 mx = x & SLOT_MASK, md = d & SLOT_MASK;
    if (type == STOCHASTIC) return popcount(mx & md);
    if (mx == 0u || md == 0u) return 0u;
    if (type == MEAN_COUNT) return (u32)round_((float)(int)md * (float)(int)mx / (float)length);
    return (u32)round_((float)length * float_of(md) * float_of(mx));
}
FN bool same_sign(u32 x, u32 d) { return ((x ^ d) >> 31) == 0; }
