// Jumps of sixteen cells on a CPU, the same as those of update_cells.

struct Ways { float shift[CHUNK], slope[CHUNK], keep[CHUNK], variance[CHUNK]; };
FN void put(Ways& to, int l, const Affine& f) {
    to.shift[l] = f.shift;
    to.slope[l] = f.slope;
    to.keep[l] = f.keep;
    to.variance[l] = f.variance;
}

// Sixteen numbers in one register: what is worked on pulse by pulse must not go through memory.
typedef float Wide __attribute__((vector_size(4 * CHUNK)));
typedef int WideInt __attribute__((vector_size(4 * CHUNK)));
template <class V, class T> FN V wide(const T* from) { V v; __builtin_memcpy(&v, from, sizeof(V)); return v; }
FN Wide wide_fma(Wide a, Wide b, Wide c) {
    Wide r;
    for (int l = 0; l < CHUNK; ++l) r[l] = fma_(a[l], b[l], c[l]);
    return r;
}

struct ChunkCourse { float mean[CHUNK], variance[CHUNK], widest[CHUNK], low[CHUNK], high[CHUNK]; };

// `advance` for all pulses of sixteen cells.
static void follow(ChunkCourse& to, const Ways& up, const Ways& down, const u32* bits, const u32* count, u32 longest) {
    Wide none = {}, one = none + 1.0f, mean = wide<Wide>(to.mean), variance = none, widest = none, low = mean, high = mean;
    Wide shift[2] = {wide<Wide>(up.shift), wide<Wide>(down.shift)}, slope[2] = {wide<Wide>(up.slope), wide<Wide>(down.slope)};
    Wide keep[2] = {wide<Wide>(up.keep), wide<Wide>(down.keep)}, more[2] = {wide<Wide>(up.variance), wide<Wide>(down.variance)};
    WideInt all = wide<WideInt>(bits), number = wide<WideInt>(count);
    for (int n = 0; n < (int)longest; ++n) {
        WideInt rises = ((all >> n) & 1) != 0, live = number > n;
        Wide s = live ? (rises ? shift[0] : shift[1]) : none, g = live ? (rises ? slope[0] : slope[1]) : none;
        Wide k = live ? (rises ? keep[0] : keep[1]) : one, m = live ? (rises ? more[0] : more[1]) : none;
        mean = mean + wide_fma(g, mean, s);
        variance = wide_fma(variance, k, m);
        widest = variance > widest ? variance : widest;
        low = mean < low ? mean : low;
        high = mean > high ? mean : high;
    }
    __builtin_memcpy(to.mean, &mean, sizeof(Wide));
    __builtin_memcpy(to.variance, &variance, sizeof(Wide));
    __builtin_memcpy(to.widest, &widest, sizeof(Wide));
    __builtin_memcpy(to.low, &low, sizeof(Wide));
    __builtin_memcpy(to.high, &high, sizeof(Wide));
}

// Sixteen listed cells, a jump each. Writes those for which a bound is within reach to `stayed`; returns their number.
static int jump_chunk(const Take& t, const u32* list, int n, Strings& strings, u32* stayed) {
    Chunk k;
    Ways up, down;
    ChunkCourse course;
    u32 bits[CHUNK], moved = 0;
    u32 longest = load_chunk(t, list, n, strings, k);
    LOOP for (int l = 0; l < CHUNK; ++l) {
        Cell c = load_cell(&k.record[0][l], CHUNK);
        put(up, l, affine_of(t.p, c, true));
        put(down, l, affine_of(t.p, c, false));
        course.mean[l] = k.w[l];
        bits[l] = (u32)k.bits[l];
    }
    follow(course, up, down, bits, k.count, longest);
    LOOP for (int l = 0; l < CHUNK; ++l) {
        Course c = {course.mean[l], course.variance[l], course.widest[l], course.low[l], course.high[l]};
        float bottom, top;
        bounds_of(t.p, load_cell(&k.record[0][l], CHUNK), bottom, top);
        k.w[l] = landing(c, pulse_normal(t.a, t.key, t.step, k.cell[l], 4u * k.block[l]));
        moved |= is_free(c, bottom, top) ? 1u << l : 0u;
    }
    moved &= (1u << n) - 1u;
    int left = 0;
    for (int l = 0; l < n; ++l) if (((moved >> l) & 1u) == 0u) stayed[left++] = list[l];
    store_chunk(t, list, moved, strings, k);
    return left;
}
