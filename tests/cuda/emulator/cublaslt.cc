/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Matrix products as cuBLASLt is asked for them: descriptions are checked, elements are read and written one by one where the
 * library would, and the sums between are plain. */
#include <stdlib.h>

#include <vector>

#include "cublasLt.h"
#include "inside.h"

struct sg_emulated_lt {
    int open;
};
struct sg_emulated_layout {
    cudaDataType type;
    uint64_t rows, columns;
    int64_t lead, step;
    int32_t batch;
};
struct sg_emulated_product {
    cublasComputeType_t compute;
    cublasOperation_t trans_a, trans_b;
};
struct sg_emulated_preference {
    uint64_t workspace;
    uint32_t schemes, align[4]; /* a, b, c, d */
};

namespace
{

cublasStatus_t refuse(const char *why)
{
    sg_emulator_complain(cudaErrorInvalidValue, "cuBLASLt: %s", why);
    return CUBLAS_STATUS_INVALID_VALUE;
}

template <typename T> cublasStatus_t take(T *to, const void *value, size_t size)
{
    if (!value || size != sizeof *to)
        return refuse("an attribute has the wrong size");
    memcpy(to, value, size);
    return CUBLAS_STATUS_SUCCESS;
}

template <typename T> cublasStatus_t make(T **made, const T &value)
{
    *made = new T(value);
    return CUBLAS_STATUS_SUCCESS;
}

float wide(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

/* To nearest, ties to even, written from the definition: the nearer of the two neighbours. */
uint16_t narrow(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint16_t below = (uint16_t)(bits >> 16);
    if (x != x)
        return (uint16_t)(below | 0x40);
    uint32_t rest = bits & 0xffff;
    bool up = rest > 0x8000 || (rest == 0x8000 && (below & 1));
    return (uint16_t)(below + up);
}

float truncated(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= ~(uint32_t)0x1fff;
    memcpy(&x, &bits, sizeof x);
    return x;
}

size_t bytes(const sg_emulated_layout *l)
{
    return l->type == CUDA_R_16BF ? 2 : 4;
}

float element(const sg_emulated_layout *l, const void *at, size_t i)
{
    return l->type == CUDA_R_16BF ? wide(((const uint16_t *)at)[i]) : ((const float *)at)[i];
}

/* op(matrix) of one product of the batch, row by row. */
std::vector<float> gather(const sg_emulated_layout *l, const void *at, int32_t which, bool turned,
                          bool tf32)
{
    size_t rows = turned ? l->columns : l->rows, columns = turned ? l->rows : l->columns;
    std::vector<float> out(rows * columns);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) {
            size_t row = turned ? j : i, column = turned ? i : j;
            float x =
                element(l, at, (size_t)which * (size_t)l->step + column * (size_t)l->lead + row);
            out[i * columns + j] = tf32 ? truncated(x) : x;
        }
    return out;
}

#if defined(__GNUC__) && !defined(__clang__)
__attribute__((optimize("O3"), no_sanitize("address", "undefined")))
#endif
void add_row(size_t n, float factor, const float *__restrict__ x, float *__restrict__ sum)
{
    for (size_t i = 0; i < n; i++)
        sum[i] += factor * x[i];
}

bool fits(const sg_emulated_product *p, const sg_emulated_layout *a, const sg_emulated_layout *b,
          const sg_emulated_layout *d)
{
    uint64_t m = p->trans_a ? a->columns : a->rows, k = p->trans_a ? a->rows : a->columns;
    uint64_t n = p->trans_b ? b->rows : b->columns, k2 = p->trans_b ? b->columns : b->rows;
    const sg_emulated_layout *all[] = {a, b, d};
    for (const sg_emulated_layout *l : all)
        if (l->lead < (int64_t)l->rows || l->batch < 1 || l->batch != d->batch)
            return false;
    return m == d->rows && n == d->columns && k == k2 && a->type == b->type;
}

uint64_t mix(uint64_t hash, uint64_t word)
{
    return (hash ^ word) * UINT64_C(0x100000001b3);
}

uint64_t hash_of(const sg_emulated_product *p, const sg_emulated_layout *a,
                 const sg_emulated_layout *b, const sg_emulated_layout *d)
{
    uint64_t hash = mix(mix(mix(7, p->compute), p->trans_a), p->trans_b);
    const sg_emulated_layout *all[] = {a, b, d};
    for (const sg_emulated_layout *l : all)
        hash = mix(mix(mix(mix(mix(mix(hash, l->type), l->rows), l->columns), (uint64_t)l->lead),
                       (uint64_t)l->step),
                   (uint64_t)l->batch);
    return hash;
}

void multiply(const sg_emulated_product *p, const void *a, const sg_emulated_layout *al,
              const void *b, const sg_emulated_layout *bl, float beta, void *d,
              const sg_emulated_layout *dl)
{
    bool tf32 = p->compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    size_t m = dl->rows, n = dl->columns, k = p->trans_a ? al->rows : al->columns;
    std::vector<float> sum(m);
    for (int32_t z = 0; z < dl->batch; z++) {
        std::vector<float> left = gather(al, a, z, !p->trans_a, tf32); /* [k][m] */
        std::vector<float> right = gather(bl, b, z, false, tf32);      /* stored as it is */
        if (p->trans_b)
            right = gather(bl, b, z, true, tf32); /* [k][n] */
        for (size_t j = 0; j < n; j++) {
            for (size_t i = 0; i < m; i++)
                sum[i] = 0;
            for (size_t q = 0; q < k; q++)
                add_row(m, right[q * n + j], &left[q * m], sum.data());
            for (size_t i = 0; i < m; i++) {
                size_t at = (size_t)z * (size_t)dl->step + j * (size_t)dl->lead + i;
                float x = sum[i];
                if (beta != 0)
                    x += beta * element(dl, d, at);
                if (dl->type == CUDA_R_16BF)
                    ((uint16_t *)d)[at] = narrow(x);
                else
                    ((float *)d)[at] = x;
            }
        }
    }
}

} // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    return make(handle, sg_emulated_lt{1});
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t lead)
{
    return make(layout, sg_emulated_layout{type, rows, columns, lead, 0, 1});
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t name,
                                                const void *value, size_t size)
{
    return name == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT ? take(&layout->batch, value, size)
                                                      : take(&layout->step, value, size);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *product, cublasComputeType_t compute,
                                        cudaDataType_t)
{
    return make(product, sg_emulated_product{compute, CUBLAS_OP_N, CUBLAS_OP_N});
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product)
{
    delete product;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product,
                                              cublasLtMatmulDescAttributes_t name,
                                              const void *value, size_t size)
{
    return name == CUBLASLT_MATMUL_DESC_TRANSA ? take(&product->trans_a, value, size)
                                               : take(&product->trans_b, value, size);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    return make(preference, sg_emulated_preference{0, 7, {256, 256, 256, 256}});
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t name,
                                                    const void *value, size_t size)
{
    if (name == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
        return take(&preference->workspace, value, size);
    if (name == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
        return take(&preference->schemes, value, size);
    return take(&preference->align[name - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, size);
}

/* The algorithm says for which product it was chosen, which addresses it may meet, and how much workspace it needs. */
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t product,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t *results, int *found)
{
    *found = 0;
    if (wanted < 1 || c != d || !fits(product, a, b, d))
        return refuse("sizes or leads of a product do not fit each other");
    if (preference->schemes & CUBLASLT_REDUCTION_SCHEME_INPLACE)
        return refuse("sums whose order may change were not ruled out");
    cublasLtMatmulHeuristicResult_t best = {};
    best.algo.data[0] = hash_of(product, a, b, d);
    best.algo.data[1] = preference->workspace;
    for (int i = 0; i < 4; i++)
        best.algo.data[2 + i] = preference->align[i];
    best.workspaceSize = preference->workspace;
    *results = best;
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t product, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t *algorithm, void *workspace,
                              size_t workspace_bytes, cudaStream_t stream)
{
    sg_turn mine;
    if (sg_emulator_broken())
        return CUBLAS_STATUS_EXECUTION_FAILED;
    const void *at[] = {a, b, c, d};
    if (algorithm->data[0] != hash_of(product, a_layout, b_layout, d_layout) ||
        c_layout != d_layout)
        return refuse("an algorithm was chosen for another product");
    if (workspace_bytes < algorithm->data[1])
        return refuse("the workspace is smaller than was promised");
    for (int i = 0; i < 4; i++) {
        size_t step = i == 0   ? (size_t)a_layout->step * bytes(a_layout)
                      : i == 1 ? (size_t)b_layout->step * bytes(b_layout)
                               : (size_t)d_layout->step * bytes(d_layout);
        if (((uintptr_t)at[i] | step) % algorithm->data[2 + i] != 0)
            return refuse("a matrix is less aligned than was promised");
        sg_emulated_check_pointer("cublasLtMatmul", at[i]);
    }
    sg_emulated_check_pointer("cublasLtMatmul", workspace);
    if (*(const float *)alpha != 1 || sg_emulator_broken())
        return CUBLAS_STATUS_INVALID_VALUE;
    /* Descriptions may be gone when the product's time has come. */
    sg_emulator_queue(stream, [=, p = *product, al = *a_layout, bl = *b_layout, dl = *d_layout,
                               add = *(const float *)beta] {
        if (sg_emulator_broken())
            return;
        sg_emulator_open_memory();
        if (workspace_bytes) {
            ((char *)workspace)[0] = 1;
            ((char *)workspace)[workspace_bytes - 1] = 1;
        }
        multiply(&p, a, &al, b, &bl, add, d, &dl);
        sg_emulator_close_memory("cublasLtMatmul");
    });
    return CUBLAS_STATUS_SUCCESS;
}
