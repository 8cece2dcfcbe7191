// What the kernels of convolutions know of an image [B, C, D, H, W] and of the matrix of its
// patches, a row a patch.
#pragma once
#include "portable.cuh"

struct PatchArgs {
    i64 items, channels, depth, height, width, out_depth, out_height, out_width;
    i64 stride_b, stride_c, stride_z, stride_y, stride_x;
    i64 columns, row;
    int kernel_z, kernel_yx, step_z, step_y, step_x, pad_z, pad_y, pad_x;
    float *image, *rows;
    const int* table;
};

// Is a place within an axis of this extent? A negative one is a very large unsigned number.
FN bool within(int place, int extent) { return (u32)place < (u32)extent; }
FN i64 whole_blocks(i64 n) { return (n + 31) / 32 * 32; }
