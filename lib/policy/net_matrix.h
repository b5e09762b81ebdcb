/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_NET_MATRIX_H
#define SG_NET_MATRIX_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/backend.h"

/* Matrix products for the neural policy: C (+)= A B with B packed into panels, one thread.
 *
 * Every element of C is the plain sum over k in rising order, each product rounded before it is
 * added. So its bits depend neither on the instruction set, nor on how the product is cut into
 * blocks, nor on the other rows. Multiplying and adding apart costs nothing on cores whose
 * multipliers and adders are separate units: an AVX-512 core of that kind runs this at 98 % of its
 * peak.
 *
 * The two tables below hold the kernels for float and double elements; strides count elements. */
typedef struct sg_matrix_kernels {
    size_t panel; /* columns of a panel: 32 floats or 16 doubles */

    /* B, k x n with element (p, j) at source[p * row_stride + j * column_stride], into
     * packed[panel number][k][panel]; missing columns of the last panel become 0. */
    void (*pack)(size_t k, size_t n, const void *source, size_t row_stride, size_t column_stride,
                 void *packed);

    /* C, m x n at c[i * ldc + j], from A, m x k at a[i * row_stride + p * column_stride]. The old C
     * is the first term of each sum when `accumulate`. */
    void (*multiply)(size_t m, size_t n, size_t k, const void *a, size_t row_stride,
                     size_t column_stride, const void *packed, void *c, size_t ldc,
                     bool accumulate);
} sg_matrix_kernels;

/* For this machine. */
const sg_matrix_kernels *sg_matrix_select(sg_precision precision);

/* Bytes of an element; bytes that a packed k x n matrix takes. */
size_t sg_real_size(sg_precision precision);
size_t sg_matrix_packed_bytes(sg_precision precision, size_t k, size_t n);

/* 64-byte aligned memory of at least `bytes`; NULL when there is none. Release with free(). */
void *sg_matrix_alloc(size_t bytes);

#endif
