/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/cuda/launch.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/tensor.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

namespace
{

#define FUNCTIONS(X)                                                                               \
    X(cublasLtCreate)                                                                              \
    X(cublasLtDestroy)                                                                             \
    X(cublasLtMatmul)                                                                              \
    X(cublasLtMatmulAlgoGetHeuristic)                                                              \
    X(cublasLtMatmulDescCreate)                                                                    \
    X(cublasLtMatmulDescDestroy)                                                                   \
    X(cublasLtMatmulDescSetAttribute)                                                              \
    X(cublasLtMatmulPreferenceCreate)                                                              \
    X(cublasLtMatmulPreferenceDestroy)                                                             \
    X(cublasLtMatmulPreferenceSetAttribute)                                                        \
    X(cublasLtMatrixLayoutCreate)                                                                  \
    X(cublasLtMatrixLayoutDestroy)                                                                 \
    X(cublasLtMatrixLayoutSetAttribute)

struct library {
#define FIELD(name) decltype(&::name) name;
    FUNCTIONS(FIELD)
#undef FIELD
};

library lt;
bool opened;
pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

void *open_usual()
{
    const int releases[] = {CUBLAS_VER_MAJOR, 13, 12};
    const char *const homes[] = {nullptr, getenv("CUDA_HOME"), getenv("CUDA_PATH"),
                                 "/usr/local/cuda"};
    char name[4096];
    for (size_t h = 0; h < sizeof homes / sizeof *homes; h++)
        for (int release : releases) {
            if (h == 0)
                snprintf(name, sizeof name, "libcublasLt.so.%d", release);
            else if (homes[h] && *homes[h])
                snprintf(name, sizeof name, "%s/lib64/libcublasLt.so.%d", homes[h], release);
            else
                continue;
            void *file = dlopen(name, RTLD_NOW | RTLD_LOCAL);
            if (file)
                return file;
        }
    return nullptr;
}

bool find_functions(void *file)
{
#define FIND(name)                                                                                 \
    if (!(lt.name = (decltype(&::name))dlsym(file, #name)))                                        \
        return false;
    FUNCTIONS(FIND)
#undef FIND
    return true;
}

/* The emulator's functions are linked in, but a file that the environment names is looked for there too. */
sg_status open_library(const char *kind, const char *named, sg_error *error)
{
#ifdef SG_EMULATED
    if (!named) {
#define TAKE(name) lt.name = ::name;
        FUNCTIONS(TAKE)
#undef TAKE
        return SG_OK;
    }
#endif
    void *file = named ? dlopen(named, RTLD_NOW | RTLD_LOCAL) : open_usual();
    if (!file)
        return sg_fail(
            error, SG_EUNSUPPORTED,
            "%s products need NVIDIA's cuBLASLt, and %s cannot be opened: install it (it "
            "is part of CUDA and of PyTorch), name its file in SOFTGATE_CUBLASLT, or "
            "leave run.matmul at same",
            kind, named ? named : "libcublasLt.so.13 or .12");
    if (find_functions(file))
        return SG_OK;
    dlclose(file);
    return sg_fail(error, SG_EUNSUPPORTED,
                   "%s products need NVIDIA's cuBLASLt, and the one found%s%s lacks a function: "
                   "name the file of release 12 or 13 in SOFTGATE_CUBLASLT, or leave run.matmul at "
                   "same",
                   kind, named ? ", " : "", named ? named : "");
}

/* A file that is named later is tried again, so that a wrong name is always reported. */
sg_status open_once(const char *kind, sg_error *error)
{
    const char *named = getenv("SOFTGATE_CUBLASLT");
    named = named && *named ? named : nullptr;
    sg_status status = SG_OK;
    pthread_mutex_lock(&opening);
    if (!opened || named) {
        status = open_library(kind, named, error);
        opened = opened || status == SG_OK;
    }
    pthread_mutex_unlock(&opening);
    return status;
}

/* What the choice of an algorithm depends on. No padding: compared as bytes. */
struct shape {
    size_t m, n, k, a_lead, b_lead, lead, a_step, b_step, step, batch, flags, a_align, b_align,
        c_align;
};

struct plan {
    struct shape shape;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algorithm;
};

enum { PLANS = 24 };
#ifdef SG_EMULATED
const size_t WORKSPACE = (size_t)1 << 16;
#else
const size_t WORKSPACE = (size_t)32 << 20; /* what NVIDIA recommends for sm_90 */
#endif

} // namespace

struct sg_cuda_tensor {
    sg_matmul matmul;
    cublasLtHandle_t handle;
    void *workspace;
    plan plans[PLANS];
    size_t made; /* plans so far; the oldest makes room */
};

namespace
{

const char *name_of(sg_matmul matmul)
{
    return matmul == SG_MATMUL_BF16 ? "bf16" : "tf32";
}

sg_status check(const sg_cuda_tensor *t, cublasStatus_t code, const char *doing, sg_error *error)
{
    switch (code) {
    case CUBLAS_STATUS_SUCCESS:
        return SG_OK;
    case CUBLAS_STATUS_ALLOC_FAILED:
        return sg_fail(error, SG_ENOMEM, "cuBLASLt ran out of memory while %s", doing);
    case CUBLAS_STATUS_NOT_SUPPORTED:
    case CUBLAS_STATUS_ARCH_MISMATCH:
        return sg_fail(error, SG_EUNSUPPORTED,
                       "cuBLASLt has no %s products of this kind for this device (status %d while "
                       "%s); leave run.matmul at same",
                       name_of(t->matmul), (int)code, doing);
    default:
        return sg_fail(error, SG_ETOOL,
                       "cuBLASLt reports status %d while %s; leave run.matmul at same", (int)code,
                       doing);
    }
}

size_t real_size(const sg_cuda_tensor *t, bool narrow)
{
    return narrow && t->matmul == SG_MATMUL_BF16 ? sizeof(uint16_t) : sizeof(float);
}

/* The greatest power of two, up to 256, that divides all addresses. */
size_t alignment(const void *at, size_t step_bytes)
{
    size_t bits = (size_t)(uintptr_t)at | step_bytes | 256;
    return bits & (~bits + 1);
}

struct shape shape_of(const sg_cuda_tensor *t, const sg_cuda_tensor_product *p)
{
    struct shape s = {};
    size_t narrow = real_size(t, true), out = real_size(t, p->narrow);
    s.m = p->m;
    s.n = p->n;
    s.k = p->k;
    s.a_lead = p->a.lead;
    s.b_lead = p->b.lead;
    s.lead = p->lead;
    s.batch = p->batch ? p->batch : 1;
    s.a_step = s.batch > 1 ? p->a.step : 0;
    s.b_step = s.batch > 1 ? p->b.step : 0;
    s.step = s.batch > 1 ? p->step : 0;
    s.flags = (size_t)p->a.transposed | (size_t)p->b.transposed << 1 | (size_t)p->narrow << 2 |
              (size_t)p->accumulate << 3;
    s.a_align = alignment(p->a.at, s.a_step * narrow);
    s.b_align = alignment(p->b.at, s.b_step * narrow);
    s.c_align = alignment(p->c, s.step * out);
    return s;
}

/* A plan's pieces, freed whatever is missing. */
void clear(plan *made)
{
    if (made->product)
        (void)lt.cublasLtMatmulDescDestroy(made->product);
    cublasLtMatrixLayout_t layouts[] = {made->a, made->b, made->c};
    for (cublasLtMatrixLayout_t layout : layouts)
        if (layout)
            (void)lt.cublasLtMatrixLayoutDestroy(layout);
    memset((void *)made, 0, sizeof *made);
}

/* A matrix that lies row by row is its transpose to cuBLASLt, which goes column by column. */
cublasStatus_t lay_out(cublasLtMatrixLayout_t *made, bool bf16, size_t rows, size_t columns,
                       size_t lead, size_t batch, size_t step)
{
    const int32_t count = (int32_t)batch;
    const int64_t offset = (int64_t)step;
    cublasStatus_t code = lt.cublasLtMatrixLayoutCreate(made, bf16 ? CUDA_R_16BF : CUDA_R_32F,
                                                        columns, rows, (int64_t)lead);
    if (code == CUBLAS_STATUS_SUCCESS && batch > 1)
        code = lt.cublasLtMatrixLayoutSetAttribute(*made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
                                                   &count, sizeof count);
    if (code == CUBLAS_STATUS_SUCCESS && batch > 1)
        code = lt.cublasLtMatrixLayoutSetAttribute(
            *made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &offset, sizeof offset);
    return code;
}

cublasStatus_t describe(const sg_cuda_tensor *t, const sg_cuda_tensor_product *p, plan *made)
{
    const struct shape &s = made->shape;
    bool bf16 = t->matmul == SG_MATMUL_BF16;
    const cublasOperation_t first = p->b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
                            second = p->a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasStatus_t code = lt.cublasLtMatmulDescCreate(
        &made->product, bf16 ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_FAST_TF32, CUDA_R_32F);
    if (code == CUBLAS_STATUS_SUCCESS)
        code = lt.cublasLtMatmulDescSetAttribute(made->product, CUBLASLT_MATMUL_DESC_TRANSA, &first,
                                                 sizeof first);
    if (code == CUBLAS_STATUS_SUCCESS)
        code = lt.cublasLtMatmulDescSetAttribute(made->product, CUBLASLT_MATMUL_DESC_TRANSB,
                                                 &second, sizeof second);
    if (code == CUBLAS_STATUS_SUCCESS)
        code = lay_out(&made->a, bf16, p->a.transposed ? s.k : s.m, p->a.transposed ? s.m : s.k,
                       s.a_lead, s.batch, s.a_step);
    if (code == CUBLAS_STATUS_SUCCESS)
        code = lay_out(&made->b, bf16, p->b.transposed ? s.n : s.k, p->b.transposed ? s.k : s.n,
                       s.b_lead, s.batch, s.b_step);
    if (code == CUBLAS_STATUS_SUCCESS)
        code = lay_out(&made->c, bf16 && p->narrow, s.m, s.n, s.lead, s.batch, s.step);
    return code;
}

/* Sums that are cut into parts are added in a step of their own, in fp32, never as parts arrive. */
cublasStatus_t choose(const sg_cuda_tensor *t, plan *made, int *found)
{
    const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const uint32_t aligned[] = {(uint32_t)made->shape.b_align, (uint32_t)made->shape.a_align,
                                (uint32_t)made->shape.c_align};
    cublasLtMatmulPreference_t wish = nullptr;
    cublasLtMatmulHeuristicResult_t best;
    memset((void *)&best, 0, sizeof best);
    *found = 0;
    cublasStatus_t code = lt.cublasLtMatmulPreferenceCreate(&wish);
    const struct {
        cublasLtMatmulPreferenceAttributes_t name;
        const void *value;
        size_t size;
    } wishes[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE, sizeof WORKSPACE},
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &aligned[0], sizeof *aligned},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &aligned[1], sizeof *aligned},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &aligned[2], sizeof *aligned},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &aligned[2], sizeof *aligned},
    };
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes && code == CUBLAS_STATUS_SUCCESS; i++)
        code = lt.cublasLtMatmulPreferenceSetAttribute(wish, wishes[i].name, wishes[i].value,
                                                       wishes[i].size);
    if (code == CUBLAS_STATUS_SUCCESS)
        code = lt.cublasLtMatmulAlgoGetHeuristic(t->handle, made->product, made->b, made->a,
                                                 made->c, made->c, wish, 1, &best, found);
    if (code == CUBLAS_STATUS_SUCCESS && *found > 0)
        code = best.state;
    made->algorithm = best.algo;
    if (wish)
        (void)lt.cublasLtMatmulPreferenceDestroy(wish);
    return code;
}

