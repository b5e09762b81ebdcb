/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/state_rows.h"

#include <assert.h>
#include <math.h>

double sg_state_rows_bytes(const sg_rows_config *config, bool light)
{
    if (light)
        return sg_light_rows_bytes(config->vocabulary, config->states);
    double reals = (double)config->states * (double)config->vocabulary *
                   (double)sg_optimizer_arrays(config->optimizer);
    double bytes = reals * (config->precision == SG_FP64 ? sizeof(double) : sizeof(float));
    return bytes < 1e15 ? (double)sg_rows_bytes(config) : bytes;
}

static sg_status alloc_light(sg_state_rows *rows, const sg_rows_config *config,
                             const double *logits, sg_error *error)
{
    sg_light_prior *prior;
    sg_status status =
        sg_light_prior_alloc(&prior, config->vocabulary, config->head, logits, error);
    if (status != SG_OK)
        return status;
    status = sg_light_rows_alloc(&rows->light, rows->backend,
                                 &(sg_light_config){.states = config->states}, prior, error);
    sg_light_prior_free(prior); /* the rows hold it */
    return status;
}

sg_status sg_state_rows_alloc(sg_state_rows *rows, sg_backend_kind backend,
                              const sg_rows_config *config, bool light, const double *logits,
                              sg_error *error)
{
    *rows = (sg_state_rows){.backend = backend};
    if (light && config->optimizer != SG_SGD)
        return sg_fail(error, SG_EARGUMENT,
                       "light rows know plain gradient ascent only; take the optimiser sgd or "
                       "dense rows");
    if (light)
        return alloc_light(rows, config, logits, error);
    sg_status status = sg_rows_alloc(&rows->dense, rows->backend, config, error);
    for (size_t state = 0; status == SG_OK && state < config->states; state++)
        status = sg_rows_set_logits(rows->dense, state, logits, error);
    if (status != SG_OK)
        sg_state_rows_free(rows);
    return status;
}

sg_status sg_state_rows_clone(sg_state_rows *rows, const sg_rows_config *config,
                              const sg_state_rows *source, sg_error *error)
{
    *rows = (sg_state_rows){.backend = source->backend};
    if (source->light != NULL)
        return sg_light_rows_clone(&rows->light, source->light, error);
    sg_status status = sg_rows_alloc(&rows->dense, rows->backend, config, error);
    if (status == SG_OK)
        status = sg_state_rows_copy(rows, source, error);
    if (status != SG_OK)
        sg_state_rows_free(rows);
    return status;
}

void sg_state_rows_free(sg_state_rows *rows)
{
    sg_rows_free(rows->dense);
    sg_light_rows_free(rows->light);
    *rows = (sg_state_rows){0};
}

const char *sg_state_rows_name(const sg_state_rows *rows)
{
    return rows->light != NULL ? sg_light_rows_backend_name(rows->light)
                               : sg_rows_backend_name(rows->dense);
}

sg_status sg_state_rows_status(const sg_state_rows *rows, sg_error *error)
{
    return rows->light != NULL ? sg_light_rows_status(rows->light, error)
                               : sg_rows_status(rows->dense, error);
}

sg_status sg_state_rows_copy(sg_state_rows *rows, const sg_state_rows *source, sg_error *error)
{
    if (rows->light != NULL)
        return sg_light_rows_copy(rows->light, source->light, error);
    sg_rows_copy(rows->dense, source->dense);
    return sg_rows_status(rows->dense, error);
}

sg_status sg_state_rows_adopt(sg_state_rows *rows, const sg_state_rows *source, sg_error *error)
{
    if (rows->light != NULL)
        return sg_light_rows_copy(rows->light, source->light, error);
    sg_rows_adopt(rows->dense, source->dense);
    return sg_rows_status(rows->dense, error);
}

void sg_state_rows_forget(sg_state_rows *rows)
{
    if (rows->dense != NULL)
        sg_rows_forget(rows->dense);
}

