/* SPDX-License-Identifier: GPL-3.0-or-later */
/* W2: a tabular softmax policy of 64 states and 131072 tokens, on the CPU or a CUDA device. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/rows.h"
#include "cli/bench_case.h"
#include "core/rng.h"

enum { STATES = 64, SAMPLES = 16, UPDATES = 4, COUNT = STATES * SAMPLES };

typedef struct row_data {
    sg_rows *rows;
    sg_backend_kind backend;
    size_t vocabulary;
    sg_objective objective;
    sg_optimizer optimizer;
    uint64_t time;
    uint32_t draws; /* how often tokens were drawn: the address of the next uniforms */
    int32_t tokens[COUNT];
    double uniforms[COUNT], old[COUNT], advantage[COUNT], pushes[COUNT];
    sg_row_observation looks[STATES];
} row_data;

static void row_data_free(void *context)
{
    row_data *data = context;
    sg_rows_free(data->rows);
    free(data);
}

static double *normal_logits(size_t vocabulary, size_t state)
{
    double *z = malloc(vocabulary * sizeof *z);
    for (size_t i = 0; z && i < vocabulary; i += 2)
        sg_rng_normal_pair((sg_address){2, SG_STREAM_SYNTHETIC, 2, (uint32_t)state, 0, (uint32_t)i},
                           &z[i]);
    return z;
}

static sg_status make_rows(sg_rows **rows, sg_backend_kind backend, size_t vocabulary,
                           sg_precision precision, sg_optimizer_kind optimizer, size_t states,
                           sg_error *error)
{
    sg_rows_config config = {states, vocabulary, 1, precision, optimizer};
    sg_status status = sg_rows_alloc(rows, backend, &config, error);
    bool failed = false;
    if (status == SG_OK) {
#pragma omp parallel for schedule(static)
        for (size_t s = 0; s < states; s++) {
            double *z = normal_logits(vocabulary, s);
            if (!z || sg_rows_set_logits(*rows, s, z, NULL) != SG_OK) {
#pragma omp atomic write
                failed = true;
            }
            free(z);
        }
    }
    return failed ? sg_fail(error, SG_ENOMEM, "not enough memory for the logits of W2") : status;
}

static void refresh_uniforms(row_data *data)
{
    data->draws++;
    for (uint32_t j = 0; j < COUNT; j++)
        data->uniforms[j] = sg_rng_uniform(
            (sg_address){2, SG_STREAM_ROLLOUT, data->draws, j / SAMPLES, j % SAMPLES, 0});
}

static void run_draw(void *context)
{
    row_data *data = context;
    refresh_uniforms(data);
    sg_rows_draw(data->rows, 0, STATES, SAMPLES, data->uniforms, data->tokens, NULL);
}

/* With what the tokens have for log-probabilities. */
static void draw_all(row_data *data)
{
    refresh_uniforms(data);
    sg_rows_draw(data->rows, 0, STATES, SAMPLES, data->uniforms, data->tokens, data->old);
}

static void run_observe(void *context)
{
    row_data *data = context;
    sg_rows_observe(data->rows, 0, STATES, data->looks);
}

static void update_all(row_data *data, uint64_t updates)
{
    sg_rows_inner_updates(data->rows, &data->optimizer, data->time, updates, &data->objective,
                          1.0 / SAMPLES, 0, STATES, SAMPLES, data->tokens, data->old,
                          data->advantage, data->backend == SG_BACKEND_CUDA ? NULL : data->pushes);
    data->time += updates;
}

static void run_update(void *context)
{
    update_all(context, 1);
}

/* The updates of a step alone. */
static void run_inner(void *context)
{
    update_all(context, UPDATES);
}

/* The whole step of one state before the next state starts: its row stays in the cache. */
static void run_step(void *context)
{
    row_data *data = context;
    refresh_uniforms(data);
#pragma omp parallel for schedule(static)
    for (size_t s = 0; s < STATES; s++) {
        size_t at = s * SAMPLES;
        sg_rows_draw(data->rows, s, 1, SAMPLES, data->uniforms + at, data->tokens + at,
                     data->old + at);
        sg_rows_observe(data->rows, s, 1, &data->looks[s]);
        sg_rows_inner_updates(data->rows, &data->optimizer, data->time, UPDATES, &data->objective,
                              1.0 / SAMPLES, s, 1, SAMPLES, data->tokens + at, data->old + at,
                              data->advantage + at, data->pushes + at);
    }
    data->time += UPDATES;
}

