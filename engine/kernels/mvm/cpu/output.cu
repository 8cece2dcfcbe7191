// What: the output stage of a CPU, and the reads that bound management asks for.
// One item is: a vector.
// Must equal: mvm_reference, bit by bit, where the first product has the order of its own.
// When it is chosen: after mvm_input and a product on a CPU.
#include "mvm/bounds.cuh"

BLOCK_KERNEL(mvm_output, MvmArgs, 8) { finish<false>(a, item, a.alpha[item], w); }
BLOCK_KERNEL(mvm_output_plain, MvmArgs, 8) { finish<true>(a, item, a.alpha[item], w); }
