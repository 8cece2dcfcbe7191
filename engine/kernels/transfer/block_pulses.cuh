// Pulses on the cells of a block: in lockstep one by one, or in jumps. Taken in after block.cuh.
#include "block.cuh"
#include "update/lockstep.cuh"
#include "update/coincidence.cuh"
#include "update/jump_cells.cuh"

// Pulses of the cells that wait, one by one.
FN Lockstep<LANE_STRIDE> lockstep_of(const UpdateArgs& a, SliceCells& k, Laned<u64>& bits, Laned<u32>& count, Laned<u32>& first) {
    return {key_of(a.frozen[0]), a.frozen[0].step, &k.w[0], &k.record[0][0], &k.cell[0], &bits[0], &count[0], &first[0]};
}
CALLED void step_block(const UpdateArgs& a, SliceCells& k, Laned<u64>& bits, Laned<u32>& count, Laned<u32>& first) {
    const Params p = a.params[0];
    int cells = LANE_STRIDE > 1 ? (k.lines + 7) & ~7 : 1;
    step_waiting(a, p, lockstep_of(a, k, bits, count, first), cells, true);
}

// Group g of a block.
FN Cells cells_of(const UpdateArgs& a, SliceCells& k, int g, Laned<u32>& first) {
    int at = g * WIDE;
    return {key_of(a.frozen[0]), a.frozen[0].step, &k.w[at], &k.record[0][at], LANE_STRIDE, &k.cell[at], &first[at]};
}

// Applies `count` equal pulses to each cell, at most `most`. Number n of the pulses of a cell has draw n.
CALLED void pulse_block(const UpdateArgs& a, SliceCells& k, Laned<u64>& bits, Laned<u32>& count, Laned<u32>& first, u32 most) {
    const Params p = a.params[0];
    if (!can_jump(a, p)) {
        step_block(a, k, bits, count, first);
        return;
    }
    Laned<u32> near, up;
    LANES(l) {
        near[l] = 0u;
        up[l] = (u32)bits[l] & 1u;
    }
    WIDES(g, k.lines) {
        Cells cells = cells_of(a, k, g, first);
        LinearSteps<Wide> ways;
        Wide w;
        WideBits n, rises;
        load_linear_steps(p, cells.record, cells.stride, ways);
        fetch(w, cells.w);
        fetch(n, &count[g * WIDE]);
        fetch(rises, &up[g * WIDE]);
        GaussianPath<Wide> t = path_from(w);
        advance(t, ways, rises != 0u, n, most);
        put(&near[g * WIDE], finish_windows(a, cells, ways, t, n));
    }
    LANES(l) count[l] = near[l] != 0u ? count[l] : 0u;
    if (lanes_flag(lanes_any(near))) step_block(a, k, bits, count, first);
}
