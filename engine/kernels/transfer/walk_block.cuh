// The pulses of a stretch of samples on thirty-two cells of a slice of the fast array.
// Taken in after block.cuh, inside the namespace of the fast device.

FN u32 chopped_sign(const TrainView& m, i64 sample, int l) { return m.chop ^ (m.signs ? m.signs[sample * m.sign_stride + l] : 0u); }

#if WIDE > 1
// Window by window, sixteen cells at a time: in jumps or one by one.
CALLED void walk_windows(const UpdateArgs& a, const SliceStrip& s, const TrainView& all, SliceCells& k, Laned<u32>& first) {
    const Params& p = a.params[0];
    bool jumps = can_jump(a, p);
    TrainView m = all;
    PulseRuns runs;
    u64 bits[WIDE];
    u32 count[WIDE];
    WIDES(g, s.lines) {
        Cells cells = cells_of(a, k, g, first);
        LinearSteps<Wide> steps;
        if (jumps) load_linear_steps(p, cells.record, cells.stride, steps);
        for (m.from = all.from; m.from < all.to; m.from = m.to) {
            m.to = window_end(m.plans, m.from, all.to);
            collect_runs(a, m, AdjacentLines{g * WIDE, s.lines}, runs);
            if (runs.n == 0) continue;
            if (!jumps) {
                Lockstep<WIDE, LANE_STRIDE> lockstep = {cells.key, cells.step, cells.w, cells.record, cells.cell, bits, count, cells.first};
                step_runs(a, p, runs, lockstep);
                continue;
            }
            u32 near = finish_runs(a, runs, steps, cells);
            if (near != 0u) step_near_cells(a, p, runs, near, cells);
        }
    }
}
#endif

// All pulses of the stretch; `first` counts those of each cell in this call.
FN void walk_pulses(const UpdateArgs& a, const SliceStrip& s, const TrainView& m, SliceCells& k, Laned<u32>& first) {
#if WIDE > 1
    walk_windows(a, s, m, k, first);
#else
    WarpCells c = {a, a.params[0], m, s.lines, key_of(a.frozen[0]), a.frozen[0].step};
    LANES(l) {
        u32 cell = k.cell[l < s.lines ? l : 0];
        load_lane(c, l, cell, a.cells + (i64)cell * RECORD, a.w[cell]);
        c.first[l] = first[l];
    }
    pulse_warp_cells(c);
    LANES(l) {
        first[l] = c.first[l];
        k.w[l] = c.w[l];
        store_state(&k.record[0][l], LANE_STRIDE, c.s[l]);
    }
#endif
}

// Whether the line of the cells brings anything.
FN bool any_fires(const UpdateArgs& a, const TrainView& m) {
    Laned<u32> any;
    LANES(l) any[l] = 0u;
    for (i64 row = m.from * a.words; row < m.to * a.words; row += 32)
        LANES(l) any[l] |= row + l < m.to * a.words ? m.line[(row + l) * m.line_stride] & SLOT_MASK : 0u;
    return lanes_flag(lanes_any(any));
}

// Pulses of samples from .. to - 1; `done` counts the pulses of each cell in this call, n numbers the write.
CALLED void walk_block(const UpdateArgs& a, const SliceStrip& s, const TrainView& m, u32* done, bool fresh, u32 n) {
    SliceCells k;
    Laned<u32> before, first;
    LANES(l) {
        before[l] = first[l] = fresh || l >= s.lines ? 0u : done[l];
        if (fresh && l < s.lines) done[l] = 0u;
    }
    if (!any_fires(a, m)) return;
    load_block(a, s, k);
    walk_pulses(a, s, m, k, first);
    Laned<u32> touched;
    LANES(l) {
        touched[l] = l < s.lines && first[l] != before[l] ? 1u : 0u;
        if (l < s.lines) done[l] = first[l];
    }
    if (lanes_flag(lanes_any(touched))) store_block(a, s, k, touched, n);
}

// The exact outer product, sample by sample; own and other words are the bits of floats.
CALLED void walk_exact(const UpdateArgs& a, const SliceStrip& s, const TrainView& m, u32 n) {
    SliceCells k;
    Laned<u32> touched;
    load_block(a, s, k);
    LANES(l) touched[l] = 1u;
    for (i64 b = m.from; b < m.to; ++b) {
        float own = float_of(m.line[b * m.line_stride]);
        LANES(l) {
            u32 word = l < s.lines ? m.crossing[b * m.crossing_stride + l] : 0u;
            float other = float_of(word ^ (chopped_sign(m, b, l < s.lines ? l : 0) << 31));
            float change = m.by_columns ? m.rates[b] * other * own : m.rates[b] * own * other;
            k.w[l] = k.w[l] - change;
            bound_weight(k.w[l], load_cell(&k.record[0][l], LANE_STRIDE));
        }
    }
    if (m.to > m.from) store_block(a, s, k, touched, n);
}
