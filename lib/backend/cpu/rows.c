/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CPU rows: memory, and the calls that touch one state or copy. The updates are in rows_update.c.
 */
#include "backend/cpu/rows.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "backend/cpu/threads.h"
#include "core/isa.h"
#include "core/vec_math.h"

enum { BLOCK_ALIGNMENT = 2 << 20 }; /* a huge page */

/* Where the parts of a block begin, in bytes; the last field is the size of all. */
typedef struct layout {
    size_t padded, tiles, real_size;
    size_t m, v, mass, heads, bytes;
} layout;

static size_t round_up(size_t x, size_t step)
{
    return (x + step - 1) / step * step;
}

/* False when the size overflows. */
static bool layout_init(layout *plan, const sg_rows_config *config)
{
    *plan = (layout){.padded = round_up(config->vocabulary, SG_LANES),
                     .real_size = config->precision == SG_FP32 ? sizeof(float) : sizeof(double)};
    plan->tiles = (plan->padded + SG_TILE - 1) / SG_TILE;
    size_t per_state =
        plan->padded * plan->real_size * 3 + plan->tiles * sizeof(double) + sizeof(sg_row_head);
    if (config->states > (SIZE_MAX / 2 - 8 * 4096) / per_state)
        return false;
    /* The arrays start at different offsets inside a page, so that equal tokens do not compete for
     * cache sets. */
    size_t reals = round_up(config->states * plan->padded * plan->real_size, 4096) + 17 * 64;
    size_t arrays = sg_optimizer_arrays(config->optimizer);
    bool has_m = arrays > 1, has_v = arrays > 2;
    plan->m = reals;
    plan->v = plan->m + (has_m ? reals : 0);
    plan->mass = plan->v + (has_v ? reals : 0);
    plan->heads = plan->mass + round_up(config->states * plan->tiles * sizeof(double), 64);
    plan->bytes = plan->heads + config->states * sizeof(sg_row_head);
    return true;
}

size_t sg_rows_bytes(const sg_rows_config *config)
{
    layout plan;
    return layout_init(&plan, config) ? plan.bytes : SIZE_MAX;
}

static void choose_kernels(sg_cpu_rows *rows)
{
    const sg_row_kernels *table = sg_row_kernels_portable;
    rows->base.name = "cpu/portable";
#ifdef __x86_64__
    sg_isa isa = sg_isa_select();
    if (isa == SG_ISA_AVX2) {
        table = sg_row_kernels_avx2;
        rows->base.name = "cpu/avx2";
    } else if (isa == SG_ISA_AVX512) {
        table = sg_row_kernels_avx512;
        rows->base.name = "cpu/avx512";
    }
#endif
    rows->kernels = &table[rows->base.config.precision];
}

static void *block_alloc(size_t bytes)
{
    void *block = NULL;
    size_t alignment = bytes >= BLOCK_ALIGNMENT ? BLOCK_ALIGNMENT : 64;
    if (posix_memalign(&block, alignment, bytes) != 0)
        return NULL;
#ifdef MADV_HUGEPAGE
    if (bytes >= BLOCK_ALIGNMENT)
        (void)madvise(block, bytes, MADV_HUGEPAGE); /* advice: nothing is lost when it is refused */
#endif
    return block;
}

static void fill_state(void *context, size_t state)
{
    sg_cpu_rows *rows = context;
    sg_row_view view = sg_cpu_rows_view(rows, state);
    rows->kernels->fill(&view, 1.0);
    rows->heads[state] = (sg_row_head){.total = sg_tree_sum(view.mass, rows->tiles)};
}

sg_row_view sg_cpu_rows_view(const sg_cpu_rows *rows, size_t state)
{
    assert(state < rows->base.config.states);
    size_t at = state * rows->padded * rows->real_size;
    return (sg_row_view){.q = rows->q + at,
                         .m = rows->m ? rows->m + at : NULL,
                         .v = rows->v ? rows->v + at : NULL,
                         .mass = rows->mass + state * rows->tiles,
                         .vocabulary = rows->base.config.vocabulary,
                         .padded = rows->padded};
}

double sg_tree_sum(const double *x, size_t n)
{
    if (n == 1)
        return x[0];
    size_t half = sg_tree_split(0, n);
    return sg_tree_sum(x, half) + sg_tree_sum(x + half, n - half);
}

static void set_logits(sg_rows *base, size_t state, const double *logits, int64_t exponent)
{
    sg_cpu_rows *rows = sg_cpu_rows_of(base);
    sg_row_view view = sg_cpu_rows_view(rows, state);
    sg_row_head *head = &rows->heads[state];
    head->exponent = exponent;
    rows->kernels->set(&view, logits, (double)exponent * SG_LN2);
    head->total = sg_tree_sum(view.mass, rows->tiles);
}

