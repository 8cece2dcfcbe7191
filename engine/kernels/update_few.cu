// The pulsed update of an array of few cells and many samples on a GPU, one warp a cell: its lanes look at 32 samples at
// once, of which most bring no pulse. Windows, jumps and draws are those of update_cells.

// Pulses of samples base .. base + 31 on one cell, whether they go up, and where the slots of each end.
struct Glance { Laned<u32> n, up, ends; };
FN void glance(const UpdateArgs& a, const Stretch& m, const Neighbours& line, i64 base, Glance& g) {
    LANES(l) {
        bool there = base + l < m.to;
        u32 up = 0u, n = there ? pulses_in(a, m, base + l, line, up) : 0u;
        g.n[l] = n;
        g.up[l] = up;
        g.ends[l] = there ? (u32)m.plans[base + l].length : 0u;
    }
    lanes_add_up(g.ends);
}

struct Open { i64 from; u32 slots, count; Course<float> t; };
FN Open opened(i64 from, float w) { return {from, 0u, 0u, course_of(w)}; }

// One cell on its way: `open` is the window that it is in.
struct Traveller {
    const UpdateArgs& a;
    const Params& p;
    const Stretch& m;
    Neighbours line;
    const float* record;
    Drawer own;
    State s;
    float w;
    bool jumps;
    Ways<float> k;
    Open open;
};

FN void step_between(Traveller& c, i64 from, i64 to) {
    Stretch part = c.m;
    part.from = from;
    part.to = to;
    c.own.first += step_through(c.a, c.p, part, c.line, c.own, load_cell(c.record, 1), c.s, c.w);
}

// The end of a window before sample `end`.
FN void close_window(Traveller& c, i64 end) {
    if (c.open.count != 0u && is_free(c.open.t, c.k)) {
        c.w = landing(c.open.t, pulse_normal(c.a, c.own.key, c.own.step, c.own.cell, c.own.first));
        c.own.first += c.open.count;
    } else if (c.open.count != 0u) {
        step_between(c, c.open.from, end);
    }
    c.open = opened(end, c.w);
}

// Samples of a glance that `chosen` marks, in order.
FN void take(Traveller& c, Glance& g, i64 base, u32 chosen) {
    for (; chosen; chosen &= chosen - 1u) {
        int l = first_bit(chosen);
        u32 n = lanes_at(g.n, l), up = lanes_at(g.up, l);
        if (!c.jumps) {
            step_between(c, base + l, base + l + 1);
            continue;
        }
        follow(c.open.t, c.k, up != 0u, n, (u32)c.m.plans[base + l].length);
        c.open.count += n;
    }
}

// Up to 32 samples from `base` on; windows end where update_cells ends them.
FN void pass(Traveller& c, i64 base) {
    Glance g;
    glance(c.a, c.m, c.line, base, g);
    u32 fires = lanes_mask(g.n), before = 0u, at = 0u;
    while (c.jumps) {
        Laned<u32> over;
        LANES(l) over[l] = (u32)l >= at && base + l > c.open.from && c.open.slots + g.ends[l] - before > WINDOW ? 1u : 0u;
        u32 beyond = lanes_mask(over);
        if (!beyond) break;
        u32 cut = (u32)first_bit(beyond);
        take(c, g, base, fires & ((1u << cut) - 1u) & ~((1u << at) - 1u));
        close_window(c, base + cut);
        before = cut != 0u ? lanes_at(g.ends, (int)cut - 1) : 0u;
        at = cut;
    }
    take(c, g, base, fires & ~((1u << at) - 1u));
    c.open.slots += lanes_at(g.ends, 31) - before;
}

WARP_KERNEL(update_few, UpdateArgs) {
    i64 cells = a.rows * a.cols, lane = item / cells, cell = item % cells, i = cell / a.cols, j = cell % a.cols;
    const Control& control = a.frozen[lane];
    if (cell == 0 && first_lane()) a.control[lane].step = control.step + 1u;
    const Params& p = a.params[lane];
    float* record = a.cells + item * RECORD;
    State s = load_state(record, 1);
    float w = hidden_weight(a.w[item], s);
    i64 words = lane * a.batch * a.words;
    Stretch m = {a.d_words + words * a.rows + i, a.x_words + words * a.cols, nullptr, a.plans + lane * a.batch, nullptr};
    m.own_lines = a.rows;
    m.other_lines = a.cols;
    m.to = a.batch;
    Traveller c = {a, p, m, {j, a.cols}, record, {key_of(control), control.step, (u32)cell, 0u}, s, w, can_jump(a, p), {}, opened(0, w)};
    if (c.jumps) load_ways(p, record, 1, c.k);
    for (i64 base = 0; base < a.batch; base += 32) pass(c, base);
    close_window(c, a.batch);
    lanes_sync();
    if (c.own.first == 0u || !first_lane()) return;
    a.w[item] = written_weight(p, c.w, c.s, c.own.key, {a.call, control.step, WRITE}, (u32)cell);
    store_state(record, 1, c.s);
}
