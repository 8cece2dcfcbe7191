// What: pulse trains of one update call: first a plan for each sample, then the words of all lines.
//   Words lie as [replica][sample][word][line].
// One item is: 512 lines of a sample (measure_samples), a sample (plan_samples), 32 lines of one (make_trains), a warp.
// Must equal: trains_reference.
// When it is chosen: make_trains where updates go by words; measure_samples on a GPU for long lines.
#include "update/args.cuh"

// Lines of so many values are measured in parts by several warps, lest a single one reads them at its own pace.
#define MEASURED 512
FN i64 parts_of(i64 lines) { return (lines + MEASURED - 1) / MEASURED; }

// One warp a part of a sample: its largest magnitude. Parts of x come first.
WARP_KERNEL(measure_samples, UpdateArgs) {
    i64 x_parts = parts_of(a.cols), parts = x_parts + parts_of(a.rows), part = item % parts, sample = item / parts;
    bool is_x = part < x_parts;
    i64 lines = is_x ? a.cols : a.rows, from = (is_x ? part : part - x_parts) * MEASURED;
    const float* v = (is_x ? a.x : a.d) + sample * lines + from;
    float top = largest_of(v, lines - from < MEASURED ? lines - from : MEASURED);
    if (first_lane()) a.maxima[item] = top;
}

// One warp a sample: largest |x| and |d|, length of the trains, firing factors. Freezes the step for this call.
WARP_KERNEL(plan_samples, UpdateArgs) {
    i64 replica = item / a.batch, b = item % a.batch, x_parts = parts_of(a.cols), d_parts = parts_of(a.rows);
    const Control& control = a.control[replica];
    const float* parts = a.maxima + item * (x_parts + d_parts);
    float xm = a.maxima ? largest_of(parts, x_parts) : largest_of(a.x + item * a.cols, a.cols);
    float dm = a.maxima ? largest_of(parts + x_parts, d_parts) : largest_of(a.d + item * a.rows, a.rows);
    if (first_lane()) {
        a.plans[item] = plan_sample(a.plan[0], control.lr * a.lr_scale, xm, dm);
        if (b == 0) a.frozen[replica] = control;
    }
}

// One warp for 32 lines of a sample: their words. Lines of x come first, then those of d.
// `rest` of the 32 lines are there.
struct TrainBlock { i64 b, lines; u32 at; int rest; bool is_x; const float* v; u32* words; Amplitude plan; Key key; Draw draw; };
FN TrainBlock train_block(const UpdateArgs& a, i64 replica, i64 b, i64 block) {
    i64 x_blocks = (a.cols + 31) / 32, sample = replica * a.batch + b;
    bool is_x = block < x_blocks;
    i64 lines = is_x ? a.cols : a.rows, at = (is_x ? block : block - x_blocks) * 32;
    TrainBlock t = {b, lines, (u32)at, (int)(lines - at < 32 ? lines - at : 32), is_x};
    t.v = (is_x ? a.x : a.d) + sample * lines + at;
    t.words = (is_x ? a.x_words : a.d_words) + sample * a.words * lines + at;
    t.plan = a.plans[sample];
    t.key = key_of(a.frozen[replica]);
    t.draw = {a.call, a.frozen[replica].step, (u32)(is_x ? TRAIN_X : TRAIN_D)};
    return t;
}
FN void probabilities_of(const UpdateArgs& a, const TrainBlock& t, Laned<float>& p) {
    float factor = t.is_x ? t.plan.x : t.plan.d;
    const float* v = t.v;
    int rest = t.rest;
    if (rest == 32) LANES(l) p[l] = abs_(v[l]) * factor;
    else LANES(l) p[l] = l < rest ? abs_(v[l]) * factor : 0.0f;
    round_probabilities(a.plan[0], p, t.key, t.draw, t.at, (u32)t.b, t.is_x);
}
FN void write_words(const TrainBlock& t, Laned<u32>& word, int w) {
    const float* v = t.v;
    u32* words = t.words + w * t.lines;
    int rest = t.rest;
    if (rest == 32) LANES(l) words[l] = word[l] | (bits_of(v[l]) & 0x80000000u);
    else LANES(l) if (l < rest) words[l] = word[l] | (bits_of(v[l]) & 0x80000000u);
}
// `any` gets the slots of each line that fire, of all its words.
FN void write_trains(const UpdateArgs& a, const TrainBlock& t, Laned<u32>& any) {
    const PulsePlan& u = a.plan[0];
    Laned<float> p;
    Laned<u32> word;
    probabilities_of(a, t, p);
    LANES(l) any[l] = 0u;
    for (int w = 0; w < a.words; ++w) {
        if (u.type == STOCHASTIC) {
            u32 slots = slots_of(t.plan.length, w), first = ((u32)t.b << 10) | (u32)(w * 8);
            if (t.plan.length <= SHARED_SLOTS) draw_shared(p, slots, t.key, t.draw, t.at, (u32)t.b, word);
            else if (t.rest <= 16) draw_bits<16>(p, slots, t.key, t.draw, t.at, first, word);
            else draw_bits<32>(p, slots, t.key, t.draw, t.at, first, word);
        } else {
            LANES(l) word[l] = count_word(u, p[l], t.plan.length);
        }
        write_words(t, word, w);
        LANES(l) any[l] |= word[l];
    }
}
FN void write_trains(const UpdateArgs& a, const TrainBlock& t) {
    Laned<u32> unused;
    write_trains(a, t, unused);
}
BULK_KERNEL(make_trains, UpdateArgs) {
    i64 blocks = (a.cols + 31) / 32 + (a.rows + 31) / 32, sample = item / blocks;
    write_trains(a, train_block(a, sample / a.batch, sample % a.batch, item % blocks));
}