static void get_logits(const sg_rows *base, size_t state, double *logits)
{
    const sg_cpu_rows *rows = sg_cpu_rows_of(base);
    sg_row_view view = sg_cpu_rows_view(rows, state);
    rows->kernels->get(&view, logits, (double)rows->heads[state].exponent * SG_LN2);
}

static void get_mean_square(const sg_rows *base, size_t state, double *mean_square)
{
    const sg_cpu_rows *rows = sg_cpu_rows_of(base);
    sg_row_view view = sg_cpu_rows_view(rows, state);
    bool fp32 = base->config.precision == SG_FP32;
    double scale = fp32 ? SG_MOMENT_SCALE_FP32 : 1;
    const float *single = view.v;
    const double *wide = view.v;
    double shared = base->config.optimizer == SG_COUPLED_ADAM ? rows->heads[state].second : NAN;
    for (size_t i = 0; i < base->config.vocabulary; i++)
        mean_square[i] = view.v == NULL ? shared
                         : fp32         ? (double)single[i] / (scale * scale)
                                        : wide[i];
}

typedef struct copy_job {
    sg_cpu_rows *to;
    const sg_cpu_rows *from;
} copy_job;

static void copy_state(void *context, size_t state)
{
    copy_job *job = context;
    sg_row_view to = sg_cpu_rows_view(job->to, state), from = sg_cpu_rows_view(job->from, state);
    size_t bytes = job->to->padded * job->to->real_size;
    memcpy(to.q, from.q, bytes);
    if (to.m)
        memcpy(to.m, from.m, bytes);
    if (to.v)
        memcpy(to.v, from.v, bytes);
    memcpy(to.mass, from.mass, job->to->tiles * sizeof(double));
    job->to->heads[state] = job->from->heads[state];
}

static void copy(sg_rows *base, const sg_rows *source)
{
    copy_job job = {sg_cpu_rows_of(base), sg_cpu_rows_of(source)};
    sg_for_each(base->config.states, job.to->padded, copy_state, &job);
}

static void masses(const sg_rows *base, size_t sets, const size_t *state, const size_t *start,
                   const int32_t *tokens, double *mass)
{
    const sg_cpu_rows *rows = sg_cpu_rows_of(base);
    for (size_t k = 0; k < sets; k++) {
        sg_row_view view = sg_cpu_rows_view(rows, state[k]);
        double sum = 0;
        for (size_t j = start[k]; j < start[k + 1]; j++)
            sum += rows->kernels->at(&view, (size_t)tokens[j]);
        mass[k] = sum / rows->heads[state[k]].total;
    }
}

static void release(sg_rows *rows)
{
    free(sg_cpu_rows_of(rows)->block);
    free(rows);
}

static const sg_rows_methods methods = {
    .free = release,
    .set_logits = set_logits,
    .get_logits = get_logits,
    .get_mean_square = get_mean_square,
    .copy = copy,
    .adopt = sg_cpu_rows_adopt,
    .forget = sg_cpu_rows_forget,
    .save = sg_cpu_rows_save,
    .load = sg_cpu_rows_load,
    .draw = sg_cpu_rows_draw,
    .log_prob = sg_cpu_rows_log_prob,
    .update = sg_cpu_rows_update,
    .inner_updates = sg_cpu_rows_inner_updates,
    .observe = sg_cpu_rows_observe,
    .collision = sg_cpu_rows_collision,
    .masses = masses,
};

sg_status sg_cpu_rows_alloc(sg_rows **rows, const sg_rows_config *config, sg_error *error)
{
    layout plan;
    if (!layout_init(&plan, config))
        return sg_fail(error, SG_ENOMEM,
                       "%zu states of %zu tokens need more memory than an address can name",
                       config->states, config->vocabulary);
    sg_cpu_rows *made = calloc(1, sizeof *made);
    void *block = made ? block_alloc(plan.bytes) : NULL;
    if (!block) {
        free(made);
        return sg_fail(error, SG_ENOMEM,
                       "%zu states of %zu tokens need %.1f MiB, which this machine does not give; "
                       "use fewer states, a smaller vocabulary, or fp32",
                       config->states, config->vocabulary, (double)plan.bytes / 1048576.0);
    }
    made->base.methods = &methods;
    made->base.config = *config;
    made->padded = plan.padded;
    made->tiles = plan.tiles;
    made->real_size = plan.real_size;
    made->block = block;
    made->block_bytes = plan.bytes;
    made->q = block;
    made->m = plan.v > plan.m ? made->q + plan.m : NULL;
    made->v = plan.mass > plan.v ? made->q + plan.v : NULL;
    made->mass = (double *)(void *)(made->q + plan.mass);
    made->heads = (sg_row_head *)(void *)(made->q + plan.heads);
    choose_kernels(made);
    sg_for_each(config->states, plan.padded, fill_state,
                made); /* also the first touch of each page */
    *rows = &made->base;
    return SG_OK;
}
