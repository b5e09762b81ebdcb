/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Light rows, on the backend that was asked for. */
#include <assert.h>
#include <math.h>

#include "backend/light.h"

double sg_light_rows_bytes(size_t vocabulary, size_t states)
{
    double kept = fmin((double)vocabulary, 1024) + 512; /* heavy, and as many as are not folded */
    double base = (double)vocabulary * sizeof(double) * (1 + 1.0 / (SG_LIGHT_FAN - 1));
    return base + (double)states * (base + kept * 96 + sizeof(sg_light_row));
}

sg_status sg_light_rows_alloc(sg_light_rows **rows, sg_backend_kind backend,
                              const sg_light_config *config, sg_light_prior *prior, sg_error *error)
{
    *rows = NULL;
    if (config->states < 1)
        return sg_fail(error, SG_EARGUMENT, "a policy needs at least one state");
    if (!(config->tolerance >= 0) || !isfinite(config->tolerance))
        return sg_fail(error, SG_EARGUMENT,
                       "a tolerance of %g is not possible: it must be positive (0: the default)",
                       config->tolerance);
    sg_light_config whole = *config;
    if (whole.tolerance == 0)
        whole.tolerance = 1e-9;
    if (whole.explicit_limit == 0)
        whole.explicit_limit = 512;
    return backend == SG_BACKEND_CUDA ? sg_cuda_light_alloc(rows, &whole, prior, error)
                                      : sg_cpu_light_alloc(rows, &whole, prior, error);
}

void sg_light_rows_free(sg_light_rows *rows)
{
    if (rows != NULL)
        rows->methods->free(rows);
}

sg_status sg_light_rows_status(const sg_light_rows *rows, sg_error *error)
{
    return rows->methods->status != NULL ? rows->methods->status(rows, error) : SG_OK;
}

const char *sg_light_rows_backend_name(const sg_light_rows *rows)
{
    return rows->name;
}

sg_status sg_light_rows_set_prior(sg_light_rows *rows, size_t state, sg_light_prior *prior,
                                  sg_error *error)
{
    if (prior->base.vocabulary != rows->vocabulary || prior->base.head != rows->head)
        return sg_fail(error, SG_EARGUMENT,
                       "a prior of %zu tokens (head %zu) does not fit rows of %zu (head %zu)",
                       prior->base.vocabulary, prior->base.head, rows->vocabulary, rows->head);
    return rows->methods->set_prior(rows, state, prior, error);
}

sg_status sg_light_rows_set_logits(sg_light_rows *rows, size_t state, const double *logits,
                                   sg_error *error)
{
    sg_light_prior *prior;
    sg_status status = sg_light_prior_alloc(&prior, rows->vocabulary, rows->head, logits, error);
    if (status != SG_OK)
        return status;
    status = sg_light_rows_set_prior(rows, state, prior, error);
    sg_light_prior_free(prior);
    return status;
}

void sg_light_rows_get_logits(const sg_light_rows *rows, size_t state, double *logits)
{
    rows->methods->get_logits(rows, state, logits);
}

sg_status sg_light_rows_copy(sg_light_rows *rows, const sg_light_rows *source, sg_error *error)
{
    assert(rows->methods == source->methods && rows->config.states == source->config.states);
    assert(rows->vocabulary == source->vocabulary && rows->head == source->head);
    sg_status status = rows->methods->copy(rows, source, error);
    if (status == SG_OK) {
        sg_light_prior *before = rows->prior;
        rows->prior = sg_light_prior_retain(source->prior);
        sg_light_prior_free(before);
    }
    return status;
}

sg_status sg_light_rows_clone(sg_light_rows **made, const sg_light_rows *source, sg_error *error)
{
    sg_status status =
        sg_light_rows_alloc(made, source->backend, &source->config, source->prior, error);
    if (status == SG_OK)
        status = sg_light_rows_copy(*made, source, error);
    if (status != SG_OK) {
        sg_light_rows_free(*made);
        *made = NULL;
    }
    return status;
}

size_t sg_light_rows_save(const sg_light_rows *rows, void *to)
{
    return rows->methods->save(rows, to);
}

sg_status sg_light_rows_load(sg_light_rows *rows, const void *from, size_t size, sg_error *error)
{
    return rows->methods->load(rows, from, size, error);
}

void sg_light_rows_draw(const sg_light_rows *rows, size_t first, size_t count, size_t n,
                        const double *uniforms, int32_t *tokens, double *log_prob)
{
    rows->methods->draw(rows, first, count, n, uniforms, tokens, log_prob);
}

void sg_light_rows_log_prob(const sg_light_rows *rows, size_t first, size_t count, size_t n,
                            const int32_t *tokens, double *log_prob)
{
    rows->methods->log_prob(rows, first, count, n, tokens, log_prob);
}

sg_status sg_light_rows_update(sg_light_rows *rows, double lr, size_t first, size_t count, size_t n,
                               const int32_t *tokens, const double *pushes, sg_row_change *change,
                               sg_error *error)
{
    return rows->methods->update(rows, lr, false, first, count, n, tokens, pushes, change, error);
}

sg_status sg_light_rows_update_projected(sg_light_rows *rows, double lr, size_t first, size_t count,
                                         size_t n, const int32_t *tokens, const double *pushes,
                                         sg_row_change *change, sg_error *error)
{
    return rows->methods->update(rows, lr, true, first, count, n, tokens, pushes, change, error);
}

sg_status sg_light_rows_inner_updates(sg_light_rows *rows, double lr, uint64_t updates,
                                      const sg_objective *objective, double factor, size_t first,
                                      size_t count, size_t n, const int32_t *tokens,
                                      const double *old_log_prob, const double *advantage,
                                      double *pushes, sg_error *error)
{
    assert(objective->level == SG_LEVEL_TOKEN && objective->method->rule == SG_RULE_NONE);
    return rows->methods->inner_updates(rows, lr, updates, objective, factor, first, count, n,
                                        tokens, old_log_prob, advantage, pushes, error);
}

void sg_light_rows_observe(const sg_light_rows *rows, size_t first, size_t count,
                           sg_row_observation *observation)
{
    rows->methods->observe(rows, first, count, observation);
}

void sg_light_rows_collision(const sg_light_rows *rows, size_t first, size_t count,
                             double *collision)
{
    rows->methods->collision(rows, first, count, collision);
}

double sg_light_rows_mass(const sg_light_rows *rows, size_t state, const int32_t *tokens, size_t n)
{
    size_t start[] = {0, n};
    double mass;
    rows->methods->masses(rows, 1, &state, start, tokens, &mass);
    return mass;
}

void sg_light_rows_masses(const sg_light_rows *rows, size_t sets, const size_t *state,
                          const size_t *start, const int32_t *tokens, double *mass)
{
    rows->methods->masses(rows, sets, state, start, tokens, mass);
}

sg_light_report sg_light_rows_report(const sg_light_rows *rows, size_t state)
{
    return rows->methods->report(rows, state);
}
