/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows of logits, on the backend that was asked for. */
#include "backend/rows.h"

#include <assert.h>
#include <math.h>

#include "backend/rows_math.h"

static sg_status check_config(const sg_rows_config *config, sg_error *error)
{
    if (config->states < 1)
        return sg_fail(error, SG_EARGUMENT, "a policy needs at least one state");
    if (config->vocabulary < 2 || config->vocabulary > INT32_MAX)
        return sg_fail(error, SG_EARGUMENT,
                       "a vocabulary of %zu tokens is not possible: it must be in 2..2147483647",
                       config->vocabulary);
    if (config->head < 1 || config->head > config->vocabulary)
        return sg_fail(
            error, SG_EARGUMENT,
            "a head of %zu tokens is not possible: it must be in 1..%zu (the vocabulary)",
            config->head, config->vocabulary);
    return SG_OK;
}

sg_status sg_rows_alloc(sg_rows **rows, sg_backend_kind backend, const sg_rows_config *config,
                        sg_error *error)
{
    *rows = NULL;
    sg_status status = check_config(config, error);
    if (status != SG_OK)
        return status;
    return backend == SG_BACKEND_CUDA ? sg_cuda_rows_alloc(rows, config, error)
                                      : sg_cpu_rows_alloc(rows, config, error);
}

void sg_rows_free(sg_rows *rows)
{
    if (rows != NULL)
        rows->methods->free(rows);
}

sg_status sg_rows_status(const sg_rows *rows, sg_error *error)
{
    return rows->methods->status != NULL ? rows->methods->status(rows, error) : SG_OK;
}

const char *sg_rows_backend_name(const sg_rows *rows)
{
    return rows->name;
}

sg_status sg_rows_set_logits(sg_rows *rows, size_t state, const double *logits, sg_error *error)
{
    double max = -INFINITY;
    for (size_t i = 0; i < rows->config.vocabulary; i++) {
        if (isnan(logits[i]) || logits[i] == INFINITY)
            return sg_fail(error, SG_EDATA,
                           "logit %zu of state %zu is %g; logits must be finite or -inf", i, state,
                           logits[i]);
        if (logits[i] > max)
            max = logits[i];
    }
    if (max == -INFINITY)
        return sg_fail(error, SG_EDATA, "every logit of state %zu is -inf: no token could be drawn",
                       state);
    rows->methods->set_logits(rows, state, logits, (int64_t)floor(max / SG_LN2));
    return sg_rows_status(rows, error);
}

void sg_rows_get_logits(const sg_rows *rows, size_t state, double *logits)
{
    rows->methods->get_logits(rows, state, logits);
}

void sg_rows_get_mean_square(const sg_rows *rows, size_t state, double *mean_square)
{
    rows->methods->get_mean_square(rows, state, mean_square);
}

static void assert_alike(const sg_rows *a, const sg_rows *b)
{
    (void)a, (void)b;
    assert(a->methods == b->methods);
    assert(a->config.states == b->config.states && a->config.vocabulary == b->config.vocabulary);
    assert(a->config.precision == b->config.precision);
    assert(a->config.optimizer == b->config.optimizer);
}

void sg_rows_copy(sg_rows *rows, const sg_rows *source)
{
    assert_alike(rows, source);
    rows->methods->copy(rows, source);
}

void sg_rows_adopt(sg_rows *rows, const sg_rows *source)
{
    assert_alike(rows, source);
    rows->methods->adopt(rows, source);
}

void sg_rows_forget(sg_rows *rows)
{
    rows->methods->forget(rows);
}

size_t sg_rows_save(const sg_rows *rows, void *to)
{
    return rows->methods->save(rows, to);
}

void sg_rows_load(sg_rows *rows, const void *from)
{
    rows->methods->load(rows, from);
}

void sg_rows_draw(const sg_rows *rows, size_t first, size_t count, size_t n, const double *uniforms,
                  int32_t *tokens, double *log_prob)
{
    rows->methods->draw(rows, first, count, n, uniforms, tokens, log_prob);
}

void sg_rows_log_prob(const sg_rows *rows, size_t first, size_t count, size_t n,
                      const int32_t *tokens, double *log_prob)
{
    rows->methods->log_prob(rows, first, count, n, tokens, log_prob);
}

void sg_rows_update(sg_rows *rows, const sg_optimizer *optimizer, uint64_t time, size_t first,
                    size_t count, size_t n, const int32_t *tokens, const double *pushes,
                    sg_row_change *change)
{
    assert(optimizer->kind == rows->config.optimizer && time >= 1);
    sg_rows_step step = {*optimizer, time, false};
    rows->methods->update(rows, &step, first, count, n, tokens, pushes, change);
}

void sg_rows_update_projected(sg_rows *rows, const sg_optimizer *optimizer, uint64_t time,
                              size_t first, size_t count, size_t n, const int32_t *tokens,
                              const double *pushes, sg_row_change *change)
{
    assert(optimizer->kind == rows->config.optimizer && time >= 1);
    sg_rows_step step = {*optimizer, time, true};
    rows->methods->update(rows, &step, first, count, n, tokens, pushes, change);
}

void sg_rows_inner_updates(sg_rows *rows, const sg_optimizer *optimizer, uint64_t time,
                           uint64_t updates, const sg_objective *objective, double factor,
                           size_t first, size_t count, size_t n, const int32_t *tokens,
                           const double *old_log_prob, const double *advantage, double *pushes)
{
    assert(objective->level == SG_LEVEL_TOKEN && objective->method->rule == SG_RULE_NONE);
    assert(optimizer->kind == rows->config.optimizer && time >= 1);
    sg_rows_step step = {*optimizer, time, false};
    rows->methods->inner_updates(rows, &step, updates, objective, factor, first, count, n, tokens,
                                 old_log_prob, advantage, pushes);
}

void sg_rows_observe(const sg_rows *rows, size_t first, size_t count,
                     sg_row_observation *observation)
{
    rows->methods->observe(rows, first, count, observation);
}

void sg_rows_collision(const sg_rows *rows, size_t first, size_t count, double *collision)
{
    rows->methods->collision(rows, first, count, collision);
}

double sg_rows_mass(const sg_rows *rows, size_t state, const int32_t *tokens, size_t n)
{
    size_t start[] = {0, n};
    double mass;
    rows->methods->masses(rows, 1, &state, start, tokens, &mass);
    return mass;
}

void sg_rows_masses(const sg_rows *rows, size_t sets, const size_t *state, const size_t *start,
                    const int32_t *tokens, double *mass)
{
    rows->methods->masses(rows, sets, state, start, tokens, mass);
}
