/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/cuda/launch.h"

#include "backend/cuda/groups.h"
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

/* The elements of C, m x n, whose corner is (i0, j0), from terms first..stop-1. b is transposed: b.row is
 * the step from one column of C to the next. */
template <typename real>
__device__ void make_square(size_t i0, size_t j0, size_t m, size_t n, size_t first, size_t stop,
                            const matrix<real> &a, const matrix<real> &b, real *c, size_t lead,
                            bool accumulate)
{
    __shared__ real left[DEPTH][SIDE + 1], right[DEPTH][SIDE + 1];
    unsigned x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
    real sum[EACH][EACH];
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

template <typename real>
__global__ void __launch_bounds__(THREADS)
    multiply(size_t m, size_t n, size_t k, size_t part, matrix<real> a, matrix<real> b, real *c,
             size_t lead, bool accumulate)
{
    size_t first = blockIdx.z * part, stop = k - first < part ? k : first + part;
    make_square((size_t)blockIdx.y * SIDE, (size_t)blockIdx.x * SIDE, m, n, first, stop, a, b,
                c + blockIdx.z * m * lead, lead, accumulate);
}

/* More blocks than there are squares: nobody but the device knows the groups. */
template <typename real>
__global__ void __launch_bounds__(THREADS)
    multiply_rows(sg_cuda_groups groups, size_t n, size_t k, matrix<real> a, matrix<real> b,
                  size_t step, real *c, size_t lead)
{
    sg_cuda_piece piece = sg_cuda_find_piece(groups, SIDE, blockIdx.x);
    if (piece.group == groups.count)
        return; /* the whole block */
    size_t start = groups.first[piece.group], m = groups.first[piece.group + 1] - start;
    a.at += start * a.row;
    b.at += piece.group * step;
    make_square(piece.number * SIDE, (size_t)blockIdx.y * SIDE, m, n, 0, k, a, b, c + start * lead,
                lead, false);
}

template <typename real>
__global__ void __launch_bounds__(THREADS)
    multiply_terms(sg_cuda_groups groups, size_t m, size_t n, matrix<real> a, matrix<real> b,
                   real *c, size_t step, size_t lead)
{
    make_square((size_t)blockIdx.y * SIDE, (size_t)blockIdx.x * SIDE, m, n,
                groups.first[blockIdx.z], groups.first[blockIdx.z + 1], a, b, c + blockIdx.z * step,
                lead, false);
}

size_t squares(size_t n)
{
    return (n + SIDE - 1) / SIDE;
}

template <typename real> matrix<real> left_of(const sg_cuda_product *p)
{
    return {(const real *)p->a.at, p->a.row, p->a.column};
}

template <typename real> matrix<real> right_of(const sg_cuda_product *p)
{
    return {(const real *)p->b.at, p->b.column, p->b.row};
}

template <typename real> cudaError_t launch(const sg_cuda_product *p, sg_cuda_stream *stream)
{
    size_t part = p->part ? p->part : p->k, parts = (p->k + part - 1) / part;
    dim3 grid((unsigned)squares(p->n), (unsigned)squares(p->m), (unsigned)parts);
    return SG_LAUNCH(multiply<real>, grid, THREADS, 0, stream, p->m, p->n, p->k, part,
                     left_of<real>(p), right_of<real>(p), (real *)p->c, p->lead, p->accumulate);
}

template <typename real>
cudaError_t launch_rows(const sg_cuda_product *p, sg_cuda_groups groups, size_t step,
                        sg_cuda_stream *stream)
{
    dim3 grid(sg_cuda_most_pieces(groups, p->m, SIDE), (unsigned)squares(p->n));
    return SG_LAUNCH(multiply_rows<real>, grid, THREADS, 0, stream, groups, p->n, p->k,
                     left_of<real>(p), right_of<real>(p), step, (real *)p->c, p->lead);
}

template <typename real>
cudaError_t launch_terms(const sg_cuda_product *p, sg_cuda_groups groups, size_t step,
                         sg_cuda_stream *stream)
{
    dim3 grid((unsigned)squares(p->n), (unsigned)squares(p->m), (unsigned)groups.count);
    return SG_LAUNCH(multiply_terms<real>, grid, THREADS, 0, stream, groups, p->m, p->n,
                     left_of<real>(p), right_of<real>(p), (real *)p->c, step, p->lead);
}

sg_status check_size(const sg_cuda_product *p, sg_error *error)
{
    return p->m == 0 || p->n == 0 || p->k == 0
               ? sg_fail(error, SG_EINTERNAL, "an empty product of matrices")
               : SG_OK;
}

const char *const doing = "multiplying matrices";

} // namespace

sg_status sg_cuda_matmul(const sg_cuda_product *product, sg_cuda_stream *stream, sg_error *error)
{
    sg_status status = check_size(product, error);
    return status ? status
                  : sg_cuda_check(product->precision == SG_FP32 ? launch<float>(product, stream)
                                                                : launch<double>(product, stream),
                                  doing, error);
}

sg_status sg_cuda_matmul_rows(const sg_cuda_product *product, sg_cuda_groups groups, size_t step,
                              sg_cuda_stream *stream, sg_error *error)
{
    sg_status status = check_size(product, error);
    return status ? status
                  : sg_cuda_check(product->precision == SG_FP32
                                      ? launch_rows<float>(product, groups, step, stream)
                                      : launch_rows<double>(product, groups, step, stream),
                                  doing, error);
}

sg_status sg_cuda_matmul_terms(const sg_cuda_product *product, sg_cuda_groups groups, size_t step,
                               sg_cuda_stream *stream, sg_error *error)
{
    sg_status status = check_size(product, error);
    return status ? status
                  : sg_cuda_check(product->precision == SG_FP32
                                      ? launch_terms<float>(product, groups, step, stream)
                                      : launch_terms<double>(product, groups, step, stream),
                                  doing, error);
}