size_t sg_state_rows_save(const sg_state_rows *rows, void *to)
{
    return rows->light != NULL ? sg_light_rows_save(rows->light, to)
                               : sg_rows_save(rows->dense, to);
}

sg_status sg_state_rows_load(sg_state_rows *rows, const void *from, size_t size, sg_error *error)
{
    if (rows->light != NULL)
        return sg_light_rows_load(rows->light, from, size, error);
    sg_status status = sg_policy_check_size(size, sg_rows_save(rows->dense, NULL), error);
    if (status != SG_OK)
        return status;
    sg_rows_load(rows->dense, from);
    return sg_rows_status(rows->dense, error);
}

void sg_state_rows_get_logits(const sg_state_rows *rows, size_t state, double *logits)
{
    if (rows->light != NULL)
        sg_light_rows_get_logits(rows->light, state, logits);
    else
        sg_rows_get_logits(rows->dense, state, logits);
}

void sg_state_rows_get_mean_square(const sg_state_rows *rows, size_t state, size_t vocabulary,
                                   double *mean_square)
{
    for (size_t v = 0; v < vocabulary && rows->light != NULL; v++)
        mean_square[v] = NAN;
    if (rows->light == NULL)
        sg_rows_get_mean_square(rows->dense, state, mean_square);
}

void sg_state_rows_draw(const sg_state_rows *rows, size_t first, size_t count, size_t n,
                        const double *uniforms, int32_t *tokens, double *log_prob)
{
    if (rows->light != NULL)
        sg_light_rows_draw(rows->light, first, count, n, uniforms, tokens, log_prob);
    else
        sg_rows_draw(rows->dense, first, count, n, uniforms, tokens, log_prob);
}

void sg_state_rows_log_prob(const sg_state_rows *rows, size_t first, size_t count, size_t n,
                            const int32_t *tokens, double *log_prob)
{
    if (rows->light != NULL)
        sg_light_rows_log_prob(rows->light, first, count, n, tokens, log_prob);
    else
        sg_rows_log_prob(rows->dense, first, count, n, tokens, log_prob);
}

sg_status sg_state_rows_update(sg_state_rows *rows, const sg_policy_step *step, size_t first,
                               size_t count, size_t n, const int32_t *tokens, const double *pushes,
                               sg_row_change *change, sg_error *error)
{
    bool projected = step->projection != SG_PROJECTION_NONE;
    if (rows->light != NULL) {
        assert(step->optimizer.kind == SG_SGD);
        return (projected ? sg_light_rows_update_projected : sg_light_rows_update)(
            rows->light, step->optimizer.lr, first, count, n, tokens, pushes, change, error);
    }
    (projected ? sg_rows_update_projected : sg_rows_update)(
        rows->dense, &step->optimizer, step->time, first, count, n, tokens, pushes, change);
    return sg_rows_status(rows->dense, error);
}

void sg_state_rows_observe(const sg_state_rows *rows, size_t first, size_t count,
                           sg_row_observation *observation)
{
    if (rows->light != NULL)
        sg_light_rows_observe(rows->light, first, count, observation);
    else
        sg_rows_observe(rows->dense, first, count, observation);
}

void sg_state_rows_collision(const sg_state_rows *rows, size_t first, size_t count,
                             double *collision)
{
    if (rows->light != NULL)
        sg_light_rows_collision(rows->light, first, count, collision);
    else
        sg_rows_collision(rows->dense, first, count, collision);
}

void sg_state_rows_masses(const sg_state_rows *rows, size_t sets, const size_t *state,
                          const size_t *start, const int32_t *tokens, double *mass)
{
    if (rows->light != NULL)
        sg_light_rows_masses(rows->light, sets, state, start, tokens, mass);
    else
        sg_rows_masses(rows->dense, sets, state, start, tokens, mass);
}