sg_status find_plan(sg_cuda_tensor *t, const sg_cuda_tensor_product *p, plan **found,
                    sg_error *error)
{
    struct shape wanted = shape_of(t, p);
    for (size_t i = 0; i < PLANS && i < t->made; i++)
        if (memcmp(&t->plans[i].shape, &wanted, sizeof wanted) == 0) {
            *found = &t->plans[i];
            return SG_OK;
        }
    plan *made = &t->plans[t->made % PLANS];
    int count = 0;
    clear(made);
    made->shape = wanted;
    cublasStatus_t code = describe(t, p, made);
    if (code == CUBLAS_STATUS_SUCCESS)
        code = choose(t, made, &count);
    sg_status status = check(t, code, "choosing an algorithm for a product of matrices", error);
    if (status == SG_OK && count == 0)
        status = sg_fail(error, SG_EUNSUPPORTED,
                         "cuBLASLt has no %s product of %zu x %zu x %zu for this device; leave "
                         "run.matmul at same",
                         name_of(t->matmul), wanted.m, wanted.n, wanted.k);
    if (status == SG_OK)
        t->made++;
    else
        clear(made);
    *found = made;
    return status;
}

} // namespace

sg_status sg_cuda_tensor_alloc(sg_cuda_tensor **tensor, sg_matmul matmul, sg_error *error)
{
    *tensor = nullptr;
    sg_status status = sg_cuda_use(error);
    if (status == SG_OK)
        status = open_once(name_of(matmul), error);
    if (status != SG_OK)
        return status;
    sg_cuda_tensor *made = (sg_cuda_tensor *)calloc(1, sizeof *made);
    if (!made)
        return sg_fail(error, SG_ENOMEM, "not enough memory for products of matrices");
    made->matmul = matmul;
    status = check(made, lt.cublasLtCreate(&made->handle), "starting", error);
    if (status == SG_OK)
        status = sg_cuda_alloc(&made->workspace, WORKSPACE, "the workspace of cuBLASLt", error);
    if (status == SG_OK)
        *tensor = made;
    else
        sg_cuda_tensor_free(made);
    return status;
}

