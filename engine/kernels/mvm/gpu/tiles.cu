// What: products in a fixed order, of a few vectors with a few outputs at once.
// One item is: a warp's tile of TILE_VECTORS vectors of one section and replica with TILE_OUTPUTS
//   outputs (forward) or 32 (backward); single vectors where there are no more than two.
// Must equal: mvm_product, bit by bit.
// When it is chosen: on a GPU, for few vectors, where cuBLAS takes kernels for many, and for
//   products of a fixed order.
#include "mvm/gpu/product.cuh"

template <int V> FN void product_tile(const MvmArgs& a, const MvmPlan& p, i64 item) {
    i64 outputs = outputs_of_tile(a), wide = (a.n_out + outputs - 1) / outputs;
    i64 high = (a.batch + V - 1) / V, section = item / (wide * high);
    i64 replica = section / p.sections, first = item / wide % high * V;
    section = section % p.sections;
    TileRows<V> r;
    r.count = (int)(a.batch - first < V ? a.batch - first : V);
    UNROLLED for (int k = 0; k < V; ++k) {
        i64 vector = replica * a.batch + first + (k < r.count ? k : r.count - 1);
        r.v[k] = input_of(a, p, vector, (int)section);
        r.z[k] = product_of(a, p, vector, (int)section);
    }
    TileWeights t = weights_of(a, p, replica * a.batch, (int)section);
    warp_tile<V>(r, t, a, item % wide * outputs);
}

WARP_KERNEL(mvm_product_tiles, MvmArgs) { product_tile<TILE_VECTORS>(a, a.plan[0], item); }
WARP_KERNEL(mvm_product_tiles_single, MvmArgs) { product_tile<1>(a, a.plan[0], item); }
