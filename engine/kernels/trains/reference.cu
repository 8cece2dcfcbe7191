// What: the plan of a sample and the trains of its lines as their definition has them, slot by slot.
// One item is: a line of a sample, first those of x, then those of d; a thread.
// Must equal: nothing; the other kernels of this folder must equal this one.
// When it is chosen: by tests alone.
#include "update/args.cuh"

FN float largest_magnitude(const float* v, i64 n) {
    float top = 0.0f;
    for (i64 k = 0; k < n; ++k) top = max_(abs_(v[k]), top);
    return top;
}

// Random word number n of a line, from block `first` on.
FN u32 random_word(Key key, Draw t, u32 line, u32 first, u32 n) {
    u32 r[4];
    words4(key, t, line, first + n / 4u, r[0], r[1], r[2], r[3]);
    return r[n % 4u];
}

// Whether a slot fires: where a random binary fraction is below the probability. Short trains take a word a slot; four
// samples share the blocks of the shortest ones. In longer trains digit k of all slots of a word is random word k.
FN bool slot_fires(Key key, Draw t, u32 line, u32 sample, int length, u32 slot, u32 target) {
    if (length <= SHARED_SLOTS) {
        return random_word(key, t, shared_line(line), shared_block(sample, slot), sample % 4u) < target;
    }
    u32 word = slot / SLOTS, place = slot % SLOTS, first = sample << 10 | word * 8u, fraction = 0u;
    if (length - (int)(word * SLOTS) <= WORD_A_SLOT) return random_word(key, t, line, first, place) < target;
    for (u32 digit = 0; digit < 32u; ++digit) {
        fraction = fraction << 1 | (random_word(key, t, line, first, digit) >> place & 1u);
    }
    return fraction < target;
}

// The probability that a line fires in a slot, on its steps.
FN float rounded(const PulsePlan& u, float p, Key key, Draw t, u32 line, u32 sample, bool is_x) {
    float res = u.type == DETERMINISTIC ? (is_x ? u.x_res : u.d_res) : u.res;
    t.stream = is_x ? ROUND_X : ROUND_D;
    float dither = u.sto_round ? uniform_at(key, t, line, sample << 2) : 0.5f;
    return res > 0.0f ? res * round_(p / res + (dither - 0.5f)) : p;
}

KERNEL(trains_reference, UpdateArgs) {
    i64 line = item % (a.cols + a.rows), sample = item / (a.cols + a.rows), replica = sample / a.batch;
    const Control& c = a.frozen[replica];
    const PulsePlan& u = a.plan[0];
    const float *x = a.x + sample * a.cols, *d = a.d + sample * a.rows;
    Amplitude plan = plan_sample(u, c.lr * a.lr_scale, largest_magnitude(x, a.cols), largest_magnitude(d, a.rows));
    if (line == 0) a.plans[sample] = plan;
    bool is_x = line < a.cols;
    i64 lines = is_x ? a.cols : a.rows, at = is_x ? line : line - a.cols;
    float value = is_x ? x[at] : d[at];
    u32 b = (u32)(sample % a.batch), sign = bits_of(value) & 0x80000000u;
    Key key = key_of(c);
    Draw t = {a.call, c.step, (u32)(is_x ? TRAIN_X : TRAIN_D)};
    float p = rounded(u, abs_(value) * (is_x ? plan.x : plan.d), key, t, (u32)at, b, is_x);
    for (int w = 0; w < a.words; ++w) {
        u32 word = u.type == STOCHASTIC ? 0u : count_word(u, p, plan.length);
        for (u32 slot = w * SLOTS; u.type == STOCHASTIC && (int)slot < plan.length && slot < (w + 1u) * SLOTS; ++slot) {
            bool fires = surely(p) || slot_fires(key, t, (u32)at, b, plan.length, slot, target_of(p));
            word |= fires ? 1u << slot % SLOTS : 0u;
        }
        (is_x ? a.x_words : a.d_words)[(sample * a.words + w) * lines + at] = word | sign;
    }
}
