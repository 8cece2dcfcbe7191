// What: products of many vectors whose sums run through the inputs in order.
// One item is: a block's tile of 64 vectors of one section and replica with 128 outputs.
// Must equal: mvm_product backward and mvm_panels forward, bit by bit.
// When it is chosen: on a GPU, backward, where products of many vectors have a fixed order; for
//   several sections, where the host would need longer for the calls of torch.
#include "mvm/gpu/block_tile.cuh"

BLOCK_KERNEL(mvm_product_blocks, MvmArgs, 8) {
    const MvmPlan p = a.plan[0];
    i64 wide = (a.n_out + BLOCK_OUTPUTS - 1) / BLOCK_OUTPUTS;
    i64 high = (a.batch + BLOCK_VECTORS - 1) / BLOCK_VECTORS, section = item / (wide * high);
    i64 first = item / wide % high * BLOCK_VECTORS, rest = a.batch - first;
    int count = (int)(rest < BLOCK_VECTORS ? rest : BLOCK_VECTORS);
    BlockRows r = {
        nullptr, section / p.sections * a.batch + first, count, (int)(section % p.sections)
    };
    block_tile(a, p, r, item % wide * BLOCK_OUTPUTS);
}
