/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/bench_w3.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/isa.h"
#include "core/rng.h"
#include "objective/objective.h"
#include "policy/head_device.h"
#include "policy/net_matrix.h"

/* GROUP samples share a state in W3.grouped. Results are checked on the first CHECKED samples and
 * a quarter of the vocabulary: the layer in double precision takes four times as long and twice
 * the memory. */
enum { WIDTH = 256, GROUP = 16, CHECKED = 64, CHECK_CUT = 4 };

typedef struct head_data {
    size_t vocabulary, rows, count;
    bool backward;
    sg_backend_kind backend;
    sg_matmul matmul;
    sg_objective objective;
    float *weights, *hidden, *weight_gradient, *hidden_gradient;
    int32_t *tokens;
    uint32_t *row;
    double *old, *advantage, *log_prob, *pushes;
    double loss;
    sg_head_pass *pass, *exact; /* exact: for double precision */
} head_data;

static void head_data_free(void *context)
{
    head_data *data = context;
    void *arrays[] = {
        data->weights, data->hidden, data->weight_gradient, data->hidden_gradient, data->tokens,
        data->row,     data->old,    data->advantage,       data->log_prob,        data->pushes};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    sg_head_pass_free(data->pass);
    sg_head_pass_free(data->exact);
    free(data);
}

void bench_w3_fill(float *x, size_t n, uint32_t what, double scale)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i += 2) {
        double pair[2];
        sg_rng_normal_pair((sg_address){3, SG_STREAM_SYNTHETIC, what, 0, 0, (uint32_t)i}, pair);
        for (size_t j = i; j < i + 2 && j < n; j++)
            x[j] = (float)(scale * pair[j - i]);
    }
}

static double normal(uint32_t what, size_t i)
{
    double pair[2];
    sg_rng_normal_pair((sg_address){3, SG_STREAM_SYNTHETIC, what, 0, 0, (uint32_t)i}, pair);
    return pair[0];
}

/* Log-probabilities, SAPO loss / N, and the pushes that its gradient is made of. */
static void slopes(head_data *data, size_t count, const double *log_prob)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double a = data->advantage[i];
        sg_gate_value gate =
            sg_objective_eval(&data->objective, log_prob[i] - data->old[i], a, data->old[i]);
        sum += gate.surrogate * a;
        data->pushes[i] = gate.coefficient * a / (double)count;
    }
    data->loss = -sum / (double)count;
}

static sg_status forward_backward(head_data *data, sg_error *error)
{
    sg_head head = {data->vocabulary, WIDTH, 1, SG_FP32, 1, data->weights, NULL, false, NULL};
    sg_head_samples samples = {data->count, data->tokens, data->row};
    sg_head_gradient gradient = {data->weight_gradient, NULL, data->hidden_gradient, NULL};
    sg_status status = sg_head_forward(data->pass, &head, data->hidden, data->rows, &samples,
                                       data->log_prob, error);
    slopes(data, data->count, data->log_prob);
    if (status == SG_OK && data->backward)
        status = sg_head_backward(data->pass, &head, data->hidden, &samples, data->pushes,
                                  SG_DIFFUSE_KEEP, &gradient, error);
    return status;
}

static void run(void *context)
{
    forward_backward(context, NULL); /* has run before, so that there is memory */
}

/* On the device alone: parameters, features and samples are there, results stay there. */
static sg_status queue(void *context, sg_error *error)
{
    const head_data *data = context;
    sg_status status = sg_head_device_repeat_forward(data->pass, error);
    return status || !data->backward ? status : sg_head_device_repeat_backward(data->pass, error);
}

static double *widened(const float *x, size_t n)
{
    double *y = malloc(n * sizeof *y);
    for (size_t i = 0; y && i < n; i++)
        y[i] = (double)x[i];
    return y;
}

static double larger(double worst, double error)
{
    return error > worst || isnan(error) ? error : worst;
}

/* Greatest error of a log-probability, and of a gradient over its greatest element, in single
 * precision against double. */
