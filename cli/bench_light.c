/* SPDX-License-Identifier: GPL-3.0-or-later */
/* W2.light: the step of W2.step on light rows, at its size and at two that differ in V alone; on the CPU or a
 * CUDA device. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/light.h"
#include "cli/bench_case.h"
#include "core/rng.h"

/* One repetition is STEPS steps, so that it pays its share of the folds. */
enum { SAMPLES = 16, UPDATES = 4, MOST_STATES = 64, COUNT = MOST_STATES * SAMPLES, STEPS = 32 };

static const double LEARNING_RATE = 0.5;

typedef struct light_data {
    sg_light_rows *rows;
    sg_backend_kind backend;
    size_t states, vocabulary;
    sg_objective objective;
    uint32_t step;
    int32_t tokens[COUNT];
    double uniforms[COUNT], old[COUNT], advantage[COUNT], pushes[COUNT * UPDATES];
    sg_row_observation looks[MOST_STATES];
} light_data;

static void light_data_free(void *context)
{
    light_data *data = context;
    sg_light_rows_free(data->rows);
    free(data);
}

static void one_step(light_data *data)
{
    data->step++;
#pragma omp parallel for schedule(static)
    for (size_t s = 0; s < data->states; s++) {
        size_t at = s * SAMPLES;
        for (uint32_t j = 0; j < SAMPLES; j++)
            data->uniforms[at + j] =
                sg_rng_uniform((sg_address){2, SG_STREAM_ROLLOUT, data->step, (uint32_t)s, j, 0});
        sg_light_rows_draw(data->rows, s, 1, SAMPLES, data->uniforms + at, data->tokens + at,
                           data->old + at);
        sg_light_rows_observe(data->rows, s, 1, &data->looks[s]);
        /* Rows got their own memory before the clock started. */
        (void)sg_light_rows_inner_updates(data->rows, LEARNING_RATE, UPDATES, &data->objective,
                                          1.0 / SAMPLES, s, 1, SAMPLES, data->tokens + at,
                                          data->old + at, data->advantage + at,
                                          data->pushes + at * UPDATES, NULL);
    }
}

/* On a device: the same calls, all states at once. The pushes stay there but for the check. */
static void one_step_of_all(light_data *data, double *pushes)
{
    size_t states = data->states;
    data->step++;
    for (uint32_t j = 0; j < states * SAMPLES; j++)
        data->uniforms[j] = sg_rng_uniform(
            (sg_address){2, SG_STREAM_ROLLOUT, data->step, j / SAMPLES, j % SAMPLES, 0});
    sg_light_rows_draw(data->rows, 0, states, SAMPLES, data->uniforms, data->tokens, data->old);
    sg_light_rows_observe(data->rows, 0, states, data->looks);
    (void)sg_light_rows_inner_updates(data->rows, LEARNING_RATE, UPDATES, &data->objective,
                                      1.0 / SAMPLES, 0, states, SAMPLES, data->tokens, data->old,
                                      data->advantage, pushes, NULL);
}

static void run_steps(void *context)
{
    for (size_t i = 0; i < STEPS; i++)
        one_step(context);
}

static sg_status queue_steps(void *context, sg_error *error)
{
    light_data *data = context;
    for (size_t i = 0; i < STEPS; i++)
        one_step_of_all(data, NULL);
    return sg_light_rows_status(data->rows, error);
}

