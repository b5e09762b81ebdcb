/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/bench_w3.h"
#include "core/isa.h"
#include "policy/flat.h"

/* Results are checked on a part of the rows: in double precision all of them take three times the memory. */
enum { WIDTH = 256, CHECK_CUT = 32, CHECKED_STEPS = 3 };

typedef struct step_data {
    size_t n; /* numbers */
    sg_backend_kind backend;
    sg_flat theta, gradient;
    sg_tensor_optimizer *optimizer;
} step_data;

static const sg_rule_config rule = {
    .rule = SG_RULE_ADAM, .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip_norm = 1};

static void flat_free(sg_flat *flat)
{
    free(flat->host);
    sg_cuda_flat_free(flat->device);
    *flat = (sg_flat){0};
}

static void forget(step_data *data)
{
    flat_free(&data->theta);
    flat_free(&data->gradient);
    sg_tensor_optimizer_free(data->optimizer);
    data->optimizer = NULL;
}

static void step_data_free(void *context)
{
    forget(context);
    free(context);
}

static void run(void *context)
{
    step_data *data = context; /* nothing is asked for, so nothing can fail here */
    sg_tensor_optimizer_move(data->optimizer, &data->theta, &data->gradient, NULL, NULL);
}

static sg_status queue(void *context, sg_error *error)
{
    step_data *data = context;
    return sg_tensor_optimizer_move(data->optimizer, &data->theta, &data->gradient, NULL, error);
}

/* The first n of the weights, or of their gradient, where the backend has them. */
static sg_status flat_make(sg_flat *flat, sg_precision precision, size_t n, uint32_t what,
                           double scale, bool device, sg_error *error)
{
    float *narrow = bench_floats(n);
    *flat = (sg_flat){.precision = precision, .size = n, .host = narrow};
    if (narrow)
        bench_w3_fill(narrow, n, what, scale);
    if (narrow && precision == SG_FP64) {
        flat->host = malloc(n * sizeof(double));
        for (size_t i = 0; flat->host && i < n; i++)
            ((double *)flat->host)[i] = (double)narrow[i];
        free(narrow);
    }
    if (!flat->host)
        return sg_fail(error, SG_ENOMEM, "not enough memory for W3.step");
    if (!device)
        return SG_OK;
    sg_status status =
        sg_cuda_flat_alloc(&flat->device, precision, n, "an array of W3.step", error);
    return status ? status : sg_cuda_flat_put(flat->device, 0, n, flat->host, error);
}

/* The gradient is longer than the clip allows at every step. */
static sg_status make(step_data *data, sg_precision precision, size_t n, sg_error *error)
{
    const sg_tensor tensor = {"weights", 0, n / WIDTH, WIDTH, true, true};
    bool device = data->backend == SG_BACKEND_CUDA;
    sg_status status = flat_make(&data->theta, precision, n, 1, 1 / sqrt(WIDTH), device, error);
    if (status == SG_OK)
        status = flat_make(&data->gradient, precision, n, 2, 1, device, error);
    return status ? status
                  : sg_tensor_optimizer_alloc_on(&data->optimizer, &rule, precision, &tensor, 1, n,
                                                 data->backend, error);
}

/* A few steps on a part, with a gradient of its own each; parameters are then on the host. */
static sg_status try(step_data *data, sg_precision precision, size_t n, sg_error *error)
{
    bool device = data->backend == SG_BACKEND_CUDA;
    sg_status status = make(data, precision, n, error);
    for (uint32_t t = 0; t < CHECKED_STEPS && status == SG_OK; t++) {
        flat_free(&data->gradient);
        status = flat_make(&data->gradient, precision, n, 7 + t, 1, device, error);
        if (status == SG_OK)
            status = queue(data, error);
    }
    if (status == SG_OK && device)
        status = sg_cuda_flat_get(data->theta.device, 0, n, data->theta.host, error);
    return status;
}

/* Greatest error of a parameter over the learning rate, against the CPU in double precision. */
static sg_status find_error(step_data *data, double *worst, sg_error *error)
{
    size_t n = data->n / CHECK_CUT / WIDTH * WIDTH;
    step_data single = {.backend = data->backend}, twin = {.backend = SG_BACKEND_CPU};
    sg_status status = try(&single, SG_FP32, n, error);
    if (status == SG_OK)
        status = try(&twin, SG_FP64, n, error);
    *worst = 0;
    for (size_t i = 0; i < n && status == SG_OK; i++) {
        double x = (double)((const float *)single.theta.host)[i],
               y = ((const double *)twin.theta.host)[i];
        *worst = fabs(x - y) > *worst || isnan(x) ? fabs(x - y) : *worst;
    }
    *worst /= rule.lr;
    forget(&single);
    forget(&twin);
    return status;
}

/* bytes: gradient, twice, moments and parameters, the last three both ways. */
sg_status bench_step_prepare(size_t cut, sg_backend_kind backend, bench_case *made, sg_error *error)
{
    step_data *data = calloc(1, sizeof *data);
    if (!data)
        return sg_fail(error, SG_ENOMEM, "not enough memory for workload W3.step");
    data->backend = backend;
    data->n = 131072 / cut * WIDTH;
    *made = (bench_case){.data = data,
                         .free = step_data_free,
                         .run = run,
                         .bytes = (double)data->n * sizeof(float) * 8,
                         .traffic = BENCH_IN_PLACE,
                         .backend = sg_isa_name(sg_isa_select())};
    snprintf(made->shape, sizeof made->shape, "d=%d V=%zu adam clip", WIDTH, data->n / WIDTH);
    sg_status status = find_error(data, &made->error, error);
    if (status == SG_OK)
        status = make(data, SG_FP32, data->n, error);
    if (status == SG_OK && backend == SG_BACKEND_CUDA) {
        made->queue = queue;
        made->stream = sg_cuda_flat_stream(data->gradient.device);
    }
    return status;
}