/* On a device: the same calls in the order of a step, all states at once. */
static void run_step_of_all(void *context)
{
    row_data *data = context;
    draw_all(data);
    run_observe(data);
    update_all(data, UPDATES);
}

static sg_status queue_draw(void *context, sg_error *error)
{
    run_draw(context);
    return sg_rows_status(((row_data *)context)->rows, error);
}

static sg_status queue_observe(void *context, sg_error *error)
{
    run_observe(context);
    return sg_rows_status(((row_data *)context)->rows, error);
}

static sg_status queue_update(void *context, sg_error *error)
{
    run_update(context);
    return sg_rows_status(((row_data *)context)->rows, error);
}

static sg_status queue_inner(void *context, sg_error *error)
{
    run_inner(context);
    return sg_rows_status(((row_data *)context)->rows, error);
}

static sg_status queue_step(void *context, sg_error *error)
{
    run_step_of_all(context);
    return sg_rows_status(((row_data *)context)->rows, error);
}

/* Greatest difference of a logit (a common constant apart) between single and double precision after the same updates of
 * two states. The pushes are those of double precision: where they nearly cancel, their rounding is not the
 * kernels' error, and Adam would make much of it. */
static sg_status error_of_updates(row_data *data, uint64_t updates, double *worst, sg_error *error)
{
    enum { CHECKED = 2 };
    size_t vocabulary = data->vocabulary;
    sg_rows *rows[2] = {NULL, NULL};
    double *z = malloc(2 * vocabulary * sizeof *z);
    sg_status status = z ? SG_OK : sg_fail(error, SG_ENOMEM, "not enough memory to check W2");
    for (int p = 0; p < 2 && status == SG_OK; p++)
        status = make_rows(&rows[p], data->backend, vocabulary, p ? SG_FP64 : SG_FP32,
                           data->optimizer.kind, CHECKED, error);
    for (uint64_t t = 1; t <= updates && status == SG_OK; t++) {
        sg_rows_inner_updates(rows[1], &data->optimizer, t, 1, &data->objective, 1.0 / SAMPLES, 0,
                              CHECKED, SAMPLES, data->tokens, data->old, data->advantage,
                              data->pushes);
        sg_rows_update(rows[0], &data->optimizer, t, 0, CHECKED, SAMPLES, data->tokens,
                       data->pushes, NULL);
    }
    *worst = 0;
    for (size_t s = 0; s < CHECKED && status == SG_OK; s++) {
        sg_rows_get_logits(rows[0], s, z);
        sg_rows_get_logits(rows[1], s, z + vocabulary);
        double constant = z[0] - z[vocabulary];
        for (size_t i = 0; i < vocabulary; i++)
            *worst = fmax(*worst, fabs(z[i] - z[vocabulary + i] - constant));
    }
    sg_rows_free(rows[0]);
    sg_rows_free(rows[1]);
    free(z);
    return status;
}

/* Share of draws that differ from the textbook's inverse CDF in double precision, over two states.
 */
static sg_status error_of_draws(row_data *data, double *worst, sg_error *error)
{
    size_t wrong = 0;
    for (size_t s = 0; s < 2; s++) {
        double *z = normal_logits(data->vocabulary, s);
        if (!z)
            return sg_fail(error, SG_ENOMEM, "not enough memory to check W2");
        for (size_t i = 0; i < data->vocabulary; i++)
            z[i] = exp(z[i]);
        for (size_t j = s * SAMPLES; j < (s + 1) * SAMPLES; j++)
            wrong += (int32_t)sg_rng_categorical(z, data->vocabulary, data->uniforms[j]) !=
                     data->tokens[j];
        free(z);
    }
    *worst = (double)wrong / (2 * SAMPLES);
    return SG_OK;
}

