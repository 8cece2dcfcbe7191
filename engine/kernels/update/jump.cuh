// Many pulses of a cell at once. Where a pulse moves a weight by shift + slope w + spread xi, the weight after any
// pulses up and down is normal; its mean and variance follow sample by sample, and one number is drawn for all of them.
// That is exact while no bound is met: where one is within reach of the noise, pulses come one by one.
// V is a number of one cell or of several (portable.cuh), N are counts of them.
// Expects jump_of, jumps_with and bounds_of (generated from the declaration).
#include "args.cuh"
#include "device/step.cuh"

// Pulses of consecutive samples whose trains have at most so many slots in all make one jump; it takes the draw of the
// first of them. A longer train is alone.
#define WINDOW 256
// Standard deviations: normal2 never draws more than 6.67.
#define MAX_SIGMA 6.7f
// Bounds that nothing reaches, for cells that must not jump.
#define UNREACHABLE 3.4e38f

// What a pulse up (0) or down (1) does to the mean and, as growth = spread^2 / (2 + slope), to the variance.
template <class V> struct LinearSteps { V slope[2], shift[2], growth[2], low, high; };
// Mean and variance now, and the most that either has been on the way.
template <class V> struct GaussianPath { V mean, variance, widest, low, high; };
template <class V> FN GaussianPath<V> path_from(V w) { return {w, V{}, V{}, w, w}; }

// Equal pulses go one way, mean and variance alike, if 1 + slope > 0: their ends are the most that they reach.
template <class V> FN void load_linear_steps(const Params& p, const float* record, i64 stride, LinearSteps<V>& k) {
    enum { N = sizeof(V) / sizeof(float) };
    float slope[2][N] = {}, shift[2][N] = {}, growth[2][N], low[N], high[N];
    LOOP for (int l = 0; l < N; ++l) {
        Cell c = load_cell(record + l, stride);
        float up = 0.0f, down = 0.0f, bottom, top;
        jump_of(p, c, true, shift[0][l], slope[0][l], up);
        jump_of(p, c, false, shift[1][l], slope[1][l], down);
        growth[0][l] = up * up / (2.0f + slope[0][l]);
        growth[1][l] = down * down / (2.0f + slope[1][l]);
        bounds_of(p, c, bottom, top);
        low[l] = slope[0][l] > -1.0f && slope[1][l] > -1.0f ? bottom : UNREACHABLE;
        high[l] = top;
    }
    for (int way = 0; way < 2; ++way) {
        fetch(k.slope[way], slope[way]);
        fetch(k.shift[way], shift[way]);
        fetch(k.growth[way], growth[way]);
    }
    fetch(k.low, low);
    fetch(k.high, high);
}

// As load_linear_steps, for a cell whose pulses all go one way.
FN void load_linear_step(const Params& p, const float* record, bool rises, LinearSteps<float>& k) {
    Cell c = load_cell(record, 1);
    float shift = 0.0f, slope = 0.0f, spread = 0.0f, other = 0.0f, unused = 0.0f, bottom, top;
    jump_of(p, c, rises, shift, slope, spread);
    jump_of(p, c, !rises, unused, other, unused);
    bounds_of(p, c, bottom, top);
    k.shift[0] = k.shift[1] = shift;
    k.slope[0] = k.slope[1] = slope;
    k.growth[0] = k.growth[1] = spread * spread / (2.0f + slope);
    k.low = slope > -1.0f && other > -1.0f ? bottom : UNREACHABLE;
    k.high = top;
}

// n equal pulses, of which `sum` = 1 + a + .. + a^(n-1) is known, with a = 1 + slope: a^n = 1 + slope sum, and the variance
// has a^2 in place of a.
template <class V> FN void advance_by_terms(GaussianPath<V>& t, V slope, V shift, V growth, V sum) {
    V none = {}, two = none + 2.0f, both = sum * fma_(slope, sum, two);
    t.mean = fma_(fma_(slope, t.mean, shift), sum, t.mean);
    t.variance = fma_(both, fma_(slope, t.variance, growth), t.variance);
    t.widest = choose(t.variance > t.widest, t.variance, t.widest);
    t.low = choose(t.mean < t.low, t.mean, t.low);
    t.high = choose(t.mean > t.high, t.mean, t.high);
}

