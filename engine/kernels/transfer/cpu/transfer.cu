// What: the whole update of a mini-batch in one call on a CPU: schedule, trains, fast array, transfers, visible sum.
// One item is: a mini-batch; its kernels share the threads.
// Must equal: tests/naive/transfer.py.
// When it is chosen: on a CPU.
#include "transfer/walk.cu"

extern "C" void transfer_update(const TransferArgs* a, i64 threads) {
    TransferArgs b = *a;
    const TransferPlan& p = a->transfer[0];
    fast::UpdateArgs u = fast_of(b, 0);
    u.replicas = b.replicas;
    u.x = b.x;
    u.d = b.d;
    u.x_words = b.x_words;
    u.d_words = b.d_words;
    i64 samples = b.replicas * b.batch, few = samples * (b.rows + b.cols) < 16384 ? 1 : threads;
    b.items = samples;
    transfer_maxima(&b, few);
    b.items = b.replicas;
    transfer_schedule(&b, 1);
    b.items = b.replicas * (p.arrays - 1) * b.listed;
    if (b.listed) list_events(&b, b.items < 2048 ? 1 : threads);
    b.items = samples;
    transfer_plans(&b, samples < 2048 ? 1 : threads);
    u.items = samples * ((b.cols + 31) / 32 + (b.rows + 31) / 32);
    if (b.type != EXACT) fast::make_trains(&u, samples * (b.rows + b.cols) < 2048 ? 1 : threads);
    b.items = b.replicas * lines_of(b, p);
    if (p.out_chop_prob > 0.0f) transfer_signs(&b, b.items * b.batch < 4096 ? 1 : threads);
    bool all = true;
    for (i64 replica = 0; replica < b.replicas; ++replica) all = all && (i64)b.found[replica].slots == slices_of(b, p);
    if (!all) {
        b.items = samples * b.words;
        transfer_rest(&b, few);
        u.x_words = b.x_rest;
        u.d_words = b.d_rest;
        u.x = (const float*)b.x_rest;
        u.d = (const float*)b.d_rest;
        u.items = b.replicas * b.rows * b.cols;
        if (b.type == EXACT) fast::update_exact(&u, threads);
        else fast::update_rows(&u, threads);
    }
    b.items = b.replicas * b.slots * (p.whole ? 1 : (lines_of(b, p) + 31) / 32);
    transfer_walk(&b, b.slots * lines_of(b, p) < 64 ? 1 : threads);
    b.items = b.replicas * b.rows * b.cols;
    if (b.visible) transfer_sum(&b, threads);
}
