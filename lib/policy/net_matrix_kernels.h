/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Matrix kernels of one precision: included by net_matrix.simd.c with SG_REAL and SG_NAME defined,
 * hence no include guard. */

enum {
    SG_NAME(LANES) = VECTOR / sizeof(SG_REAL),
    SG_NAME(PANEL) = PANEL_BYTES / sizeof(SG_REAL),
    SG_NAME(COLUMNS) = 2 * SG_NAME(LANES), /* of C that the kernel holds in registers */
};
typedef SG_REAL SG_NAME(vector)
    __attribute__((vector_size(VECTOR), may_alias, aligned(sizeof(SG_REAL))));

static void SG_NAME(pack)(size_t k, size_t n, const void *source, size_t row_stride,
                          size_t column_stride, void *packed)
{
    const SG_REAL *from = source;
    SG_REAL *to = packed;
    for (size_t j = 0; j < n; j += SG_NAME(PANEL), to += k * SG_NAME(PANEL)) {
        size_t columns = n - j < SG_NAME(PANEL) ? n - j : SG_NAME(PANEL);
        if (columns < SG_NAME(PANEL))
            memset(to, 0, k * PANEL_BYTES);
        const SG_REAL *corner = from + j * column_stride;
        if (column_stride == 1) {
            for (size_t p = 0; p < k; p++)
                memcpy(to + p * SG_NAME(PANEL), corner + p * row_stride, columns * sizeof *to);
            continue;
        }
        for (size_t start = 0; start < k; start += 16) { /* a cache line of each column */
            size_t stop = start + 16 < k ? start + 16 : k;
            for (size_t c = 0; c < columns; c++)
                for (size_t p = start; p < stop; p++)
                    to[p * SG_NAME(PANEL) + c] = corner[p * row_stride + c * column_stride];
        }
    }
}

/* `rows` is a constant at each call, so that the accumulators live in registers. */
static inline __attribute__((always_inline)) void
SG_NAME(kernel)(size_t rows, size_t k, const SG_REAL *a, size_t row_stride, size_t column_stride,
                const SG_REAL *b, SG_REAL *c, size_t ldc, bool accumulate)
{
    typedef SG_NAME(vector) vector;
    vector sum[ROWS][2];
#pragma GCC unroll 16
    for (size_t i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (size_t j = 0; j < 2; j++)
            sum[i][j] = accumulate
                            ? *(const vector *)(const void *)(c + i * ldc + j * SG_NAME(LANES))
                            : (vector){0};
    for (size_t p = 0; p < k; p++) {
        vector left = *(const vector *)(const void *)(b + p * SG_NAME(PANEL));
        vector right = *(const vector *)(const void *)(b + p * SG_NAME(PANEL) + SG_NAME(LANES));
#pragma GCC unroll 16
        for (size_t i = 0; i < rows; i++) {
            SG_REAL factor = a[i * row_stride + p * column_stride];
            sum[i][0] += factor * left;
            sum[i][1] += factor * right;
        }
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (size_t j = 0; j < 2; j++)
            *(vector *)(void *)(c + i * ldc + j * SG_NAME(LANES)) = sum[i][j];
}

/* One strip of COLUMNS columns. */
static void SG_NAME(strip)(size_t m, size_t k, const SG_REAL *a, size_t row_stride,
                           size_t column_stride, const SG_REAL *b, SG_REAL *c, size_t ldc,
                           bool accumulate)
{
    size_t i = 0;
#define SG_ROWS(rows)                                                                              \
    for (; i + rows <= m; i += rows)                                                               \
        SG_NAME(kernel)                                                                            \
    (rows, k, a + i * row_stride, row_stride, column_stride, b, c + i * ldc, ldc, accumulate)
    SG_ROWS(ROWS);
#if defined __AVX512F__
    SG_ROWS(8);
#endif
    SG_ROWS(4);
    SG_ROWS(2);
    SG_ROWS(1);
#undef SG_ROWS
}

static void SG_NAME(multiply)(size_t m, size_t n, size_t k, const void *a, size_t row_stride,
                              size_t column_stride, const void *packed, void *c, size_t ldc,
                              bool accumulate)
{
    const SG_REAL *panel = packed;
    for (size_t j = 0; j < n; j += SG_NAME(PANEL), panel += k * SG_NAME(PANEL))
        for (size_t s = 0; s < SG_NAME(PANEL) && j + s < n; s += SG_NAME(COLUMNS)) {
            SG_REAL *to = (SG_REAL *)c + j + s;
            size_t columns = n - j - s;
            if (columns >= SG_NAME(COLUMNS)) {
                SG_NAME(strip)
                (m, k, a, row_stride, column_stride, panel + s, to, ldc, accumulate);
                continue;
            }
            SG_REAL edge[ROWS * SG_NAME(COLUMNS)];
            for (size_t i = 0; i < m; i += ROWS) {
                size_t rows = m - i < ROWS ? m - i : ROWS;
                memset(edge, 0, sizeof edge);
                for (size_t r = 0; r < rows && accumulate; r++)
                    memcpy(edge + r * SG_NAME(COLUMNS), to + (i + r) * ldc, columns * sizeof *edge);
                SG_NAME(strip)
                (rows, k, (const SG_REAL *)a + i * row_stride, row_stride, column_stride, panel + s,
                 edge, SG_NAME(COLUMNS), accumulate);
                for (size_t r = 0; r < rows; r++)
                    memcpy(to + (i + r) * ldc, edge + r * SG_NAME(COLUMNS), columns * sizeof *edge);
            }
        }
}
