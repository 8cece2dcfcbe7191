// What: the sample masks of all lines (trains.cuh); words as well for trains of more slots than one.
// One item is: 32 lines in a group of 32 samples, a warp.
// Must equal: the words that make_trains makes of the same plans.
// When it is chosen: where cells look for their coincidences by masks, see update/hits.cuh.
#include "trains/trains.cu"
#include "update/gpu/windows.cu"

// Windows of so few groups are counted here, which saves a kernel.
#define COUNTED_GROUPS 4

// Four samples that share blocks of random numbers.
struct FourSamples {
    i64 first, first_plan;
    Amplitude plan[4];
    u32 slots[4];
};

FN FourSamples four_samples(const UpdateArgs& a, i64 replica, i64 first) {
    FourSamples s;
    s.first = first;
    s.first_plan = replica * a.batch + first;
    UNROLLED for (int k = 0; k < 4; ++k) {
        s.plan[k] = {0.0f, 0.0f, 0, 0};
        if (first + k < a.batch) s.plan[k] = a.plans[s.first_plan + k];
        bool shares = a.plan[0].type == STOCHASTIC && s.plan[k].length <= SHARED_SLOTS;
        s.slots[k] = shares ? slots_of(s.plan[k].length, 0) : 0u;
    }
    return s;
}

// The lines of one of the four samples; `t` are those of the first.
FN TrainBlock train_of(const UpdateArgs& a, const TrainBlock& t, const FourSamples& s, int k) {
    TrainBlock own = t;
    own.b = s.first + k;
    own.v = t.v + k * t.lines;
    own.words = t.words + k * a.words * t.lines;
    own.plan = s.plan[k];
    return own;
}

// Slots that fire in those of the four samples that share blocks.
FN void draw_four(const UpdateArgs& a, const FourSamples& s, const TrainBlock& t, Laned<u32> (&fired)[4]) {
    Laned<float> p[4];
    UNROLLED for (int k = 0; k < 4; ++k) {
        LANES(l) p[k][l] = 0.0f;
        if (s.slots[k] != 0u) probabilities_of(a, train_of(a, t, s, k), p[k]);
        LANES(l) fired[k][l] = surely(p[k][l]) ? s.slots[k] : 0u;
    }
    u32 all = s.slots[0] | s.slots[1] | s.slots[2] | s.slots[3];
    for (u32 slot = 0; slot < SHARED_SLOTS && (all >> slot) != 0u; ++slot) LANES(l) {
        u32 r[4];
        words4(t.key, t.draw, shared_line(t.at + l), shared_block((u32)s.first, slot), r[0], r[1], r[2], r[3]);
        UNROLLED for (int k = 0; k < 4; ++k) fired[k][l] |= fires(r[k], target_of(p[k][l]), s.slots[k], slot);
    }
}

// Sets one bit in the masks of 32 lines for a sample with the slots that fired.
FN void set_bits(const TrainBlock& t, Laned<u32>& fired, u32 bit, Laned<SampleMask>& mask) {
    u32 turned = t.is_x || t.plan.down ? 0u : 1u;
    LANES(l) {
        u32 negative = l < t.rest ? bits_of(t.v[l]) >> 31 : 0u;
        mask[l].fires |= (fired[l] & SLOT_MASK) != 0u ? 1u << bit : 0u;
        mask[l].signs |= (negative ^ turned) << bit;
    }
}

// Sets the bits of four samples from `bit` on in the masks of 32 lines.
FN void mask_four(const UpdateArgs& a, const FourSamples& s, const TrainBlock& t, u32 bit, Laned<SampleMask>& mask) {
    Laned<u32> fired[4];
    draw_four(a, s, t, fired);
    bool longer = false;
    UNROLLED for (int k = 0; k < 4; ++k) {
        TrainBlock own = train_of(a, t, s, k);
        longer = longer || (s.plan[k].length != 0 && s.slots[k] == 0u);
        if (s.slots[k] == 0u) continue;
        if (s.plan[k].length > 1 || a.all_words) write_words(own, fired[k], 0);
        set_bits(own, fired[k], bit + k, mask);
    }
    if (!longer) return;
    ROLLED for (int k = 0; k < 4; ++k) {
        TrainBlock own = train_of(a, t, s, k);
        own.plan = a.plans[s.first_plan + (s.first + k < a.batch ? k : 0)];
        bool shares = a.plan[0].type == STOCHASTIC && own.plan.length <= SHARED_SLOTS;
        if (s.first + k >= a.batch || own.plan.length == 0 || shares) continue;
        Laned<u32> any;
        write_trains(a, own, any);
        set_bits(own, any, bit + k, mask);
    }
}

