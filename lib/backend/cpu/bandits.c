/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Shared tables and threads of small runs. */
#include "backend/cpu/bandits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/threads.h"
#include "core/isa.h"
#include "core/rng.h"
#include "core/vec_math.h"

enum { LANES = SG_BANDIT_LANES, BATCH = 32 /* runs of one task */ };

/* Writes x as a number of the job's precision. */
static void put(const sg_bandits *b, void *array, size_t at, double x)
{
    if (b->precision == SG_FP32) {
        float single = (float)x;
        memcpy((char *)array + at * sizeof single, &single, sizeof single);
    } else {
        memcpy((char *)array + at * sizeof x, &x, sizeof x);
    }
}

static void fill_rows(const sg_bandits *b, size_t depth, void *reward, void *start)
{
    double max = -INFINITY;
    for (size_t v = 0; b->logits && v < b->arms; v++)
        max = b->logits[v] > max ? b->logits[v] : max;
    for (size_t v = 0; v < depth * LANES; v++) {
        size_t cell = v % depth * LANES + v / depth;
        bool arm = v < b->arms;
        put(b, reward, cell, arm ? b->reward[v] : 0);
        put(b, start, cell, !arm ? 0 : b->logits ? sg_exp(b->logits[v] - max) : 1);
    }
}

static void fill_uniforms(const sg_bandits *b, size_t replicates, size_t padded, void *uniform)
{
    double below_one = b->precision == SG_FP32 ? 1 - 0x1p-24 : 1 - 0x1p-53;
    for (size_t r = 0, at = 0; r < replicates; r++)
        for (size_t t = 0; t < b->steps; t++)
            for (size_t j = 0; j < padded; j++, at++) {
                double u =
                    j < b->samples
                        ? sg_rng_uniform((sg_address){b->seed, SG_STREAM_ROLLOUT, (uint32_t)t,
                                                      (uint32_t)r, (uint32_t)j, 0})
                        : 0.5;
                put(b, uniform, at, u < below_one ? u : below_one);
            }
}

static sg_bandit_kernel *kernel_of(sg_precision precision)
{
#ifdef __x86_64__
    sg_isa isa = sg_isa_select();
    if (isa == SG_ISA_AVX512)
        return sg_bandit_kernels_avx512[precision];
    if (isa == SG_ISA_AVX2)
        return sg_bandit_kernels_avx2[precision];
#endif
    return sg_bandit_kernels_portable[precision];
}

typedef struct bandit_call {
    sg_bandit_job job;
    sg_bandit_kernel *kernel;
    bool *failed;
} bandit_call;

static void run_batch(void *context, size_t batch)
{
    const bandit_call *call = context;
    size_t runs = call->job.bandits->runs, first = batch * BATCH;
    size_t end = runs < first + BATCH ? runs : first + BATCH;
    void *scratch = NULL;
    call->failed[batch] = posix_memalign(&scratch, 64, SG_BANDIT_TOGETHER * call->job.scratch) != 0;
    if (call->failed[batch])
        return;
    /* Side by side as long as that fits into the cache. */
    size_t together = call->job.depth <= 64 ? SG_BANDIT_TOGETHER : 1;
    for (size_t run = first; run < end; run += together)
        call->kernel(&call->job, run, end < run + together ? end : run + together, scratch);
    free(scratch);
}

sg_status sg_cpu_bandits_run(const sg_bandits *b, double *value, double *logits, sg_error *error)
{
    size_t real = b->precision == SG_FP32 ? sizeof(float) : sizeof(double), replicates = 0;
    for (size_t r = 0; r < b->runs; r++)
        replicates =
            b->run[r].replicate >= replicates ? (size_t)b->run[r].replicate + 1 : replicates;
    size_t depth = (b->arms + LANES - 1) / LANES, tall = 1;
    while (tall < depth)
        tall *= 2;
    size_t padded = (b->samples + LANES - 1) / LANES * LANES;
    size_t batches = (b->runs + BATCH - 1) / BATCH;
    size_t cells = 2 * depth * LANES + replicates * b->steps * padded;
    char *tables = malloc(cells * real);
    bool *failed = calloc(batches, sizeof *failed), any = false;
    if (!tables || !failed) {
        free(tables);
        free(failed);
        return sg_fail(error, SG_ENOMEM,
                       "the random numbers of %zu replicates of %zu steps need %.1f MiB, which "
                       "this machine does not give",
                       replicates, b->steps, (double)(cells * real) / 1048576.0);
    }
    char *start = tables + depth * LANES * real, *uniform = start + depth * LANES * real;
    fill_rows(b, depth, tables, start);
    fill_uniforms(b, replicates, padded, uniform);
    bandit_call call = {.job = {.bandits = b,
                                .depth = depth,
                                .tall = tall,
                                .padded = padded,
                                .reward = tables,
                                .start = start,
                                .uniform = uniform,
                                .scratch = (2 * tall * LANES + 5 * padded) * sizeof(double),
                                .value = value,
                                .logits = logits},
                        .kernel = kernel_of(b->precision),
                        .failed = failed};
    sg_for_each(batches, BATCH * b->steps * b->updates * b->arms, run_batch, &call);
    for (size_t i = 0; i < batches; i++)
        any |= failed[i];
    free(tables);
    free(failed);
    return any ? sg_fail(error, SG_ENOMEM,
                         "a run of %zu arms needs %.1f KiB, which this machine "
                         "does not give",
                         b->arms, (double)call.job.scratch / 1024.0)
               : SG_OK;
}