void sg_cuda_tensor_free(sg_cuda_tensor *tensor)
{
    if (!tensor)
        return;
    for (size_t i = 0; i < PLANS; i++)
        clear(&tensor->plans[i]);
    if (tensor->handle)
        (void)lt.cublasLtDestroy(tensor->handle);
    sg_cuda_free(tensor->workspace);
    free(tensor);
}

/* C = A B row by row is C' = B' A' column by column. */
sg_status sg_cuda_tensor_multiply(sg_cuda_tensor *tensor, const sg_cuda_tensor_product *p,
                                  sg_cuda_stream *stream, sg_error *error)
{
    const float one = 1, beta = p->accumulate ? 1.0f : 0.0f;
    plan *plan = nullptr;
    if (p->m == 0 || p->n == 0 || p->k == 0)
        return sg_fail(error, SG_EINTERNAL, "an empty product of matrices");
    sg_status status = find_plan(tensor, p, &plan, error);
    if (status != SG_OK)
        return status;
    cublasStatus_t code = lt.cublasLtMatmul(tensor->handle, plan->product, &one, p->b.at, plan->b,
                                            p->a.at, plan->a, &beta, p->c, plan->c, p->c, plan->c,
                                            &plan->algorithm, tensor->workspace, WORKSPACE, stream);
    return check(tensor, code, "multiplying matrices", error);
}

#else /* built where cublasLt.h is missing */

sg_status sg_cuda_tensor_alloc(sg_cuda_tensor **tensor, sg_matmul matmul, sg_error *error)
{
    *tensor = nullptr;
    return sg_fail(error, SG_EUNSUPPORTED,
                   "%s products need cuBLASLt, whose header was missing where softgate was built: "
                   "build it where the CUDA toolkit has cublasLt.h, or leave run.matmul at same",
                   matmul == SG_MATMUL_BF16 ? "bf16" : "tf32");
}

void sg_cuda_tensor_free(sg_cuda_tensor *)
{
}

sg_status sg_cuda_tensor_multiply(sg_cuda_tensor *, const sg_cuda_tensor_product *,
                                  sg_cuda_stream *, sg_error *error)
{
    return sg_fail(error, SG_EINTERNAL, "a product without cuBLASLt");
}

#endif
