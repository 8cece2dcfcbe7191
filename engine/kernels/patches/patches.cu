// What: patches of images as rows of a matrix, and the way back for gradients. Both gather: every
//   number is written once.
// One item is: a patch (take_patches), 32 numbers of a plane of the image (return_patches), a warp.
// Must equal: torch's unfold and fold; gradients but for the order of their sums.
// When it is chosen: always.
#include "patches/patches.cuh"

// One warp a patch. The table holds, for each column of the patch and in whole blocks of 32, its
// offset in the image and its place along each axis from the patch's corner. Columns beyond the
// patch are inputs of 1, for an analog bias.
WARP_KERNEL(take_patches, PatchArgs) {
    i64 ox = item % a.out_width, oy = item / a.out_width % a.out_height;
    i64 plane = item / (a.out_width * a.out_height), oz = plane % a.out_depth,
        b = plane / a.out_depth;
    int z = (int)(oz * a.step_z) - a.pad_z, y = (int)(oy * a.step_y) - a.pad_y,
        x = (int)(ox * a.step_x) - a.pad_x;
    const float* image = a.image + b * a.stride_b;
    int corner = (int)(z * a.stride_z + y * a.stride_y + x * a.stride_x);
    int depth = (int)a.depth, height = (int)a.height, width = (int)a.width;
    i64 n = whole_blocks(a.columns);
    float* to = a.rows + item * a.row;
    for (i64 at = 0; at < n; at += 32) {
        const int *offset = a.table + at, *dz = offset + n, *dy = dz + n, *dx = dy + n;
        Laned<float> v;
        LANES(l) {
            bool in =
                within(z + dz[l], depth) & within(y + dy[l], height) & within(x + dx[l], width);
            float seen = image[in ? corner + offset[l] : 0];
            v[l] = in ? seen : 0.0f;
        }
        if (at + 32 <= a.columns)
            LANES(l) to[at + l] = v[l];
        else
            LANES(l)
                if (at + l < a.columns) to[at + l] = v[l];
    }
    for (i64 at = a.columns; at < a.row; at += 32)
        LANES(l)
            if (at + l < a.row) to[at + l] = 1.0f;
}

// One warp 32 numbers of a plane H W of the image: each sums what its places in patches hold, in
// the order of the kernel. The table holds, for each tap along D and depth, the patch that sees
// that depth through that tap, or -1; then, for each tap in the plane and number of it, in whole
// blocks of 32, the offset of the row that sees it, or -1.
WARP_KERNEL(return_patches, PatchArgs) {
    i64 size = a.height * a.width, n = whole_blocks(size), at = item % (n / 32) * 32,
        plane = item / (n / 32);
    i64 z = plane % a.depth, c = plane / a.depth % a.channels, b = plane / (a.depth * a.channels);
    i64 planes = a.out_height * a.out_width * a.row;
    Laned<float> sum;
    LANES(l) sum[l] = 0.0f;
    for (int kz = 0; kz < a.kernel_z; ++kz) {
        i64 oz = a.table[kz * a.depth + z];
        if (oz < 0) continue;
        const float* from =
            a.rows + (b * a.out_depth + oz) * planes + (c * a.kernel_z + kz) * a.kernel_yx;
        const int* row = a.table + a.kernel_z * a.depth + at;
        for (int k = 0; k < a.kernel_yx; ++k, row += n)
            LANES(l) {
                float seen = from[(row[l] < 0 ? 0 : row[l]) + k];
                sum[l] = sum[l] + (row[l] < 0 ? 0.0f : seen);
            }
    }
    // Gradients are made with whole planes: a line follows the one before.
    float* to = a.image + b * a.stride_b + c * a.stride_c + z * a.stride_z;
    LANES(l)
        if (at + l < size) to[(at + l) * a.stride_x] = sum[l];
}
