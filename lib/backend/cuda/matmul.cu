/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/cuda/launch.h"

#include "backend/cuda/matmul.h"

namespace
{

/* A block makes SIDE x SIDE elements, a thread EACH x EACH of them that lie ACROSS apart. */
enum { SIDE = 64, DEPTH = 16, EACH = 4, ACROSS = SIDE / EACH, THREADS = ACROSS * ACROSS };

template <typename real> struct matrix {
    const real *at;
    size_t row, column;
};

/* Columns p.. of rows i.. of `from`, transposed, into shared memory; 0 beyond its edges. Neighbouring
 * threads read neighbouring numbers. */
template <typename real>
__device__ void load(real (*to)[SIDE + 1], const matrix<real> &from, size_t i, size_t rows,
                     size_t p, size_t columns)
{
    for (unsigned e = threadIdx.x; e < SIDE * DEPTH; e += THREADS) {
        unsigned across = from.column == 1 ? e / DEPTH : e % SIDE,
                 down = from.column == 1 ? e % DEPTH : e / SIDE;
        bool inside = i + across < rows && p + down < columns;
        to[down][across] =
            inside ? from.at[(i + across) * from.row + (p + down) * from.column] : (real)0;
    }
}

/* b is transposed: b.row is the step from one column of C to the next. */
template <typename real>
__global__ void __launch_bounds__(THREADS)
    multiply(size_t m, size_t n, size_t k, size_t part, matrix<real> a, matrix<real> b, real *c,
             size_t lead, bool accumulate)
{
    __shared__ real left[DEPTH][SIDE + 1], right[DEPTH][SIDE + 1];
    size_t first = blockIdx.z * part, stop = k - first < part ? k : first + part;
    size_t i0 = (size_t)blockIdx.y * SIDE, j0 = (size_t)blockIdx.x * SIDE;
    unsigned x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
    real sum[EACH][EACH];
    c += blockIdx.z * m * lead;
    for (unsigned i = 0; i < EACH; i++)
        for (unsigned j = 0; j < EACH; j++) {
            size_t row = i0 + y + i * ACROSS, column = j0 + x + j * ACROSS;
            bool old = accumulate && row < m && column < n;
            sum[i][j] = old ? c[row * lead + column] : (real)0;
        }
    for (size_t p = first; p < stop; p += DEPTH) {
        load(left, a, i0, m, p, stop);
        load(right, b, j0, n, p, stop);
        __syncthreads();
        for (unsigned q = 0; q < DEPTH; q++) {
            for (unsigned i = 0; i < EACH; i++)
                for (unsigned j = 0; j < EACH; j++)
                    sum[i][j] += left[q][y + i * ACROSS] * right[q][x + j * ACROSS];
        }
        __syncthreads();
    }
    for (unsigned i = 0; i < EACH; i++)
        for (unsigned j = 0; j < EACH; j++) {
            size_t row = i0 + y + i * ACROSS, column = j0 + x + j * ACROSS;
            if (row < m && column < n)
                c[row * lead + column] = sum[i][j];
        }
}

template <typename real> cudaError_t launch(const sg_cuda_product *p, sg_cuda_stream *stream)
{
    matrix<real> a = {(const real *)p->a.at, p->a.row, p->a.column};
    matrix<real> b = {(const real *)p->b.at, p->b.column, p->b.row};
    size_t part = p->part ? p->part : p->k, parts = (p->k + part - 1) / part;
    dim3 grid((unsigned)((p->n + SIDE - 1) / SIDE), (unsigned)((p->m + SIDE - 1) / SIDE),
              (unsigned)parts);
    return SG_LAUNCH(multiply<real>, grid, THREADS, 0, stream, p->m, p->n, p->k, part, a, b,
                     (real *)p->c, p->lead, p->accumulate);
}

} // namespace

sg_status sg_cuda_matmul(const sg_cuda_product *product, sg_cuda_stream *stream, sg_error *error)
{
    if (product->m == 0 || product->n == 0 || product->k == 0)
        return sg_fail(error, SG_EINTERNAL, "an empty product of matrices");
    return sg_cuda_check(product->precision == SG_FP32 ? launch<float>(product, stream)
                                                       : launch<double>(product, stream),
                         "multiplying matrices", error);
}
