/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/statistics.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLE = 10000 }; /* responses of an arm that are kept one by one */

static size_t responses_of_step(const sg_config *config)
{
    return (size_t)(config->task.prompts * (config->rollout.group / config->update.minibatches));
}

static sg_dispersion_options options_of(const sg_config *config)
{
    size_t steps = (size_t)config->run.steps * (size_t)config->run.seeds;
    return sg_dispersion_growing(steps * responses_of_step(config), SAMPLE);
}

sg_status sg_statistics_alloc(sg_dispersion **arms, const sg_config *config, sg_error *error)
{
    size_t count = config->update.objective_count;
    sg_dispersion_options options = options_of(config);
    sg_status status = SG_OK;
    *arms = calloc(count, sizeof **arms);
    if (*arms == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for the statistics of %zu arms", count);
    for (size_t arm = 0; arm < count && status == SG_OK; arm++)
        status = sg_dispersion_init(&(*arms)[arm], &options, error);
    if (status != SG_OK) {
        sg_statistics_free(*arms, config);
        *arms = NULL;
    }
    return status;
}

void sg_statistics_free(sg_dispersion *arms, const sg_config *config)
{
    for (size_t arm = 0; arms != NULL && arm < config->update.objective_count; arm++)
        sg_dispersion_free(&arms[arm]);
    free(arms);
}

sg_status sg_statistics_start(sg_run *run, const sg_config *config, size_t seed, sg_error *error)
{
    sg_dispersion_options options = options_of(config);
    run->statistics = calloc(1, sizeof *run->statistics);
    run->statistics_first = seed * (size_t)config->run.steps * responses_of_step(config);
    if (run->statistics == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for the statistics of a run");
    return sg_dispersion_init(run->statistics, &options, error);
}

void sg_statistics_add(sg_run *run, size_t step)
{
    size_t first = run->statistics_first + (step - 1) * run->minibatch.count;
    for (size_t i = 0; i < run->minibatch.count; i++) {
        size_t n = sg_run_log_ratios(run, i, run->sorted);
        double tau = sg_run_temperature(run, run->batch->advantage[i * run->length]);
        if (n > 0)
            sg_dispersion_add_at(run->statistics, first + i, tau, run->sorted, n);
    }
}

struct metadata {
    sg_table *table;
    sg_status status;
    sg_error *error;
};

static void set_meta(void *context, const char *key, const char *value)
{
    struct metadata *meta = context;
    if (meta->status == SG_OK && strcmp(key, "run.threads") != 0) /* nothing depends on it */
        meta->status = sg_table_set_meta(meta->table, key, value, meta->error);
}

sg_status sg_statistics_table(const sg_dispersion *arms, const sg_config *config, sg_table **table,
                              sg_error *error)
{
    struct metadata meta = {sg_table_alloc(), SG_OK, error};
    *table = NULL;
    if (meta.table == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for the table of statistics");
    set_meta(&meta, "table", "statistics");
    sg_config_visit(config, set_meta, &meta);
    for (size_t arm = 0; arm < config->update.objective_count && meta.status == SG_OK; arm++) {
        char parameters[512];
        sg_config_arm_parameters(config, arm, true, parameters, sizeof parameters);
        meta.status = sg_dispersion_append(&arms[arm], config->update.objectives[arm].method->name,
                                           parameters, meta.table, error);
    }
    if (meta.status == SG_OK)
        *table = meta.table;
    else
        sg_table_free(meta.table);
    return meta.status;
}
