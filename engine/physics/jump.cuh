// Several pulses of a cell at once. Where a pulse moves a weight by shift + slope w + spread xi, the weight after any
// pulses up and down is normal; its mean and variance follow pulse by pulse, and one number is drawn for all of them.
// That is exact while no bound is met: where one is within reach of the noise, pulses come one by one.
// Expects what pulsing.cuh expects and jump_of, jumps_with and bounds_of (generated from the declaration).

// Pulses JUMP k .. JUMP k + JUMP - 1 of a cell in a call make at most one jump; it takes the draw of its first pulse.
#define JUMP 16u
// Standard deviations: normal2 never draws more than 6.67.
#define REACH 6.7f

struct Affine { float shift, slope, keep, variance; };
FN Affine affine_of(const Params& p, const Cell& c, bool up) {
    Affine f = {0.0f, 0.0f, 0.0f, 0.0f};
    float spread = 0.0f;
    jump_of(p, c, up, f.shift, f.slope, spread);
    f.keep = (1.0f + f.slope) * (1.0f + f.slope);
    f.variance = spread * spread;
    return f;
}

// Where pulses take a weight: mean and variance now, and the most that either has been on the way.
struct Course { float mean, variance, widest, low, high; };
FN Course course_of(float w) { return {w, 0.0f, 0.0f, w, w}; }
FN void advance(Course& t, float shift, float slope, float keep, float variance) {
    t.mean = t.mean + fma_(slope, t.mean, shift);
    t.variance = fma_(t.variance, keep, variance);
    t.widest = max_(t.variance, t.widest);
    t.low = min_(t.mean, t.low);
    t.high = max_(t.mean, t.high);
}
FN bool is_free(const Course& t, float low, float high) {
    float reach = REACH * sqrt_(t.widest);
    return t.low - reach > low && t.high + reach < high;
}
FN float landing(const Course& t, float z) { return fma_(sqrt_(t.variance), z, t.mean); }

FN float pulse_normal(const UpdateArgs& a, Key key, u32 step, u32 cell, u32 n) {
    u32 r[4];
    float z0, z1;
    words4(key, {a.call, step, PULSE}, cell, n >> 2, r[0], r[1], r[2], r[3]);
    normal2((n & 2u) != 0u ? r[2] : r[0], (n & 2u) != 0u ? r[3] : r[1], z0, z1);
    return (n & 1u) != 0u ? z1 : z0;
}

FN bool can_jump(const UpdateArgs& a, const Params& p) { return JUMPS && a.noise_on && jumps_with(p); }

// Pulses `first` .. first + count - 1 of a cell in this call, at most JUMP of them; the lowest bit is the first (1 = up).
struct Pulses { Key key; u32 step, cell, first, count, bits; };
FN bool jump_once(const UpdateArgs& a, const Params& p, const Cell& c, const Pulses& g, float& w) {
    Affine up = affine_of(p, c, true), down = affine_of(p, c, false);
    Course t = course_of(w);
    float low, high;
    bounds_of(p, c, low, high);
    for (u32 n = 0; n < g.count; ++n) {
        bool rises = ((g.bits >> n) & 1u) != 0u;
        advance(t, rises ? up.shift : down.shift, rises ? up.slope : down.slope, rises ? up.keep : down.keep,
                rises ? up.variance : down.variance);
    }
    if (!is_free(t, low, high)) return false;
    w = landing(t, pulse_normal(a, g.key, g.step, g.cell, g.first));
    return true;
}
FN void settle(const UpdateArgs& a, const Params& p, const Cell& c, State& s, const Pulses& g, float& w) {
    if (can_jump(a, p) && jump_once(a, p, c, g, w)) return;
    float z[4 * NOISE + 1] = {}, u[4 * UNIFORM + 1] = {};
    for (u32 n = 0; n < g.count; ++n) {
        u32 q = (g.first + n) & 3u;
        if (n == 0u || q == 0u) draw_group(a, g.key, g.step, g.cell, (g.first + n) >> 2, z, u, 1);
        pulse_once(w, p, c, s, ((g.bits >> n) & 1u) != 0u, z + q * NOISE, u + q * UNIFORM);
    }
}
