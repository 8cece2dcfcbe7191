// What: a whole read on a CPU whose vectors have several sections each (IR drop, read noise,
//   passes).
// One item is: a panel of 64 outputs of all vectors of a replica, with its weights laid out once.
// Must equal: mvm_vector backward, bit by bit: each sum runs through the inputs in order. Forward
//   its sums have another order than those of run.exact.
// When it is chosen: for several sections on a CPU without run.exact. Its products alone also
//   serve mvm_rows backward through large weights.
#include "mvm/cpu/rows.cu"

#define PANEL 64
#define DEPTH 128

// Weights of 64 outputs, of which `width` are there, and `depth` inputs: those of an input next
// to each other.
static void
lay_out(const MvmArgs& a, const float* w, i64 depth, i64 width, bool absolute, float* to) {
    if (a.w_in != 1) {
        for (i64 j = 0; j < depth; ++j)
            for (i64 o = 0; o < width; ++o) to[j * PANEL + o] = w[j * a.w_in + o];
    } else
        for (i64 o = 0; o < width; o += WIDE) {
            const float* rows[WIDE];
            Four part[WIDE];
            Wide columns[4];
            for (int l = 0; l < WIDE; ++l)
                rows[l] = w + (o + l < width ? o + l : width - 1) * a.w_out;
            i64 j = 0;
            for (; j + 4 <= depth; j += 4) {
                for (int l = 0; l < WIDE; ++l)
                    __builtin_memcpy(&part[l], rows[l] + j, sizeof(Four));
                transpose(part, columns);
                for (int m = 0; m < 4; ++m) put(to + (j + m) * PANEL + o, columns[m]);
            }
            for (; j < depth; ++j)
                for (int l = 0; l < WIDE; ++l) to[j * PANEL + o + l] = rows[l][j];
        }
    if (absolute) LOOP for (i64 k = 0; k < depth * PANEL; ++k) to[k] = abs_(to[k]);
}

// R vectors of `depth` inputs on 16 C outputs of a panel; their sums so far are in z, rows of
// `step` numbers, or begin here.
template <int R, int C>
FN void add_panel(
    const float* panel, i64 depth, const float* v, i64 n_in, float* z, i64 step, bool begins
) {
    Vec16 s[R][C] = {};
    if (!begins)
        for (int r = 0; r < R; ++r)
            for (int k = 0; k < C; ++k) s[r][k] = load16(z + r * step + 16 * k);
    for (i64 j = 0; j < depth; ++j) {
        Vec16 f[C];
        _Pragma("GCC unroll 4") for (int k = 0; k < C; ++k) f[k] =
            load16(panel + j * PANEL + 16 * k);
        _Pragma("GCC unroll 16") for (int r = 0; r < R; ++r) {
            Vec16 x = v[r * n_in + j] - Vec16{};
            _Pragma("GCC unroll 4") for (int k = 0; k < C; ++k) s[r][k] = fma16(f[k], x, s[r][k]);
        }
    }
    for (int r = 0; r < R; ++r)
        for (int k = 0; k < C; ++k) *(UnalignedVec16*)(z + r * step + 16 * k) = s[r][k];
}

// The same where only `width` of the outputs are there.
template <int R, int C>
static void add_narrow(
    const float* panel, i64 depth, const float* v, i64 n_in, float* z, i64 step, bool begins,
    i64 width
) {
    float sums[R * 16 * C] = {};
    if (!begins)
        for (int r = 0; r < R; ++r)
            for (i64 o = 0; o < width; ++o) sums[r * 16 * C + o] = z[r * step + o];
    add_panel<R, C>(panel, depth, v, n_in, sums, 16 * C, begins);
    for (int r = 0; r < R; ++r)
        for (i64 o = 0; o < width; ++o) z[r * step + o] = sums[r * 16 * C + o];
}
template <int R, int C>
static void add_vectors(
    const float* panel, i64 depth, const float* v, i64 n_in, float* z, i64 step, bool begins,
    i64 width
) {
    if (width == 16 * C) add_panel<R, C>(panel, depth, v, n_in, z, step, begins);
    else add_narrow<R, C>(panel, depth, v, n_in, z, step, begins, width);
}

// All `rows` vectors, as many at a time as registers hold sums of.
template <int C>
static void add_rows(
    const float* panel, i64 depth, const float* v, i64 n_in, float* z, i64 step, i64 rows,
    bool begins, i64 width
) {
    const int R = 16 / C;
    i64 b = 0;
    for (; b + R <= rows; b += R)
        add_vectors<R, C>(panel, depth, v + b * n_in, n_in, z + b * step, step, begins, width);
    for (; b < rows; ++b)
        add_vectors<1, C>(panel, depth, v + b * n_in, n_in, z + b * step, step, begins, width);
}

// One item 64 outputs of all vectors of a replica that go with the weights, or of those that go
// with their absolute values.
KERNEL(multiply_panels, MvmArgs) {
    const MvmPlan& p = a.plan[0];
    i64 panels = (a.n_out + PANEL - 1) / PANEL, replica = item / (2 * panels),
        at = item / 2 % panels * PANEL;
    bool absolute = item % 2 != 0;
    i64 width = a.n_out - at < PANEL ? a.n_out - at : PANEL,
        plain = p.passes * p.signed_kinds * a.batch;
    i64 rows = absolute ? p.passes * p.absolute_kinds * a.batch : plain,
        first = replica * p.sections * a.batch + (absolute ? plain : 0);
    const float *w = a.w + replica * a.n_in * a.n_out + at * a.w_out, *v = a.v + first * a.n_in;
    float *z = a.z + first * a.n_out + at, panel[DEPTH * PANEL];
    for (i64 j = 0; j < a.n_in && rows > 0; j += DEPTH) {
        i64 depth = a.n_in - j < DEPTH ? a.n_in - j : DEPTH;
        lay_out(a, w + j * a.w_in, depth, width, absolute, panel);
        if (width <= 16) add_rows<1>(panel, depth, v + j, a.n_in, z, a.n_out, rows, j == 0, width);
        else if (width <= 32)
            add_rows<2>(panel, depth, v + j, a.n_in, z, a.n_out, rows, j == 0, width);
        else add_rows<4>(panel, depth, v + j, a.n_in, z, a.n_out, rows, j == 0, width);
    }
}

extern "C" void mvm_panels(const MvmArgs* a, i64 threads) {
    MvmArgs b = *a;
    (b.plan->plain ? mvm_input_plain : mvm_input)(&b, threads);
    b.items = 2 * b.replicas * ((b.n_out + PANEL - 1) / PANEL);
    multiply_panels(&b, threads);
    b.items = a->items;
    (b.plan->plain ? mvm_output_plain : mvm_output)(&b, threads);
}
