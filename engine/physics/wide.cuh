// Registers of a CPU: only a host compiler reads this.
#pragma once

// Numbers of cells that are worked on in registers: sixteen at once, of which no step may go through memory.
#define WIDE 16
typedef float Wide __attribute__((vector_size(4 * WIDE)));
typedef int WideMask __attribute__((vector_size(4 * WIDE)));
typedef u32 WideBits __attribute__((vector_size(4 * WIDE)));
#define WIDES(g, n) for (int g = 0; g * WIDE < (n); ++g)
FN void fetch(Wide& to, const float* from) { __builtin_memcpy(&to, from, sizeof(to)); }
FN void fetch(WideBits& to, const u32* from) { __builtin_memcpy(&to, from, sizeof(to)); }
FN void put(float* to, Wide from) { __builtin_memcpy(to, &from, sizeof(from)); }
FN void put(u32* to, WideBits from) { __builtin_memcpy(to, &from, sizeof(from)); }
// Loops over arrays become one instruction; over the elements of a register they may become sixteen.
FN Wide fma_(Wide a, Wide b, Wide c) {
    float x[WIDE], y[WIDE], z[WIDE];
    put(x, a);
    put(y, b);
    put(z, c);
    LOOP for (int l = 0; l < WIDE; ++l) z[l] = fma_(x[l], y[l], z[l]);
    fetch(c, z);
    return c;
}
FN Wide sqrt_(Wide v) {
    float x[WIDE];
    put(x, v);
    LOOP for (int l = 0; l < WIDE; ++l) x[l] = sqrt_(x[l]);
    fetch(v, x);
    return v;
}
FN WideBits popcount(WideBits v) {
    u32 x[WIDE];
    put(x, v);
    LOOP for (int l = 0; l < WIDE; ++l) x[l] = popcount(x[l]);
    fetch(v, x);
    return v;
}
// A bit for each element that is not 0. GCC alone makes a dozen instructions of it where there are two.
FN u32 flags(WideBits v) {
#if defined(__AVX512F__) && !defined(__clang__)
    return (unsigned short)__builtin_ia32_ptestmd512((WideMask)v, (WideMask)v, (unsigned short)-1);
#else
    u32 x[WIDE], mask = 0u;
    put(x, v);
    LOOP for (int l = 0; l < WIDE; ++l) mask |= x[l] != 0u ? 1u << l : 0u;
    return mask;
#endif
}
FN bool some(WideBits v) { return flags(v) != 0u; }

// Four numbers each of sixteen rows, as sixteen numbers each of four columns.
typedef float Four __attribute__((vector_size(16)));
typedef float Eight __attribute__((vector_size(32)));
#if defined(__clang__) || __GNUC__ >= 12
FN Wide row_of(const Four& a, const Four& b, const Four& c, const Four& d) {
    Eight low = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7), high = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7);
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
FN Wide low_pairs(Wide a, Wide b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
}
FN Wide high_pairs(Wide a, Wide b) {
    return __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
}
FN void transpose(const Four* rows, Wide* columns) {
    Wide r0 = row_of(rows[0], rows[4], rows[8], rows[12]), r1 = row_of(rows[1], rows[5], rows[9], rows[13]);
    Wide r2 = row_of(rows[2], rows[6], rows[10], rows[14]), r3 = row_of(rows[3], rows[7], rows[11], rows[15]);
    Wide a = low_pairs(r0, r2), b = low_pairs(r1, r3), c = high_pairs(r0, r2), d = high_pairs(r1, r3);
    columns[0] = low_pairs(a, b);
    columns[1] = high_pairs(a, b);
    columns[2] = low_pairs(c, d);
    columns[3] = high_pairs(c, d);
}
#else
FN void transpose(const Four* rows, Wide* columns) {
    for (int l = 0; l < WIDE; ++l) for (int f = 0; f < 4; ++f) columns[f][l] = rows[l][f];
}
#endif
FN Wide choose(WideMask yes, Wide a, Wide b) { return yes ? a : b; }
FN WideBits choose(WideMask yes, WideBits a, WideBits b) { return yes ? a : b; }