static sg_status error_of_entropy(const row_data *data, double *worst, sg_error *error)
{
    *worst = 0;
    for (size_t s = 0; s < 2; s++) {
        double *z = normal_logits(data->vocabulary, s), sum = 0, product = 0;
        if (!z)
            return sg_fail(error, SG_ENOMEM, "not enough memory to check W2");
        for (size_t i = 0; i < data->vocabulary; i++) {
            sum += exp(z[i]);
            product += z[i] * exp(z[i]);
        }
        *worst = fmax(*worst, fabs(data->looks[s].entropy - (log(sum) - product / sum)));
        free(z);
    }
    return SG_OK;
}

static sg_status prepare(row_data *data, const char *name, bench_case *made, sg_error *error)
{
    sg_status status = sg_objective_parse(&data->objective, "sapo:tau_pos=1,tau_neg=1.05", error);
    if (status == SG_OK)
        status = make_rows(&data->rows, data->backend, data->vocabulary, SG_FP32,
                           data->optimizer.kind, STATES, error);
    if (status != SG_OK)
        return status;
    for (size_t s = 0; s < STATES; s++) {
        double mean = 0, *a = data->advantage + s * SAMPLES;
        for (size_t j = 0; j < SAMPLES; j += 2)
            sg_rng_normal_pair((sg_address){3, SG_STREAM_SYNTHETIC, 3, (uint32_t)s, 0, (uint32_t)j},
                               &a[j]);
        for (size_t j = 0; j < SAMPLES; j++)
            mean += a[j] / SAMPLES;
        for (size_t j = 0; j < SAMPLES; j++)
            a[j] -= mean;
    }
    draw_all(data);
    double logits = (double)STATES * (double)data->vocabulary;
    made->traffic = BENCH_IN_PLACE;
    made->backend = sg_rows_backend_name(data->rows);
    bool device = data->backend == SG_BACKEND_CUDA, step = strcmp(name, "W2.step") == 0;
    bool inner = strstr(name, ".inner") != NULL;
    made->stream = device ? sg_cuda_rows_stream(data->rows) : NULL;
    snprintf(made->shape, sizeof made->shape, "S=%d V=%zu G=%d K=%d", STATES, data->vocabulary,
             SAMPLES, step || inner ? UPDATES : 1);
    if (strcmp(name, "W2.draw") == 0) {
        made->run = run_draw;
        made->queue = device ? queue_draw : NULL;
        made->traffic = BENCH_READ;
        made->bytes = COUNT * (4096.0 + 8.0 * (double)data->vocabulary / 1024);
        return error_of_draws(data, &made->error, error);
    }
    if (strcmp(name, "W2.observe") == 0) {
        made->run = run_observe;
        made->queue = device ? queue_observe : NULL;
        made->traffic = BENCH_READ;
        made->bytes = 4 * logits;
        run_observe(data);
        return error_of_entropy(data, &made->error, error);
    }
    made->run = step ? run_step : inner ? run_inner : run_update;
    made->queue = !device ? NULL : step ? queue_step : inner ? queue_inner : queue_update;
    made->bytes = (data->optimizer.kind == SG_ADAM ? 24 : 8) * logits;
    return error_of_updates(data, step || inner ? UPDATES : 1, &made->error, error);
}

sg_status bench_rows_prepare(const char *name, size_t cut, sg_backend_kind backend,
                             bench_case *made, sg_error *error)
{
    row_data *data = calloc(1, sizeof *data);
    if (!data)
        return sg_fail(error, SG_ENOMEM, "not enough memory for workload %s", name);
    *made = (bench_case){.data = data, .free = row_data_free};
    data->backend = backend;
    data->vocabulary = 131072 / cut;
    data->time = 1;
    data->optimizer = (sg_optimizer){.kind = SG_SGD, .lr = 0.5};
    if (strncmp(name, "W2a", 3) == 0)
        data->optimizer = (sg_optimizer){SG_ADAM, 1e-3, 0.9, 0.999, 1e-8, 0};
    return prepare(data, name, made, error);
}
