/* SPDX-License-Identifier: GPL-3.0-or-later */
/* W4: a sweep of 4096 small runs over the temperature of SAPO. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend/bandits.h"
#include "backend/cuda/bandits.h"
#include "cli/bench_case.h"
#include "core/isa.h"
#include "core/rng.h"

enum { ARMS = 256, SAMPLES = 16, STEPS = 20, UPDATES = 2 };

typedef struct sweep_data {
    sg_bandits bandits;
    sg_bandit *run;
    double reward[ARMS], *value;
    sg_cuda_bandits *on_device; /* NULL on the CPU */
} sweep_data;

static void sweep_data_free(void *context)
{
    sweep_data *data = context;
    sg_cuda_bandits_free(data->on_device);
    free(data->run);
    free(data->value);
    free(data);
}

static void run_sweep(void *context)
{
    sweep_data *data = context;
    (void)sg_bandits_run(&data->bandits, data->value, NULL, NULL); /* it ran before the clock */
}

/* Tables and results stay on the device: the launch alone. */
static sg_status queue_sweep(void *context, sg_error *error)
{
    sweep_data *data = context;
    return sg_cuda_bandits_queue(data->on_device, error);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The 99th percentile of the differences of the final J between the precisions. (A draw that falls
 * between the two makes a run part from its twin; that is luck, not error.) */
static sg_status error_of_sweep(sweep_data *data, double *worst, sg_error *error)
{
    size_t runs = data->bandits.runs, cells = STEPS + 1;
    double *value = malloc(runs * (cells + 1) * sizeof *value), *difference = value;
    if (!value)
        return sg_fail(error, SG_ENOMEM, "not enough memory to check W4");
    double *exact = value + runs;
    sg_bandits doubles = data->bandits;
    doubles.precision = SG_FP64;
    doubles.backend = SG_BACKEND_CPU;
    sg_status status = sg_bandits_run(&doubles, exact, NULL, error);
    if (status == SG_OK)
        status = sg_bandits_run(&data->bandits, data->value, NULL, error);
    if (status == SG_OK) {
        for (size_t r = 0; r < runs; r++)
            difference[r] = fabs(data->value[r * cells + STEPS] - exact[r * cells + STEPS]);
        qsort(difference, runs, sizeof *difference, by_size);
        *worst = difference[runs * 99 / 100];
    }
    free(value);
    return status;
}

sg_status bench_w4_prepare(size_t cut, sg_backend_kind backend, bench_case *made, sg_error *error)
{
    sweep_data *data = calloc(1, sizeof *data);
    size_t runs = 4096 / cut;
    if (data) {
        data->run = malloc(runs * sizeof *data->run);
        data->value = malloc(runs * (STEPS + 1) * sizeof *data->value);
    }
    if (!data || !data->run || !data->value) {
        if (data)
            sweep_data_free(data);
        return sg_fail(error, SG_ENOMEM, "not enough memory for workload W4");
    }
    *made = (bench_case){.traffic = BENCH_IN_PLACE,
                         .run = run_sweep,
                         .data = data,
                         .free = sweep_data_free,
                         .backend = sg_isa_name(sg_isa_select()),
                         .bytes = 8.0 * (double)runs * ARMS};
    snprintf(made->shape, sizeof made->shape, "runs=%zu V=%d G=%d T=%d K=%d", runs, ARMS, SAMPLES,
             STEPS, UPDATES);
    sg_objective sapo;
    sg_status status = sg_objective_parse(&sapo, "sapo", error);
    for (size_t r = 0; r < runs; r++) {
        data->run[r] = (sg_bandit){.objective = sapo, .lr = 0.5};
        double tau = 0.5 + 2.5 * (double)r / (double)(runs - 1);
        data->run[r].objective.parameter.tau_pos = data->run[r].objective.parameter.tau_neg = tau;
    }
    for (uint32_t v = 0; v < ARMS; v++)
        data->reward[v] = sg_rng_uniform((sg_address){4, SG_STREAM_SYNTHETIC, 0, 0, 0, v});
    data->bandits = (sg_bandits){.runs = runs,
                                 .run = data->run,
                                 .arms = ARMS,
                                 .reward = data->reward,
                                 .samples = SAMPLES,
                                 .steps = STEPS,
                                 .updates = UPDATES,
                                 .advantage = SG_ADVANTAGE_GRPO,
                                 .eps = 1e-6,
                                 .seed = 4,
                                 .precision = SG_FP32,
                                 .backend = backend};
    if (status == SG_OK)
        status = error_of_sweep(data, &made->error, error);
    if (status == SG_OK && backend == SG_BACKEND_CUDA) {
        status = sg_cuda_bandits_alloc(&data->on_device, &data->bandits, false, error);
        made->queue = queue_sweep;
    }
    if (status == SG_OK && backend == SG_BACKEND_CUDA)
        made->stream = sg_cuda_bandits_stream(data->on_device);
    return status;
}
