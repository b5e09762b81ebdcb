/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CPU rows: draws and probabilities of single tokens. */
#include "backend/cpu/rows.h"
#include "backend/cpu/threads.h"

typedef struct sample_call {
    const sg_cpu_rows *rows;
    size_t first, n;
    const double *uniforms;
    int32_t *tokens;       /* written by draws */
    const int32_t *chosen; /* read by log_prob */
    double *log_prob;      /* of either; draws may do without */
} sample_call;

static void draw_task(void *context, size_t s)
{
    const sample_call *call = context;
    size_t state = call->first + s;
    sg_row_view view = sg_cpu_rows_view(call->rows, state);
    double total = call->rows->heads[state].total;
    for (size_t j = s * call->n; j < (s + 1) * call->n; j++) {
        size_t token = call->rows->kernels->find(&view, call->uniforms[j] * total);
        call->tokens[j] = (int32_t)token;
        if (call->log_prob)
            call->log_prob[j] = sg_row_log_prob(call->rows->kernels->at(&view, token), total);
    }
}

void sg_cpu_rows_draw(const sg_rows *base, size_t first, size_t count, size_t n,
                      const double *uniforms, int32_t *tokens, double *log_prob)
{
    sample_call call = {sg_cpu_rows_of(base), first, n, uniforms, tokens, NULL, log_prob};
    sg_for_each(count, n * (SG_TILE / 8), draw_task, &call);
}

static void log_prob_task(void *context, size_t s)
{
    const sample_call *call = context;
    size_t state = call->first + s;
    sg_row_view view = sg_cpu_rows_view(call->rows, state);
    double total = call->rows->heads[state].total;
    for (size_t j = s * call->n; j < (s + 1) * call->n; j++)
        call->log_prob[j] =
            sg_row_log_prob(call->rows->kernels->at(&view, (size_t)call->chosen[j]), total);
}

void sg_cpu_rows_log_prob(const sg_rows *base, size_t first, size_t count, size_t n,
                          const int32_t *tokens, double *log_prob)
{
    sample_call call = {sg_cpu_rows_of(base), first, n, NULL, NULL, tokens, log_prob};
    sg_for_each(count, n * 8, log_prob_task, &call);
}
