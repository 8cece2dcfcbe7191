// Pulse trains of one update call: first a plan for each sample, then the words of all lines.
// Words lie as [lane][sample][word][line].

// One warp a sample: largest |x| and |d|, length of the trains, firing factors. Freezes the step for this call.
WARP_KERNEL(plan_samples, UpdateArgs) {
    i64 lane = item / a.batch, b = item % a.batch;
    const float* x = a.x + (lane * a.batch + b) * a.cols;
    const float* d = a.d + (lane * a.batch + b) * a.rows;
    Laned<float> x_max, d_max;
    LANES(l) {
        x_max[l] = 0.0f;
        d_max[l] = 0.0f;
    }
    for (i64 at = 0; at < a.cols; at += 32) LANES(l) if (at + l < a.cols) x_max[l] = max_(abs_(x[at + l]), x_max[l]);
    for (i64 at = 0; at < a.rows; at += 32) LANES(l) if (at + l < a.rows) d_max[l] = max_(abs_(d[at + l]), d_max[l]);
    const Control& control = a.control[lane];
    float xm = lanes_max(x_max), dm = lanes_max(d_max);
    if (first_lane()) {
        a.plans[lane * a.batch + b] = plan_sample(a.plan[0], control.lr * a.lr_scale, xm, dm);
        if (b == 0) a.frozen[lane] = control;
    }
}

// One warp for 32 lines of a sample: their words. Lines of x come first, then those of d.
WARP_KERNEL(make_trains, UpdateArgs) {
    i64 x_blocks = (a.cols + 31) / 32, blocks = x_blocks + (a.rows + 31) / 32;
    i64 sample = item / blocks, block = item % blocks;
    i64 lane = sample / a.batch, b = sample % a.batch;
    bool is_x = block < x_blocks;
    i64 lines = is_x ? a.cols : a.rows, at = (is_x ? block : block - x_blocks) * 32;
    const float* v = (is_x ? a.x : a.d) + sample * lines;
    u32* words = (is_x ? a.x_words : a.d_words) + sample * a.words * lines;
    const Amplitude& plan = a.plans[sample];
    const PulsePlan& u = a.plan[0];
    Key key = key_of(a.frozen[lane]);
    Draw draw = {a.call, a.frozen[lane].step, (u32)(is_x ? TRAIN_X : TRAIN_D)};
    float factor = is_x ? plan.x : plan.d;
    Laned<float> p;
    Laned<u32> word;
    LANES(l) p[l] = at + l < lines ? abs_(v[at + l]) * factor : 0.0f;
    round_probabilities(u, p, key, draw, (u32)at, (u32)b, is_x);
    for (int w = 0; w < a.words; ++w) {
        if (u.type == STOCHASTIC) {
            u32 slots = slots_of(plan.length, w), first = ((u32)b << 10) | (u32)(w * 8);
            if (lines - at <= 16) draw_bits<16>(p, slots, key, draw, (u32)at, first, word);
            else draw_bits<32>(p, slots, key, draw, (u32)at, first, word);
        } else {
            LANES(l) word[l] = count_word(u, p[l], plan.length);
        }
        LANES(l) if (at + l < lines) words[w * lines + at + l] = word[l] | (bits_of(v[at + l]) & 0x80000000u);
    }
}