// The plans of a group, one a warp lane.
struct GroupPlans { Laned<float> factor; Laned<u32> length; u32 single, trained; int there; };
FN GroupPlans plans_of(const UpdateArgs& a, i64 replica, i64 group, bool is_x) {
    GroupPlans g;
    Laned<u32> single;
    i64 first = group * GROUP;
    g.there = (int)(a.batch - first < GROUP ? a.batch - first : GROUP);
    LANES(l) {
        Amplitude plan = {0.0f, 0.0f, 0, 0};
        if (l < g.there) plan = a.plans[replica * a.batch + first + l];
        g.factor[l] = is_x ? plan.x : plan.d;
        g.length[l] = (u32)plan.length;
        single[l] = plan.length == 1 && a.plan[0].type == STOCHASTIC ? 1u : 0u;
    }
    g.single = lanes_mask(single);
    g.trained = lanes_mask(g.length);
    return g;
}

// Masks of a group whose trains have one slot at most and whose probabilities are not rounded: most of a convolution's.
FN void mask_single(const UpdateArgs& a, const TrainBlock& t, GroupPlans& g, Laned<SampleMask>& mask) {
    Laned<const float*> values;
    u32* words = t.words;
    LANES(l) values[l] = t.v + (l < t.rest ? l : 0);
    u32 turned = t.is_x || t.plan.down ? 0u : 0xffffffffu;
    for (u32 bit = 0u; bit < GROUP; bit += 4u) {
        if (((g.trained >> bit) & 15u) == 0u) continue;
        Laned<float> v[4];
        UNROLLED for (u32 k = 0u; k < 4u; ++k) {
            // Samples that are not there have no train, so that nothing comes of those that are read for them.
            i64 at = (i64)min_u(bit + k, (u32)g.there - 1u) * t.lines;
            LANES(l) v[k][l] = values[l][at];
        }
        Laned<u32> fired[4];
        LANES(l) {
            u32 r[4];
            words4(t.key, t.draw, shared_line(t.at + l), shared_block((u32)t.b + bit, 0u), r[0], r[1], r[2], r[3]);
            UNROLLED for (u32 k = 0u; k < 4u; ++k) fired[k][l] = r[k];
        }
        UNROLLED for (u32 k = 0u; k < 4u; ++k) {
            float factor = lanes_at(g.factor, (int)(bit + k));
            LANES(l) {
                float p = abs_(v[k][l]) * factor;
                fired[k][l] = fires_once(fired[k][l], p);
                mask[l].fires |= fired[k][l] << (bit + k);
                mask[l].signs |= bits_of(v[k][l]) >> 31 << (bit + k);
            }
            if (!a.all_words || (int)(bit + k) >= g.there) continue;
            LANES(l) if (l < t.rest) words[(bit + k) * t.lines + l] = fired[k][l] | (bits_of(v[k][l]) & 0x80000000u);
        }
    }
    LANES(l) mask[l].signs ^= turned;
}

// What all cells share of a group; `before` gets the slots of its trains (windows.cu counts windows later).
FN void start_group(const UpdateArgs& a, i64 replica, i64 group) {
    GroupPlans g = plans_of(a, replica, group, true);
    Laned<u32> slots;
    LANES(l) slots[l] = g.length[l];
    lanes_add_up(slots);
    SampleGroup made = {0u, lanes_at(slots, 31), g.single, g.trained};
    if (first_lane()) a.groups[replica * groups_of(a.batch) + group] = made;
}

BUSY_KERNEL(make_masks, UpdateArgs) {
    i64 blocks = (a.cols + 31) / 32 + (a.rows + 31) / 32, groups = groups_of(a.batch);
    i64 block = item % blocks, group = item / blocks % groups, replica = item / blocks / groups;
    TrainBlock t = train_block(a, replica, group * GROUP, block);
    Laned<SampleMask> mask;
    LANES(l) mask[l] = {0u, 0u};
    const PulsePlan& plan = a.plan[0];
    GroupPlans g = plans_of(a, replica, group, t.is_x);
    if (g.single == g.trained && plan.type == STOCHASTIC && !(plan.res > 0.0f)) mask_single(a, t, g, mask);
    else for (u32 bit = 0; bit < GROUP && group * GROUP + bit < a.batch; bit += 4u) {
        FourSamples s = four_samples(a, replica, group * GROUP + bit);
        mask_four(a, s, t, bit, mask);
        t.v += 4 * t.lines;
        t.words += 4 * a.words * t.lines;
    }
    SampleMask* to = (t.is_x ? a.x_masks : a.d_masks) + (replica * groups + group) * t.lines + t.at;
    LANES(l) if (l < t.rest) to[l] = mask[l];
    if (block != 0) return;
    if (groups > COUNTED_GROUPS) {
        start_group(a, replica, group);
    } else if (group == 0) {
        for (i64 g = 0; g < groups; ++g) start_group(a, replica, g);
        lanes_sync();
        count_windows(a, replica, 0);
    }
}
