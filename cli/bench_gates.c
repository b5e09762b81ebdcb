/* SPDX-License-Identifier: GPL-3.0-or-later */
/* W1: gates of whole batches. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench_gates.h"
#include "core/isa.h"
#include "core/rng.h"

void bench_gates_free(void *context)
{
    bench_gates_data *data = context;
    if (!data)
        return;
    free(data->start);
    free(data->log_ratio);
    free(data->ratio);
    free(data->advantage);
    free(data->value);
    free(data->slope);
    free(data->sequence_advantage);
    free(data);
}

static void run(void *context)
{
    bench_gates_data *data = context;
    if (data->kind == BENCH_STATISTICS)
        sg_gates_statistics(SG_BACKEND_CPU, data->objectives, data->objective, data->n, data->ratio,
                            data->advantage, data->statistics, NULL);
    else if (data->kind == BENCH_SEQUENCES)
        sg_gates_apply_sequences(SG_BACKEND_CPU, data->objective, data->sequences, data->start,
                                 data->log_ratio, data->sequence_advantage, data->value,
                                 data->by_row ? data->slope : NULL,
                                 data->by_row ? NULL : data->slope, NULL);
    else
        sg_gates_apply(SG_BACKEND_CPU, data->objective, data->n, data->ratio, data->advantage,
                       data->value, data->slope, NULL);
}

static double larger_error(double worst, float mine, double theirs)
{
    double error = fabs((double)mine - theirs) / fmax(1, fabs(theirs));
    return error > worst || isnan(error) ? error : worst;
}

/* Greatest error of value and slope over every 61st token; clip edges belong to either side. */
static double error_of_tokens(const bench_gates_data *data)
{
    double worst = 0;
    for (size_t i = 0; i < data->n; i += 61) {
        double r = (double)data->ratio[i], a = (double)data->advantage[i];
        if (fabs(r - 0.8) < 1e-6 || fabs(r - 1.2) < 1e-6)
            continue;
        sg_gate_value gate = sg_objective_eval(data->objective, log(r), a, 0);
        worst = larger_error(worst, data->value[i], gate.surrogate * a);
        worst = larger_error(worst, data->slope[i], gate.coefficient * a);
    }
    return worst;
}

/* The first and the last of the objectives. */
static double error_of_statistics(const bench_gates_data *data)
{
    double worst = 0;
    for (size_t k = 0; k<data->objectives; k += data->objectives> 1 ? data->objectives - 1 : 1) {
        double sum = 0;
        for (size_t i = 0; i < data->n; i++)
            sum += sg_objective_eval(&data->objective[k], log((double)data->ratio[i]),
                                     (double)data->advantage[i], 0)
                       .weight;
        double mean = sum / (double)data->n;
        worst = fmax(worst, fabs(data->statistics[k].effective_update_ratio - mean) / mean);
    }
    return worst;
}

static double error_of_sequences(const bench_gates_data *data)
{
    double worst = 0;
    for (size_t i = 0; i < data->sequences; i++) {
        double sum = 0, length = (double)(data->start[i + 1] - data->start[i]);
        double a = (double)data->sequence_advantage[i];
        for (size_t t = data->start[i]; t < data->start[i + 1]; t++)
            sum += (double)data->log_ratio[t];
        sg_gate_value gate = sg_objective_eval(data->objective, sum / length, a, 0);
        worst = larger_error(worst, data->value[i], gate.surrogate * a);
        worst = larger_error(worst, data->slope[data->by_row ? i : data->start[i] + 7],
                             gate.coefficient * a / length);
    }
    return worst;
}

static bool fill(bench_gates_data *data)
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
        data->start[i] = i * BENCH_SEQUENCE;
    for (size_t i = 0; i < data->sequences; i++)
        data->sequence_advantage[i] = data->advantage[i * BENCH_SEQUENCE];
    return true;
}

static sg_status choose_objectives(const char *name, bench_gates_data *data, sg_error *error)
{
    data->objectives = strcmp(name, "W1.taus") == 0 ? BENCH_TAUS : 1;
    const char *spec = data->kind == BENCH_SEQUENCES ? "gspo:eps_low=3e-4,eps_high=4e-4"
                       : strcmp(name, "W1g") == 0    ? "grpo:eps_low=0.2,eps_high=0.2"
                                                     : "sapo:tau_pos=1,tau_neg=1.05";
    sg_status status = sg_objective_parse(&data->objective[0], spec, error);
    for (size_t k = 0; k < data->objectives && data->objectives > 1; k++) {
        double tau = 0.5 + 2.5 * (double)k / (BENCH_TAUS - 1);
        data->objective[k] = data->objective[0];
        data->objective[k].parameter.tau_pos = data->objective[k].parameter.tau_neg = tau;
    }
    return status;
}

sg_status bench_gates_make(const char *name, size_t cut, bench_gates_data **made, sg_error *error)
{
    bench_gates_data *data = *made = calloc(1, sizeof *data);
    if (!data)
        return sg_fail(error, SG_ENOMEM, "not enough memory for workload %s", name);
    data->by_row = strcmp(name, "W1s.row") == 0;
    data->kind = strncmp(name, "W1s", 3) == 0   ? BENCH_SEQUENCES
                 : strncmp(name, "W1.", 3) == 0 ? BENCH_STATISTICS
                                                : BENCH_TOKENS;
    data->sequences = 10000000 / cut / BENCH_SEQUENCE;
    data->n = data->sequences * BENCH_SEQUENCE;
    sg_status status = choose_objectives(name, data, error);
    if (status == SG_OK && !fill(data))
        status = sg_fail(error, SG_ENOMEM, "workload %s needs %zu MB; try smaller sizes", name,
                         data->n * 5 * sizeof(float) / 1000000);
    return status;
}

void bench_gates_describe(const bench_gates_data *data, bench_case *made)
{
    double n = (double)data->n;
    if (data->kind == BENCH_SEQUENCES)
        snprintf(made->shape, sizeof made->shape, "sequences=%zu T=1000", data->sequences);
    else if (data->objectives > 1)
        snprintf(made->shape, sizeof made->shape, "n=%zu taus=%zu", data->n, data->objectives);
    else
        snprintf(made->shape, sizeof made->shape, "n=%zu", data->n);
    bool reads = data->kind == BENCH_STATISTICS || data->by_row;
    made->traffic = reads ? BENCH_READ : BENCH_COPY;
    made->bytes = data->by_row ? 4 * n : data->kind == BENCH_TOKENS ? 16 * n : 8 * n;
    made->error = data->kind == BENCH_STATISTICS  ? error_of_statistics(data)
                  : data->kind == BENCH_SEQUENCES ? error_of_sequences(data)
                                                  : error_of_tokens(data);
}

sg_status bench_gates_prepare(const char *name, size_t cut, bench_case *made, sg_error *error)
{
    bench_gates_data *data;
    sg_status status = bench_gates_make(name, cut, &data, error);
    *made = (bench_case){.data = data,
                         .free = bench_gates_free,
                         .run = run,
                         .backend = sg_isa_name(sg_isa_select())};
    if (status != SG_OK)
        return status;
    run(data);
    bench_gates_describe(data, made);
    return SG_OK;
}
