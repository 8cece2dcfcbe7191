// What: a whole read on a CPU in a single call, where one product with the weights as they are is
//   all that it takes.
// One item is: 64 outputs of all vectors of a replica. Input and output stages: a vector.
// Must equal: mvm_vector, bit by bit: each sum has the order that it has in multiply().
// When it is chosen: for one section on a CPU, where the order is fixed or the vectors are few.
#include "mvm/vector.cu"
#include "mvm/cpu/output.cu"

typedef float Vec16 __attribute__((vector_size(64)));
typedef float UnalignedVec16 __attribute__((vector_size(64), aligned(4)));
FN Vec16 load16(const float* from) { return *(const UnalignedVec16*)from; }
FN Vec16 fma16(Vec16 a, Vec16 b, Vec16 c) {
    Vec16 r;
    for (int l = 0; l < 16; ++l) r[l] = fma_(a[l], b[l], c[l]);
    return r;
}

// The sums of sixteen vectors: halves onto each other, as lanes_sum does it, for all of them at
// once.
FN Vec16 sums_of(const Vec16* s) {
    Vec16 t[8], u[4], v[2];
    for (int k = 0; k < 8; ++k)
        t[k] =
            SHUFFLE16(
                s[2 * k], s[2 * k + 1], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
            ) +
            SHUFFLE16(
                s[2 * k], s[2 * k + 1], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
            );
    for (int k = 0; k < 4; ++k)
        u[k] =
            SHUFFLE16(
                t[2 * k], t[2 * k + 1], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27
            ) +
            SHUFFLE16(
                t[2 * k], t[2 * k + 1], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31
            );
    for (int k = 0; k < 2; ++k)
        v[k] =
            SHUFFLE16(
                u[2 * k], u[2 * k + 1], 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29
            ) +
            SHUFFLE16(
                u[2 * k], u[2 * k + 1], 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31
            );
    return SHUFFLE16(v[0], v[1], 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
        SHUFFLE16(v[0], v[1], 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

// What a first cache keeps of four rows while vectors pass by, and the vectors whose sums wait
// for the next part of the rows.
#define CACHED_INPUTS 1024
#define MAX_WAITING 64

// Vec16 partial sums each of two vectors with four rows of n weights. Of longer rows a part
// [from, to) of the inputs at a time: thirty-two sums each wait in `kept`.
static void dot_rows(
    const float* const* w, const float* const* v, i64 n, i64 from, i64 to, Vec16 (*kept)[4][2],
    Vec16* out
) {
    Vec16 s[2][4][2] = {};
    if (from > 0) __builtin_memcpy(s, kept, sizeof s);
    i64 at = from;
    for (; at + 32 <= to; at += 32) {
        // Unrolled, so that the sums stay in registers.
        Vec16 x0 = load16(v[0] + at), x1 = load16(v[0] + at + 16), y0 = load16(v[1] + at),
              y1 = load16(v[1] + at + 16);
        _Pragma("GCC unroll 4") for (int q = 0; q < 4; ++q) {
            Vec16 w0 = load16(w[q] + at), w1 = load16(w[q] + at + 16);
            s[0][q][0] = fma16(w0, x0, s[0][q][0]);
            s[0][q][1] = fma16(w1, x1, s[0][q][1]);
            s[1][q][0] = fma16(w0, y0, s[1][q][0]);
            s[1][q][1] = fma16(w1, y1, s[1][q][1]);
        }
    }
    if (to < n) {
        __builtin_memcpy(kept, s, sizeof s);
        return;
    }
    if (at < n)
        _Pragma("GCC unroll 2") for (int r = 0; r < 2; ++r)
            _Pragma("GCC unroll 4") for (int q = 0; q < 4; ++q) {
            float last[32];
            *(UnalignedVec16*)last = s[r][q][0];
            *(UnalignedVec16*)(last + 16) = s[r][q][1];
            for (i64 j = at; j < n; ++j) last[j - at] = fma_(w[q][j], v[r][j], last[j - at]);
            s[r][q][0] = load16(last);
            s[r][q][1] = load16(last + 16);
        }
    _Pragma("GCC unroll 2") for (int r = 0; r < 2; ++r)
        _Pragma("GCC unroll 4") for (int q = 0; q < 4; ++q) out[4 * r + q] =
            s[r][q][0] + s[r][q][1];
}

// Inputs lie next to each other: outputs [from, to) of vectors [first, last) of a replica, four
// by four. Beyond the last one the last is taken once more.
static void rows_along(
    const MvmArgs& a, const float* w, const float* v, float* z, i64 from, i64 to, i64 first,
    i64 last
) {
    Vec16 kept[MAX_WAITING][4][2];
    for (i64 o = from; o < to; o += 4) {
        const float* rows[4];
        for (int q = 0; q < 4; ++q) rows[q] = w + (o + q < to ? o + q : to - 1) * a.w_out;
        for (i64 at = 0, end; at < a.n_in; at = end) {
            end = a.n_in - at <= CACHED_INPUTS ? a.n_in : at + CACHED_INPUTS;
            for (i64 b = first; b < last; b += 4) {
                const float* x[4];
                for (int r = 0; r < 4; ++r) x[r] = v + (b + r < last ? b + r : last - 1) * a.n_in;
                Vec16 part[16] = {}, sum;
                dot_rows(rows, x, a.n_in, at, end, kept + (b - first), part);
                if (b + 2 < last)
                    dot_rows(rows, x + 2, a.n_in, at, end, kept + (b - first + 2), part + 8);
                if (end < a.n_in) continue;
                sum = sums_of(part);
                for (int r = 0; r < 4 && b + r < last; ++r)
                    for (int q = 0; q < 4 && o + q < to; ++q)
                        z[(b + r) * a.n_out + o + q] = sum[4 * r + q];
            }
        }
    }
}

// Outputs lie next to each other: R vectors and `width` of at most 64 outputs.
template <int R, bool whole>
FN void sums_across(const MvmArgs& a, const float* w, const float* v, float* z, int width) {
    float s[R][64];
    i64 n_in = a.n_in, n_out = a.n_out, step = a.w_in;
    for (int r = 0; r < R; ++r) LOOP for (int l = 0; l < 64; ++l) s[r][l] = 0.0f;
    for (i64 j = 0; j < n_in; ++j) {
        const float* row = w + j * step;
        _Pragma("GCC unroll 4") for (int r = 0; r < R; ++r) {
            float x = v[r * n_in + j];
            LOOP for (int l = 0; l < 64; ++l) s[r][l] =
                whole || l < width ? fma_(row[l], x, s[r][l]) : 0.0f;
        }
    }
    for (int r = 0; r < R; ++r)
        LOOP for (int l = 0; l < 64; ++l) if (whole || l < width) z[r * n_out + l] = s[r][l];
}
template <bool whole>
static void rows_across(const MvmArgs& a, const float* w, const float* v, float* z, int width) {
    i64 b = 0;
    for (; b + 4 <= a.batch; b += 4)
        sums_across<4, whole>(a, w, v + b * a.n_in, z + b * a.n_out, width);
    for (; b < a.batch; ++b) sums_across<1, whole>(a, w, v + b * a.n_in, z + b * a.n_out, width);
}

KERNEL(multiply_rows, MvmArgs) {
    i64 chunks = (a.n_out + 63) / 64, replica = item / chunks, at = item % chunks * 64;
    const float *w = a.w + replica * a.n_in * a.n_out, *v = a.v + replica * a.batch * a.n_in;
    float* z = a.z + replica * a.batch * a.n_out;
    int width = (int)(a.n_out - at < 64 ? a.n_out - at : 64);
    if (a.w_in == 1)
        for (i64 b = 0; b < a.batch; b += MAX_WAITING)
            rows_along(
                a, w, v, z, at, at + width, b, b + MAX_WAITING < a.batch ? b + MAX_WAITING : a.batch
            );
    else if (width == 64) rows_across<true>(a, w + at, v, z + at, width);
    else rows_across<false>(a, w + at, v, z + at, width);
}

// Fewer numbers are converted by one thread.
#define ONE_THREAD_NUMBERS 8192
// Weights of so many cells do not stay in a cache from one vector to the next, and across them
// every line is in another page: for more than a few vectors they are laid out first. The sums
// are the same.
#define PANEL_MIN_CELLS (1 << 19)
#define PANEL_MIN_VECTORS 8
extern "C" void multiply_panels(const MvmArgs* a, i64 threads);
extern "C" void mvm_rows(const MvmArgs* a, i64 threads) {
    MvmArgs b = *a;
    i64 stages = b.items * (b.n_in + b.n_out) < ONE_THREAD_NUMBERS ? 1 : threads;
    (b.plan->plain ? mvm_input_plain : mvm_input)(&b, stages);
    bool lays_out =
        b.w_in != 1 && b.n_in * b.n_out > PANEL_MIN_CELLS && b.batch > PANEL_MIN_VECTORS;
    b.items = (lays_out ? 2 : 1) * b.replicas * ((b.n_out + 63) / 64);
    (lays_out ? multiply_panels : multiply_rows)(&b, threads);
    b.items = a->items;
    (b.plan->plain ? mvm_output_plain : mvm_output)(&b, stages);
}
