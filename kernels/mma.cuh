// Tensor-core products, matrix loads and asynchronous copies as device functions.
//
// Who holds which element follows the PTX ISA. With group = lane / 4 and member = lane % 4:
//   a[0], a[1]   rows group, group + 8   columns 2 member, 2 member + 1 (low half first)
//   a[2], a[3]   the same rows           columns 8 further
//   b[0], b[1]   rows 2 member, 2 member + 1 and 8 further   column group
//   d[0], d[1]   row group               columns 2 member, 2 member + 1
//   d[2], d[3]   row group + 8           the same columns
// All 32 lanes of a warp call these together. The host tests have bodies of their own.
#include "common.cuh"

#ifdef __CUDACC__
namespace ibsync {

// Two numbers as float16, to nearest even: low in the lower half of the word.
IBSYNC_FUNCTION u32 pack_half2(float low, float high) {
    u32 pair;
    asm("{ .reg .f16 l, h; cvt.rn.f16.f32 l, %1; cvt.rn.f16.f32 h, %2; mov.b32 %0, {l, h}; }"
        : "=r"(pair) : "f"(low), "f"(high));
    return pair;
}

IBSYNC_FUNCTION float half_low(u32 pair) {
    float value;
    asm("{ .reg .f16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, l; }" : "=f"(value) : "r"(pair));
    return value;
}

IBSYNC_FUNCTION float half_high(u32 pair) {
    float value;
    asm("{ .reg .f16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, h; }" : "=f"(value) : "r"(pair));
    return value;
}

// d += a b with a [16, 16] and b [16, 8] in float16, d [16, 8] in float32.
IBSYNC_FUNCTION void mma_f16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(b[0]));
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[2]), "r"(a[3]), "r"(b[1]));
#endif
}

#if __CUDA_ARCH__ >= 800
// d += a b with a [8, 4] (row group, column member), b [4, 8] (row member, column group), d [8, 8] (row group, columns
// 2 member, 2 member + 1), all in float64. From sm_80.
IBSYNC_FUNCTION void mma_f64(double (&d)[2], double a, double b) {
    asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
                 : "+d"(d[0]), "+d"(d[1]) : "d"(a), "d"(b));
}
#endif

IBSYNC_FUNCTION u32 shared_address(const void* p) { return static_cast<u32>(__cvta_generic_to_shared(p)); }

// Matrices [8, 8] of 16-bit elements: lane l points to row l % 8 of matrix l / 8, 16 bytes at a multiple of 16, and gets
// elements 2 member, 2 member + 1 of row group of each; of column group where transposed. x2 ignores lanes from 16.
IBSYNC_FUNCTION void ldmatrix_x4(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

IBSYNC_FUNCTION void ldmatrix_x4_trans(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

IBSYNC_FUNCTION void ldmatrix_x2(u32 (&r)[2], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
}

IBSYNC_FUNCTION void ldmatrix_x2_trans(u32 (&r)[2], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
}

// 16 bytes from global to shared memory, there after a commit, a wait and a barrier; zeros where not valid, when the
// source is not read. Both addresses are multiples of 16. Below sm_80 it is there at once.
IBSYNC_FUNCTION void cp_async_16(void* shared, const void* global, bool valid) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(shared_address(shared)), "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0) : "memory");
#else
    *static_cast<uint4*>(shared) = valid ? *static_cast<const uint4*>(global) : make_uint4(0u, 0u, 0u, 0u);
#endif
}

// Ends a group of copies.
IBSYNC_FUNCTION void cp_async_commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until all but the last N groups of this thread are there.
template <int N> IBSYNC_FUNCTION void cp_async_wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory");
#endif
}

}  // namespace ibsync
#endif
