/* SPDX-License-Identifier: GPL-3.0-or-later */
/* W1: gates of whole batches. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gates.h"
#include "cli/bench_case.h"
#include "core/isa.h"
#include "core/rng.h"

enum { SEQUENCE = 1000 };

typedef struct gate_data {
    sg_objective objective;
    size_t n, sequences;
    size_t *start;
    float *log_ratio, *ratio, *advantage, *value, *slope, *sequence_advantage;
    bool by_row; /* W1s.row: one slope a sequence, none for its tokens */
    sg_gate_statistics statistics;
} gate_data;

static void gate_data_free(void *context)
{
    gate_data *data = context;
    free(data->start);
    free(data->log_ratio);
    free(data->ratio);
    free(data->advantage);
    free(data->value);
    free(data->slope);
    free(data->sequence_advantage);
    free(data);
}

static void run_tokens(void *context)
{
    gate_data *data = context;
    sg_gates_apply(SG_BACKEND_CPU, &data->objective, data->n, data->ratio, data->advantage,
                   data->value, data->slope, NULL);
}

static void run_statistics(void *context)
{
    gate_data *data = context;
    sg_gates_statistics(SG_BACKEND_CPU, 1, &data->objective, data->n, data->ratio, data->advantage,
                        &data->statistics, NULL);
}

static void run_sequences(void *context)
{
    gate_data *data = context;
    sg_gates_apply_sequences(SG_BACKEND_CPU, &data->objective, data->sequences, data->start,
                             data->log_ratio, data->sequence_advantage, data->value,
                             data->by_row ? data->slope : NULL, data->by_row ? NULL : data->slope,
                             NULL);
}

static double larger_error(double worst, float mine, double theirs)
{
    double error = fabs((double)mine - theirs) / fmax(1, fabs(theirs));
    return error > worst || isnan(error) ? error : worst;
}

/* Greatest error of value and slope over every 61st token; clip edges belong to either side. */
static double error_of_tokens(const gate_data *data)
{
    double worst = 0;
    for (size_t i = 0; i < data->n; i += 61) {
        double r = (double)data->ratio[i], a = (double)data->advantage[i];
        if (fabs(r - 0.8) < 1e-6 || fabs(r - 1.2) < 1e-6)
            continue;
        sg_gate_value gate = sg_objective_eval(&data->objective, log(r), a, 0);
        worst = larger_error(worst, data->value[i], gate.surrogate * a);
        worst = larger_error(worst, data->slope[i], gate.coefficient * a);
    }
    return worst;
}

static double error_of_statistics(const gate_data *data)
{
    double sum = 0;
    for (size_t i = 0; i < data->n; i++)
        sum += sg_objective_eval(&data->objective, log((double)data->ratio[i]),
                                 (double)data->advantage[i], 0)
                   .weight;
    double mean = sum / (double)data->n;
    return fabs(data->statistics.effective_update_ratio - mean) / mean;
}

static double error_of_sequences(const gate_data *data)
{
    double worst = 0;
    for (size_t i = 0; i < data->sequences; i++) {
        double sum = 0, length = (double)(data->start[i + 1] - data->start[i]);
        double a = (double)data->sequence_advantage[i];
        for (size_t t = data->start[i]; t < data->start[i + 1]; t++)
            sum += (double)data->log_ratio[t];
        sg_gate_value gate = sg_objective_eval(&data->objective, sum / length, a, 0);
        worst = larger_error(worst, data->value[i], gate.surrogate * a);
        worst = larger_error(worst, data->slope[data->by_row ? i : data->start[i] + 7],
                             gate.coefficient * a / length);
    }
    return worst;
}

static bool fill(gate_data *data)
{
    size_t n = data->n;
    data->log_ratio = bench_floats(n);
    data->ratio = bench_floats(n);
    data->advantage = bench_floats(n);
    data->value = bench_floats(n);
    data->slope = bench_floats(n);
    data->sequence_advantage = bench_floats(data->sequences);
    data->start = malloc((data->sequences + 1) * sizeof *data->start);
    if (!data->log_ratio || !data->ratio || !data->advantage || !data->value || !data->slope ||
        !data->sequence_advantage || !data->start)
        return false;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) {
        double pair[2];
        sg_rng_normal_pair((sg_address){1, SG_STREAM_SYNTHETIC, 1, 0, 0, (uint32_t)i}, pair);
        data->log_ratio[i] = (float)(0.2 * pair[0]);
        data->ratio[i] = expf(data->log_ratio[i]);
        data->advantage[i] = (float)pair[1];
    }
    for (size_t i = 0; i <= data->sequences; i++)
        data->start[i] = i * SEQUENCE;
    for (size_t i = 0; i < data->sequences; i++)
        data->sequence_advantage[i] = data->advantage[i * SEQUENCE];
    return true;
}

sg_status bench_gates_prepare(const char *name, size_t cut, bench_case *made, sg_error *error)
{
    bool by_row = strcmp(name, "W1s.row") == 0, sequences = by_row || strcmp(name, "W1s") == 0,
         statistics = strcmp(name, "W1.stats") == 0;
    const char *spec = sequences                  ? "gspo:eps_low=3e-4,eps_high=4e-4"
                       : strcmp(name, "W1g") == 0 ? "grpo:eps_low=0.2,eps_high=0.2"
                                                  : "sapo:tau_pos=1,tau_neg=1.05";
    gate_data *data = calloc(1, sizeof *data);
    if (!data)
        return sg_fail(error, SG_ENOMEM, "not enough memory for workload %s", name);
    data->by_row = by_row;
    *made = (bench_case){.data = data, .free = gate_data_free};
    sg_status status = sg_objective_parse(&data->objective, spec, error);
    if (status != SG_OK)
        return status;
    data->sequences = 10000000 / cut / SEQUENCE;
    data->n = data->sequences * SEQUENCE;
    if (!fill(data))
        return sg_fail(error, SG_ENOMEM, "workload %s needs %zu MB; try smaller sizes", name,
                       data->n * 5 * sizeof(float) / 1000000);
    double n = (double)data->n;
    snprintf(made->shape, sizeof made->shape, sequences ? "sequences=%zu T=1000" : "n=%zu",
             sequences ? data->sequences : data->n);
    made->backend = sg_isa_name(sg_isa_select());
    made->run = sequences ? run_sequences : statistics ? run_statistics : run_tokens;
    made->run(data);
    if (statistics) {
        made->bytes = 8 * n;
        made->traffic = BENCH_READ;
        made->error = error_of_statistics(data);
    } else if (sequences) {
        made->bytes = by_row ? 4 * n : 8 * n;
        made->traffic = by_row ? BENCH_READ : BENCH_COPY;
        made->error = error_of_sequences(data);
    } else {
        made->bytes = 16 * n;
        made->traffic = BENCH_COPY;
        made->error = error_of_tokens(data);
    }
    return SG_OK;
}
