// What: for each cell, the groups of samples in which both of its lines fire at all, and the chunks of 32 groups that have
// such groups.
// One item is: 32 cells of a row in a span of chunks, a warp. Samples are looked at in parallel here, before cells are changed
// sample by sample.
// Must equal: nothing; groups that it leaves out have no sample in which both lines fire.
// When it is chosen: where cells look for their coincidences by masks.
#include "update/args.cuh"

// Groups that are fetched together, so that their latencies pass at once.
#define FETCHED_GROUPS 4

// Groups of a chunk in which 32 cells have hits; `own` are the masks of their row.
FN void mark_chunk(const UpdateArgs& a, Laned<u32>& own, const SampleMask* other, int cells, Laned<u32>& hits) {
    LANES(l) hits[l] = 0u;
    for (u32 left = lanes_mask(own); left != 0u;) {
        u32 at[FETCHED_GROUPS], mine[FETCHED_GROUPS];
        Laned<u32> fires[FETCHED_GROUPS];
        UNROLLED for (int q = 0; q < FETCHED_GROUPS; ++q) {
            // Without a branch: the last group once more where fewer are left.
            at[q] = left != 0u ? (u32)first_bit(left | 0x80000000u) : at[q > 0 ? q - 1 : 0];
            left &= left - 1u;
            mine[q] = lanes_at(own, (int)at[q]);
            LANES(l) fires[q][l] = other[at[q] * (u32)a.cols + (l < cells ? l : 0)].fires;
        }
        UNROLLED for (int q = 0; q < FETCHED_GROUPS; ++q)
            LANES(l) hits[l] |= (fires[q][l] & mine[q]) != 0u ? 1u << at[q] : 0u;
    }
}

// Masks of a row in the groups of a chunk; none behind the last one.
FN void fetch_own(const UpdateArgs& a, i64 first, i64 chunk, i64 groups, i64 row, Laned<u32>& own) {
    LANES(l) {
        i64 group = chunk * GROUP + l;
        own[l] = group < groups ? a.d_masks[(first + group) * a.rows + row].fires : 0u;
    }
}

WARP_KERNEL(mark_hits, UpdateArgs) {
    i64 strips = (a.cols + 31) / 32, groups = groups_of(a.batch), chunks = groups_of(groups), spans = spans_of(chunks);
    i64 strip = item % strips, row = item / strips % a.rows, span = item / strips / a.rows % spans, replica = item / strips / a.rows / spans;
    i64 cells = a.rows * a.cols, cell = row * a.cols + strip * 32;
    int there = (int)(a.cols - strip * 32 < 32 ? a.cols - strip * 32 : 32);
    u32* to = a.hits + replica * (chunks + spans) * cells + cell;
    Laned<u32> live, own, next;
    i64 first = replica * groups, end = (span + 1) * HIT_SPAN < chunks ? (span + 1) * HIT_SPAN : chunks;
    LANES(l) live[l] = 0u;
    fetch_own(a, first, span * HIT_SPAN, groups, row, next);
    for (i64 chunk = span * HIT_SPAN; chunk < end; ++chunk) {
        Laned<u32> hits;
        LANES(l) own[l] = next[l];
        // Masks of the next chunk come while this one is looked at.
        fetch_own(a, first, chunk + 1, groups, row, next);
        mark_chunk(a, own, a.x_masks + (first + chunk * GROUP) * a.cols + strip * 32, there, hits);
        LANES(l) if (l < there) to[chunk * cells + l] = hits[l];
        LANES(l) live[l] |= hits[l] != 0u ? 1u << (chunk % HIT_SPAN) : 0u;
    }
    LANES(l) if (l < there) to[(chunks + span) * cells + l] = live[l];
}