/* The first steps, beside dense rows in double precision that get the pushes of state 0. */
static sg_status warm_up(light_data *data, const double *logits, double *worst, sg_error *error)
{
    sg_rows_config config = {1, data->vocabulary, 1, SG_FP64, SG_SGD};
    sg_optimizer sgd = {.kind = SG_SGD, .lr = LEARNING_RATE};
    sg_rows *dense;
    sg_status status = sg_rows_alloc(&dense, SG_BACKEND_CPU, &config, error);
    double *z = malloc(2 * data->vocabulary * sizeof *z), low = INFINITY, high = -INFINITY;
    if (status == SG_OK && !z)
        status = sg_fail(error, SG_ENOMEM, "not enough memory to check W2.light");
    if (status == SG_OK)
        status = sg_rows_set_logits(dense, 0, logits, error);
    for (size_t i = 0; i < 2 * STEPS && status == SG_OK; i++) {
        if (data->backend == SG_BACKEND_CUDA)
            one_step_of_all(data, data->pushes);
        else
            one_step(data);
        for (size_t k = 0; k < UPDATES; k++)
            sg_rows_update(dense, &sgd, 1, 0, 1, SAMPLES, data->tokens, data->pushes + k * SAMPLES,
                           NULL);
    }
    if (status == SG_OK) {
        sg_light_rows_get_logits(data->rows, 0, z);
        sg_rows_get_logits(dense, 0, z + data->vocabulary);
        for (size_t v = 0; v < data->vocabulary; v++) {
            low = fmin(low, z[v] - z[data->vocabulary + v]);
            high = fmax(high, z[v] - z[data->vocabulary + v]);
        }
        *worst = (high - low) / 2;
    }
    sg_rows_free(dense);
    free(z);
    return status;
}

static void set_advantages(light_data *data)
{
    for (size_t s = 0; s < data->states; s++) {
        double mean = 0, *a = data->advantage + s * SAMPLES;
        for (size_t j = 0; j < SAMPLES; j += 2)
            sg_rng_normal_pair((sg_address){3, SG_STREAM_SYNTHETIC, 3, (uint32_t)s, 0, (uint32_t)j},
                               &a[j]);
        for (size_t j = 0; j < SAMPLES; j++)
            mean += a[j] / SAMPLES;
        for (size_t j = 0; j < SAMPLES; j++)
            a[j] -= mean;
    }
}

static sg_status prepare(light_data *data, bench_case *made, sg_error *error)
{
    size_t vocabulary = data->vocabulary;
    double *z = malloc((vocabulary + 1) * sizeof *z);
    if (!z)
        return sg_fail(error, SG_ENOMEM, "not enough memory for the logits of W2.light");
    for (size_t v = 0; v < vocabulary; v += 2)
        sg_rng_normal_pair((sg_address){2, SG_STREAM_SYNTHETIC, 2, 0, 0, (uint32_t)v}, &z[v]);
    sg_light_prior *prior = NULL;
    sg_status status = sg_objective_parse(&data->objective, "sapo:tau_pos=1,tau_neg=1.05", error);
    if (status == SG_OK)
        status = sg_light_prior_alloc(&prior, vocabulary, 1, z, error);
    if (status == SG_OK)
        status = sg_light_rows_alloc(&data->rows, data->backend,
                                     &(sg_light_config){data->states, 0, 0}, prior, error);
    set_advantages(data);
    if (status == SG_OK)
        status = warm_up(data, z, &made->error, error);
    if (status == SG_OK) {
        sg_light_report report = sg_light_rows_report(data->rows, 0);
        snprintf(made->shape, sizeof made->shape, "S=%zu V=%zu G=%d K=%d bound=%.1e", data->states,
                 vocabulary, SAMPLES, UPDATES, report.bound);
        /* Explicit tokens once an update, a path down the tree of sums for each draw. */
        made->bytes = (double)data->states *
                      (UPDATES * 16.0 * (double)report.explicit_tokens + SAMPLES * 4 * 512.0);
        made->backend = sg_light_rows_backend_name(data->rows);
        if (data->backend == SG_BACKEND_CUDA) {
            made->queue = queue_steps;
            made->stream = sg_cuda_light_stream(data->rows);
        }
    }
    sg_light_prior_free(prior);
    free(z);
    return status;
}

sg_status bench_light_prepare(const char *name, size_t cut, sg_backend_kind backend,
                              bench_case *made, sg_error *error)
{
    light_data *data = calloc(1, sizeof *data);
    if (!data)
        return sg_fail(error, SG_ENOMEM, "not enough memory for workload %s", name);
    *made = (bench_case){.traffic = BENCH_IN_PLACE,
                         .run = run_steps,
                         .per = STEPS,
                         .data = data,
                         .free = light_data_free};
    bool same = strcmp(name, "W2.light") == 0;
    data->backend = backend;
    data->states = same ? MOST_STATES : 8;
    data->vocabulary = (same ? 131072 : strcmp(name, "W2.light.1e5") == 0 ? 100000 : 1000000) / cut;
    return prepare(data, made, error);
}