static sg_status find_error(head_data *data, double *worst, sg_error *error)
{
    size_t count = data->count < CHECKED ? data->count : CHECKED, rows = 0;
    size_t vocabulary = data->vocabulary / CHECK_CUT, n = vocabulary * WIDTH;
    for (size_t i = 0; i < count; i++)
        rows = data->row[i] >= rows ? data->row[i] + 1 : rows;
    int32_t tokens[CHECKED];
    double log_prob[2][CHECKED];
    for (size_t i = 0; i < count; i++)
        tokens[i] = data->tokens[i] / CHECK_CUT;
    double *weights = widened(data->weights, n), *hidden = widened(data->hidden, rows * WIDTH);
    double *dw = malloc(n * sizeof *dw), *dh = malloc(rows * WIDTH * sizeof *dh);
    sg_status status = weights && hidden && dw && dh
                           ? SG_OK
                           : sg_fail(error, SG_ENOMEM, "not enough memory to check W3");
    sg_head_samples samples = {count, tokens, data->row};
    sg_head single = {vocabulary, WIDTH, 1, SG_FP32, 1, data->weights, NULL, false, NULL};
    sg_head twin = {vocabulary, WIDTH, 1, SG_FP64, 1, weights, NULL, false, NULL};
    sg_head_gradient to = {data->weight_gradient, NULL, data->hidden_gradient, NULL},
                     to64 = {dw, NULL, dh, NULL};
    if (status == SG_OK)
        status = sg_head_forward(data->exact, &twin, hidden, rows, &samples, log_prob[0], error);
    if (status == SG_OK) {
        for (size_t i = 0; i < count; i++)
            data->pushes[i] = normal(6, i) / (double)count;
        status = sg_head_backward(data->exact, &twin, hidden, &samples, data->pushes,
                                  SG_DIFFUSE_KEEP, &to64, error);
    }
    if (status == SG_OK)
        status =
            sg_head_forward(data->pass, &single, data->hidden, rows, &samples, log_prob[1], error);
    if (status == SG_OK)
        status = sg_head_backward(data->pass, &single, data->hidden, &samples, data->pushes,
                                  SG_DIFFUSE_KEEP, &to, error);
    double most_w = 0, most_h = 0, error_w = 0, error_h = 0;
    *worst = 0;
    for (size_t i = 0; i < count && status == SG_OK; i++)
        *worst = larger(*worst, fabs(log_prob[0][i] - log_prob[1][i]));
    for (size_t i = 0; i < n && status == SG_OK; i++) {
        most_w = fmax(most_w, fabs(dw[i]));
        error_w = larger(error_w, fabs(dw[i] - (double)data->weight_gradient[i]));
    }
    for (size_t i = 0; i < rows * WIDTH && status == SG_OK; i++) {
        most_h = fmax(most_h, fabs(dh[i]));
        error_h = larger(error_h, fabs(dh[i] - (double)data->hidden_gradient[i]));
    }
    if (status == SG_OK)
        *worst = larger(larger(*worst, error_w / most_w), error_h / most_h);
    free(weights);
    free(hidden);
    free(dw);
    free(dh);
    return status;
}

static sg_status prepare(head_data *data, bench_case *made, sg_error *error)
{
    size_t count = data->count, n = data->vocabulary * WIDTH;
    data->weights = bench_floats(n);
    data->weight_gradient = bench_floats(n);
    data->hidden = bench_floats(data->rows * WIDTH);
    data->hidden_gradient = bench_floats(data->rows * WIDTH);
    data->tokens = malloc(count * sizeof *data->tokens);
    data->row = malloc(count * sizeof *data->row);
    double **reals[] = {&data->old, &data->advantage, &data->log_prob, &data->pushes};
    bool good = data->weights && data->weight_gradient && data->hidden && data->hidden_gradient &&
                data->tokens && data->row && (data->pass = sg_head_pass_alloc(data->backend)) &&
                (data->exact = sg_head_pass_alloc(data->backend));
    for (int i = 0; i < 4; i++)
        good = (*reals[i] = malloc(count * sizeof(double))) && good;
    if (!good)
        return sg_fail(error, SG_ENOMEM, "not enough memory for W3, which needs %.2g GiB",
                       (double)n * 8 * 0x1p-30);
    sg_status status = sg_objective_parse(&data->objective, "sapo:tau_pos=1,tau_neg=1.05", error);
    if (status == SG_OK)
        status = sg_head_pass_matmul(data->pass, data->matmul, error);
    if (status != SG_OK)
        return status;
    bench_w3_fill(data->weights, n, 1, 1 / sqrt(WIDTH));
    bench_w3_fill(data->hidden, data->rows * WIDTH, 2, 1);
    for (size_t i = 0; i < count; i++) {
        double u = sg_rng_uniform((sg_address){3, SG_STREAM_SYNTHETIC, 3, 0, 0, (uint32_t)i});
        data->tokens[i] = (int32_t)(u * (double)data->vocabulary);
        data->row[i] = (uint32_t)(i * data->rows / count);
        data->advantage[i] = normal(4, i);
        data->old[i] = 0;
    }
    status = find_error(data, &made->error, error);
    sg_head_pass_free(data->exact);
    data->exact = NULL;
    if (status == SG_OK)
        status = forward_backward(data, error);
    for (size_t i = 0; i < count && status == SG_OK; i++)
        data->old[i] = data->log_prob[i] + 0.1 * normal(5, i);
    return status;
}

