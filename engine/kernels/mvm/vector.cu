// What: products and whole reads, vector by vector: input stage, product, output stage, and the
//   reads that bound management asks for.
// One item is: a vector, which a thread of a CPU owns, and one or more warps of a GPU.
// Must equal: mvm_reference, bit by bit.
// When it is chosen: where a product has a fixed order (run.exact), or is so small that a call of
//   torch takes longer. The input stage alone: before a product that torch or another kernel makes.
#include "mvm/bounds.cuh"

template <bool plain> FN void input_stage(const MvmArgs& a, i64 item, Warps w) {
    float alpha = convert_first<plain>(a, item, w);
    if (first_lane() && w.rank == 0) a.alpha[item] = alpha;
    if (a.queue && item == 0 && w.rank == 0) {
        for (int at = 0; at < QUEUE_SIZE; at += 32)
            LANES(l) a.queue[at + l] = 0;
    }
}
BLOCK_KERNEL(mvm_input, MvmArgs, 8) { input_stage<false>(a, item, w); }
BLOCK_KERNEL(mvm_input_plain, MvmArgs, 8) { input_stage<true>(a, item, w); }

BLOCK_KERNEL(mvm_product, MvmArgs, 8) { multiply(a, item, w); }

template <bool plain> FN void whole_read(const MvmArgs& a, i64 item, Warps w) {
    float alpha = convert_first<plain>(a, item, w);
    if (alpha > 0.0f) multiply(a, item, w);
    finish<plain>(a, item, alpha, w);
}
BLOCK_KERNEL(mvm_vector, MvmArgs, 8) { whole_read<false>(a, item, w); }
BLOCK_KERNEL(mvm_vector_plain, MvmArgs, 16) { whole_read<true>(a, item, w); }
