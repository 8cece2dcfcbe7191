// What: the output stage of a GPU, and the reads that bound management asks for, spread over all
//   of its multiprocessors.
// One item is: for the output stage a vector. Later reads go in rounds of three phases, whose
//   items blocks claim one after the other: the inputs of a vector, a tile of products, the
//   outputs of a vector. A round begins when the last item of the phase before is done.
// Must equal: mvm_output, bit by bit where products have a fixed order. Else products of many
//   vectors run through the inputs in order, as those of torch have an order of their own too.
// When it is chosen: after mvm_input and a product on a GPU.
//
// A block that waits only waits for items that running blocks have claimed, so that it does not
// matter how many blocks fit on the GPU, nor what else runs there.
#include "mvm/bounds.cuh"
#include "mvm/gpu/block_tile.cuh"

// Up to so many vectors are multiplied by tiles of a warp.
#define MAX_WARP_TILE_VECTORS 32

FN int* counters_of(const MvmArgs& a, int round) { return a.queue + round * QUEUE_COUNTERS; }
FN int* list_of(const MvmArgs& a, int round) {
    return a.queue + QUEUE_SIZE + (round & 1) * a.replicas * a.batch;
}
FN void enqueue(const MvmArgs& a, int round, i64 item, const Retry& t, Warps w) {
    if (w.rank > 0 || !first_lane()) return;
    a.retry[item] = t;
    int place = atomicAdd(counters_of(a, round) + QUEUED, 1);
    list_of(a, round)[place] = (int)item;
}

template <bool plain> FN void output_stage(const MvmArgs& a, i64 item, Warps w) {
    float alpha = a.alpha[item];
    if (alpha < 0.0f) {
        write_zeros(a, item, w);
        return;
    }
    Retry t = {alpha, 1.0f, 0u, -1};
    if (!accept<plain>(a, item, t, w)) enqueue(a, 0, item, t, w);
}
BLOCK_KERNEL(mvm_output_queued, MvmArgs, 8) { output_stage<false>(a, item, w); }
BLOCK_KERNEL(mvm_output_queued_plain, MvmArgs, 8) { output_stage<true>(a, item, w); }

// The next item of a phase for this block.
FN i64 claim(int* counter) {
    __shared__ int claimed;
    __syncthreads();
    if (threadIdx.x == 0) claimed = atomicAdd(counter, 1);
    __syncthreads();
    return claimed;
}
FN void finished(int* counter) {
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(counter, 1);
    }
}
FN void wait_for(int* counter, i64 count) {
    if (threadIdx.x == 0) {
        while (*(volatile int*)counter < count) __nanosleep(64);
        __threadfence();
    }
    __syncthreads();
}

// The products of a round: tiles of a warp for few vectors or sums in the order of the forward
// product; a vector alone where weights differ from one to the next.
struct Tiles {
    i64 wide, high, all;
    bool alone, by_warp;
};
FN Tiles tiles_of(const MvmArgs& a, const MvmPlan& p, i64 count) {
    Tiles t;
    t.alone = a.per_sample || a.replicas > 1;
    t.by_warp = a.exact || count <= MAX_WARP_TILE_VECTORS;
    i64 outputs = a.per_sample ? a.n_out : t.by_warp ? 8 * TILE_OUTPUTS : BLOCK_OUTPUTS;
    i64 vectors = t.alone ? 1 : t.by_warp ? TILE_VECTORS : BLOCK_VECTORS;
    t.wide = (a.n_out + outputs - 1) / outputs;
    t.high = (count + vectors - 1) / vectors;
    t.all = t.wide * t.high * (a.per_sample ? 1 : p.sections);
    return t;
}

template <int V>
FN void
queued_tile(const MvmArgs& a, const MvmPlan& p, const int* list, i64 count, int section, i64 out) {
    TileRows<V> r;
    r.count = (int)(count < V ? count : V);
    UNROLLED for (int k = 0; k < V; ++k) {
        i64 vector = list[k < r.count ? k : r.count - 1];
        r.v[k] = input_of(a, p, vector, section);
        r.z[k] = product_of(a, p, vector, section);
    }
    if (out < a.n_out) warp_tile<V>(r, weights_of(a, p, list[0], section), a, out);
}

FN void
make_tile(const MvmArgs& a, const MvmPlan& p, const int* list, i64 count, i64 item, Warps w) {
    Tiles t = tiles_of(a, p, count);
    if (a.per_sample) {
        multiply_per_sample(a, list[item], w);
        return;
    }
    i64 left = item % t.wide, high = item / t.wide % t.high;
    int section = (int)(item / (t.wide * t.high));
    i64 out = (8 * left + w.rank) * TILE_OUTPUTS;
    if (t.by_warp && t.alone) queued_tile<1>(a, p, list + high, 1, section, out);
    else if (t.by_warp) {
        i64 first = high * TILE_VECTORS;
        queued_tile<TILE_VECTORS>(a, p, list + first, count - first, section, out);
    } else {
        i64 vectors = t.alone ? 1 : BLOCK_VECTORS, first = high * vectors, rest = count - first;
        BlockRows r = {list, first, (int)(rest < vectors ? rest : vectors), section};
        block_tile(a, p, r, left * BLOCK_OUTPUTS);
    }
}

FN void read_again(const MvmArgs& a, Warps w) {
    const MvmPlan p = a.plan[0];
    for (int round = 0; round < QUEUE_ROUNDS; ++round) {
        int* counter = counters_of(a, round);
        const int* list = list_of(a, round);
        i64 count = *(volatile int*)(counter + QUEUED), tiles = tiles_of(a, p, count).all;
        if (count == 0) return;
        for (i64 k; (k = claim(counter + INPUTS_CLAIMED)) < count;) {
            Retry t = a.retry[list[k]];
            next_read<false>(a, list[k], t, w);
            if (threadIdx.x == 0) a.retry[list[k]] = t;
            finished(counter + INPUTS_DONE);
        }
        wait_for(counter + INPUTS_DONE, count);
        for (i64 k; (k = claim(counter + TILES_CLAIMED)) < tiles;) {
            make_tile(a, p, list, count, k, w);
            finished(counter + TILES_DONE);
        }
        wait_for(counter + TILES_DONE, tiles);
        for (i64 k; (k = claim(counter + OUTPUTS_CLAIMED)) < count;) {
            Retry t = a.retry[list[k]];
            if (!accept<false>(a, list[k], t, w)) enqueue(a, round + 1, list[k], t, w);
            finished(counter + OUTPUTS_DONE);
        }
        wait_for(counter + OUTPUTS_DONE, count);
    }
}
// Items are blocks, each of which works until nothing is queued.
BLOCK_KERNEL(mvm_read_again, MvmArgs, 8) { read_again(a, w); }