// n equal pulses, at most `most`: their sum is put together from sums of 2^k terms.
template <class V, class M, class N> FN void advance(GaussianPath<V>& t, const LinearSteps<V>& k, M up, N n, u32 most) {
    V none = {}, one = none + 1.0f, two = none + 2.0f, sum = none, part = one;
    V slope = choose(up, k.slope[0], k.slope[1]), shift = choose(up, k.shift[0], k.shift[1]);
    V growth = choose(up, k.growth[0], k.growth[1]);
    for (u32 bit = 1u; bit <= most; bit <<= 1) {
        sum = choose((n & bit) != 0u, fma_(fma_(slope, sum, one), part, sum), sum);
        part = part * fma_(slope, part, two);
    }
    advance_by_terms(t, slope, shift, growth, sum);
}

// As follow, for one cell and less than 2^BITS pulses, without a loop; BITS is 0 where no step depends on the weight, so that
// the sum is n. The first term of the sum is 1, and the sum of two is 2 + slope.
template <u32 BITS> FN void advance_unrolled(GaussianPath<float>& t, const LinearSteps<float>& k, bool up, u32 n) {
    float slope = choose(up, k.slope[0], k.slope[1]), shift = choose(up, k.shift[0], k.shift[1]);
    float growth = choose(up, k.growth[0], k.growth[1]), sum = (float)(int)(BITS == 0u ? n : n & 1u), part = slope + 2.0f;
    UNROLLED for (u32 bit = 2u; bit < (1u << BITS); bit <<= 1) {
        sum = choose((n & bit) != 0u, fma_(fma_(slope, sum, 1.0f), part, sum), sum);
        part = part * fma_(slope, part, 2.0f);
    }
    advance_by_terms(t, slope, shift, growth, sum);
}
// n equal pulses of a cell whose pulses all go one way.
FN void advance_equal(GaussianPath<float>& t, const LinearSteps<float>& k, u32 n) {
    float slope = k.slope[0], sum = (float)(int)n;
    if (slope != 0.0f) {
        float part = slope + 2.0f;
        sum = (float)(int)(n & 1u);
        for (u32 left = n >> 1; left != 0u; left >>= 1) {
            sum = choose((left & 1u) != 0u, fma_(fma_(slope, sum, 1.0f), part, sum), sum);
            part = part * fma_(slope, part, 2.0f);
        }
    }
    advance_by_terms(t, slope, k.shift[0], k.growth[0], sum);
}
template <class V> FN auto stays_within_bounds(const GaussianPath<V>& t, const LinearSteps<V>& k) {
    V reach = MAX_SIGMA * sqrt_(t.widest);
    return (t.low - reach > k.low) & (t.high + reach < k.high);
}
template <class V> FN V sample_final_weight(const GaussianPath<V>& t, V z) {
    V none = {};
    return fma_(sqrt_(choose(t.variance > none, t.variance, none)), z, t.mean);
}

FN float pulse_normal(const UpdateArgs& a, Key key, u32 step, u32 cell, u32 n) {
    u32 r[4];
    float z0, z1;
    words4(key, {a.call, step, PULSE}, cell, n >> 2, r[0], r[1], r[2], r[3]);
    normal2((n & 2u) != 0u ? r[2] : r[0], (n & 2u) != 0u ? r[3] : r[1], z0, z1);
    return (n & 1u) != 0u ? z1 : z0;
}

FN bool can_jump(const UpdateArgs& a, const Params& p) { return JUMPS && a.noise_on && jumps_with(p); }

// Where the window ends that begins with sample `from`.
FN i64 window_end(const Amplitude* plans, i64 from, i64 to) {
    int slots = plans[from].length;
    i64 b = from + 1;
    for (; b < to && slots + plans[b].length <= WINDOW; ++b) slots += plans[b].length;
    return b;
}
