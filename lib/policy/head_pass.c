/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/head_pass.h"

#include <stdlib.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "backend/cpu/threads.h"
#include "core/isa.h"

extern const sg_head_kernels sg_head_kernels_portable[2];
#ifdef __x86_64__
extern const sg_head_kernels sg_head_kernels_avx2[2];
extern const sg_head_kernels sg_head_kernels_avx512[2];
#endif

static const sg_head_kernels *kernels_select(sg_precision precision)
{
    const sg_head_kernels *table = sg_head_kernels_portable;
#ifdef __x86_64__
    sg_isa isa = sg_isa_select();
    if (isa == SG_ISA_AVX2)
        table = sg_head_kernels_avx2;
    if (isa == SG_ISA_AVX512)
        table = sg_head_kernels_avx512;
#endif
    return &table[precision];
}

sg_head_pass *sg_head_pass_alloc(sg_backend_kind backend)
{
    sg_head_pass *pass = calloc(1, sizeof *pass);
    if (pass)
        pass->on_device = backend == SG_BACKEND_CUDA;
    return pass;
}

void sg_head_pass_free(sg_head_pass *pass)
{
    for (int i = 0; pass && i < SG_ROOMS; i++)
        free(pass->rooms[i].bytes);
    if (pass)
        sg_cuda_head_free(pass->device);
    free(pass);
}

sg_status sg_head_grow(sg_head_pass *pass, enum sg_head_room room, size_t count, size_t size,
                       sg_error *error)
{
    size_t bytes = count * size;
    if (pass->rooms[room].bytes && bytes <= pass->rooms[room].size)
        return SG_OK;
    free(pass->rooms[room].bytes);
    pass->rooms[room].size = 0;
    pass->rooms[room].bytes = sg_matrix_alloc(bytes);
    if (!pass->rooms[room].bytes)
        return sg_fail(error, SG_ENOMEM,
                       "the policy's output layer needs another %.3g GiB to work in; take fewer "
                       "positions a step, a smaller width or a smaller vocabulary",
                       (double)bytes * 0x1p-30);
    pass->rooms[room].size = bytes;
    return SG_OK;
}

sg_status sg_head_start(sg_head_pass *pass, const sg_head *head, sg_head_job *job, sg_error *error)
{
    size_t across = sg_matrix_packed_bytes(head->precision, head->width, SG_HEAD_TILE);
    size_t along = sg_matrix_packed_bytes(head->precision, SG_HEAD_TILE, head->width);
    *job = (sg_head_job){.head = head,
                         .matrix = sg_matrix_select(head->precision),
                         .kernels = kernels_select(head->precision),
                         .real = sg_real_size(head->precision),
                         .tiles = (head->vocabulary + SG_HEAD_TILE - 1) / SG_HEAD_TILE,
                         .width = head->width,
                         .packed = across > along ? across : along};
    job->scratch = 2 * job->packed + 2 * SG_HEAD_BLOCK * SG_HEAD_LEAD * sizeof(double);
    /* Below a few ten microseconds of work, waking threads costs more than it saves. */
    bool worth = pass->rows * head->vocabulary * head->width > (size_t)1 << 21;
    pass->threads = worth ? sg_threads_free() : 1;
    return sg_head_grow(pass, SG_ROOM_SCRATCH, (size_t)pass->threads, job->scratch, error);
}

sg_head_scratch sg_head_scratch_here(const sg_head_pass *pass, const sg_head_job *job)
{
    size_t thread = 0;
#ifdef _OPENMP
    if (pass->threads > 1)
        thread = (size_t)omp_get_thread_num();
#endif
    char *base = (char *)sg_head_at(pass, SG_ROOM_SCRATCH) + thread * job->scratch;
    char *logits = base + 2 * job->packed;
    size_t block = SG_HEAD_BLOCK * SG_HEAD_LEAD * sizeof(double);
    return (sg_head_scratch){base, base + job->packed, logits, logits + block};
}

void sg_head_pack(const sg_head_job *job, size_t tile, void *packed)
{
    job->matrix->pack(job->width, sg_head_tile(job, tile),
                      sg_head_element(job->head->weights, tile * SG_HEAD_TILE * job->width, job), 1,
                      job->width, packed);
}

void sg_head_tile_logits(const sg_head_job *job, size_t tile, const void *packed,
                         const void *hidden, size_t rows, void *logits, size_t lead)
{
    const void *bias = job->head->bias;
    size_t n = sg_head_tile(job, tile);
    if (bias)
        bias = sg_head_element(bias, tile * SG_HEAD_TILE, job);
    job->matrix->multiply(rows, n, job->width, hidden, job->width, 1, packed, logits, lead, false);
    for (size_t r = 0; r < rows; r++)
        job->kernels->finish(n, (char *)logits + r * lead * job->real, bias, job->head->sharpness);
}
