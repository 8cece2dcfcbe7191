// Pulse trains on a CPU.
// What: draws are made together: for the four samples that share a block of random numbers, and, where few lines of a sample
// are left to chance, for sixteen lines from wherever they lie.
// One item is: 32 lines of a sample; a thread takes those of several samples.
// Must equal: write_trains.
// When it is chosen: on a CPU.
#include "trains/trains.cu"
#include "pack.cuh"

// More lines than this of 32 that are left to chance are drawn as they lie.
#define MAX_SPARSE 10u

// Writes what is sure of the first word of a train, with signs; targets, and a bit for each line left to chance.
FN u32 start_words(const UpdateArgs& a, const TrainBlock& t, u32 slots, Laned<u32>& target) {
    Laned<float> p;
    Laned<u32> word;
    u32 open = 0, mask = slots ? 0xffffffffu : 0u;
    probabilities_of(a, t, p);
    LANES(l) target[l] = target_of(p[l]) & mask;
    LANES(l) open |= target[l] ? 1u << l : 0u;
    LANES(l) word[l] = surely(p[l]) ? slots : 0u;
    write_words(t, word, 0);
    return open;
}

// A train of few slots alone.
static void few_slots(const UpdateArgs& a, const TrainBlock& t, PackedLines& q) {
    Laned<u32> target;
    u32 slots = slots_of(t.plan.length, 0), open = start_words(a, t, slots, target);
    if (popcount(open) > MAX_SPARSE) {
        write_trains(a, t);
        return;
    }
    for (u32 m = open; m; m &= m - 1u) {
        u32 l = (u32)__builtin_ctz(m);
        for (u32 first = 0; (slots >> first) != 0u; first += 4u) {
            int i = q.n++;
            q.at[i] = t.at + l;
            q.block[i] = (u32)t.b << 10 | first / 4u;
            for (u32 k = 0; k < 4u; ++k) q.target[k][i] = (slots >> (first + k)) & 1u ? target[l] : 0u;
            for (u32 k = 0; k < 4u; ++k) q.bit[k][i] = 1u << (first + k);
            q.to[i] = t.words + l;
            q.step[i] = 0;
        }
    }
    drain(q);
}

// Four samples that share blocks, with trains that are short enough; `words` are those of the first one.
struct SharedTrains { Laned<u32> target[4]; u32 slots[4], open, at, number; int rest; i64 lines; u32* words; };
FN void draw_all_lines(const SharedTrains& s, u32 slot, const PackedLines& q) {
    Laned<u32> hit[4];
    LANES(l) {
        u32 r0, r1, r2, r3;
        words4(q.key, q.draw, shared_line(s.at + l), s.number + slot, r0, r1, r2, r3);
        hit[0][l] = r0 < s.target[0].all[l] ? 1u << slot : 0u;
        hit[1][l] = r1 < s.target[1].all[l] ? 1u << slot : 0u;
        hit[2][l] = r2 < s.target[2].all[l] ? 1u << slot : 0u;
        hit[3][l] = r3 < s.target[3].all[l] ? 1u << slot : 0u;
    }
    for (int k = 0; k < 4; ++k) if ((s.slots[k] >> slot) & 1u) {
        u32* words = s.words + k * s.lines;
        int rest = s.rest;
        if (rest == 32) LANES(l) words[l] |= hit[k][l];
        else LANES(l) if (l < rest) words[l] |= hit[k][l];
    }
}
static void shared_slots(const SharedTrains& s, PackedLines& q) {
    u32 all = s.slots[0] | s.slots[1] | s.slots[2] | s.slots[3];
    for (u32 slot = 0; slot < SHARED_SLOTS && (all >> slot) != 0u; ++slot) {
        if (popcount(s.open) > MAX_SPARSE) {
            draw_all_lines(s, slot, q);
            continue;
        }
        for (u32 m = s.open; m; m &= m - 1u) {
            u32 l = (u32)__builtin_ctz(m);
            int i = q.n++;
            q.at[i] = shared_line(s.at + l);
            q.block[i] = s.number + slot;
            for (u32 k = 0; k < 4u; ++k) q.target[k][i] = (s.slots[k] >> slot) & 1u ? s.target[k].all[l] : 0u;
            for (u32 k = 0; k < 4u; ++k) q.bit[k][i] = 1u << slot;
            q.to[i] = s.words + l;
            q.step[i] = s.lines;
        }
    }
    drain(q);
}

// A block of lines of samples first + [from, to), where `first` is a multiple of four. Of samples without slots nothing
// is read.
static void trains_of_four(const UpdateArgs& a, i64 replica, i64 first, i64 block, i64 from, i64 to, PackedLines* queues) {
    i64 x_blocks = (a.cols + 31) / 32;
    bool is_x = block < x_blocks;
    PackedLines& q = queues[is_x ? 0 : 1];
    SharedTrains s;
    s.open = 0u;
    for (int k = 0; k < 4; ++k) {
        s.slots[k] = 0u;
        if (k < from || k >= to) continue;
        int length = a.plans[replica * a.batch + first + k].length;
        if (length == 0) continue;
        TrainBlock t = train_block(a, replica, first + k, block);
        if (a.plan[0].type != STOCHASTIC || length > WORD_A_SLOT || a.words > 1) write_trains(a, t);
        else if (length > SHARED_SLOTS) few_slots(a, t, q);
        else {
            s.slots[k] = slots_of(length, 0);
            s.open |= start_words(a, t, s.slots[k], s.target[k]);
        }
    }
    if (s.open == 0u) return;
    s.lines = is_x ? a.cols : a.rows;
    s.at = (u32)(is_x ? block : block - x_blocks) * 32u;
    s.rest = (int)(s.lines - s.at < 32 ? s.lines - s.at : 32);
    s.number = shared_block((u32)first, 0);
    s.words = (is_x ? a.x_words : a.d_words) + (replica * a.batch + first) * s.lines + s.at;
    for (int k = 0; k < 4; ++k) if (s.slots[k] == 0u) LANES(l) s.target[k][l] = 0u;
    shared_slots(s, q);
}

// Items in the order replica, four samples, block of lines, sample.
static void make_trains_bulk(const UpdateArgs& a, i64 begin, i64 end) {
    i64 blocks = (a.cols + 31) / 32 + (a.rows + 31) / 32, each = a.batch * blocks;
    PackedLines queues[2];
    i64 now = -1;
    for (i64 item = begin; item < end;) {
        i64 replica = item / each, place = item % each, first = place / (4 * blocks) * 4;
        i64 n = a.batch - first < 4 ? a.batch - first : 4, inside = place - first * blocks;
        if (replica != now) for (int k = 0; k < 2; ++k) {
            if (now >= 0) finish_packs(queues[k]);
            queues[k].n = 0;
            queues[k].key = key_of(a.frozen[replica]);
            queues[k].draw = {a.call, a.frozen[replica].step, (u32)(k == 0 ? TRAIN_X : TRAIN_D)};
        }
        now = replica;
        i64 from = inside % n, to = from + (end - item) < n ? from + (end - item) : n;
        trains_of_four(a, replica, first, inside / n, from, to, queues);
        item += to - from;
    }
    for (int k = 0; k < 2 && now >= 0; ++k) finish_packs(queues[k]);
}