sg_matmul bench_w3_matmul(const char *name)
{
    size_t n = strlen(name);
    const char *suffix = n > 5 ? name + n - 5 : "";
    return strcmp(suffix, ".tf32") == 0   ? SG_MATMUL_TF32
           : strcmp(suffix, ".bf16") == 0 ? SG_MATMUL_BF16
                                          : SG_MATMUL_SAME;
}

/* flop: one product for the logits and, backward, three for logits, weights and features. bytes:
 * the weights once each way, and their gradient. */
sg_status bench_w3_prepare(const char *name, size_t cut, sg_backend_kind backend, bench_case *made,
                           sg_error *error)
{
    head_data *data = calloc(1, sizeof *data);
    if (!data)
        return sg_fail(error, SG_ENOMEM, "not enough memory for workload %s", name);
    *made = (bench_case){.data = data, .free = head_data_free, .run = run};
    data->backend = backend;
    data->vocabulary = 131072 / cut;
    data->matmul = bench_w3_matmul(name);
    data->count = strncmp(name, "W3.large", 8) == 0 ? 2048 : 512;
    if (data->matmul != SG_MATMUL_SAME)
        data->count /= cut;
    data->rows = strcmp(name, "W3.grouped") == 0 ? data->count / GROUP : data->count;
    data->backward = strncmp(name, "W3.forward", 10) != 0;
    double product = 2.0 * (double)data->rows * WIDTH * (double)data->vocabulary;
    made->flop = product * (data->backward ? 4 : 1);
    made->bytes = (double)data->vocabulary * WIDTH * 4 * (data->backward ? 3 : 1);
    made->traffic = BENCH_READ;
    made->matmul = data->matmul;
    made->backend = sg_isa_name(sg_isa_select());
    snprintf(made->shape, sizeof made->shape, "N=%zu d=%d V=%zu G=%zu", data->count, WIDTH,
             data->vocabulary, data->count / data->rows);
    sg_status status = prepare(data, made, error);
    if (status == SG_OK && backend == SG_BACKEND_CUDA) {
        made->queue = queue;
        made->stream = sg_head_device_stream(data->pass);
    }
    return status;
}

double bench_w3_machine(void)
{
    enum { M = 96, N = 64, K = 128, TIMES = 4000, TASKS = 64 };
    const sg_matrix_kernels *matrix = sg_matrix_select(SG_FP32);
    float *a = bench_floats(M * K), *b = bench_floats(K * N);
    double best = 0;
    for (int round = 0; a && b && round < 6; round++) {
        struct timespec start, end;
        clock_gettime(CLOCK_MONOTONIC, &start);
#pragma omp parallel for schedule(dynamic)
        for (int task = 0; task < TASKS; task++) {
            float c[M * N];
            for (int i = 0; i < TIMES / TASKS; i++)
                matrix->multiply(M, N, K, a, K, 1, b, c, N, i > 0);
        }
        clock_gettime(CLOCK_MONOTONIC, &end);
        double time =
            (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
        double done = 2.0 * M * N * K * TASKS * (TIMES / TASKS);
        best = fmax(best, done / time * 1e-9);
    }
    free(a);
    free(b);
    return best > 0 ? best : (double)NAN;
}
