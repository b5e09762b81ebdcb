/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/simulate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "sim/checkpoint.h"
#include "sim/run.h"
#include "sim/statistics.h"

static const sg_column_info columns[] = {
#define SG_TEXT_COLUMN(name, unit, meaning) {#name, unit, meaning, SG_COLUMN_TEXT},
#define SG_INTEGER_COLUMN(name, unit, meaning) {#name, unit, meaning, SG_COLUMN_INTEGER},
#define SG_REAL_COLUMN(name, unit, meaning) {#name, unit, meaning, SG_COLUMN_REAL},
    SG_SIMULATE_COLUMNS(SG_TEXT_COLUMN, SG_INTEGER_COLUMN, SG_REAL_COLUMN)};
enum { COLUMNS = sizeof columns / sizeof *columns, FIRST_REAL = 5 };

const sg_column_info *sg_simulate_column(size_t index)
{
    return index < COLUMNS ? &columns[index] : NULL;
}

size_t sg_simulate_threads(const sg_config *config)
{
#ifdef _OPENMP
    return config->run.threads > 0 ? (size_t)config->run.threads : (size_t)omp_get_max_threads();
#else
    (void)config;
    return 1;
#endif
}

/* What the threads of one simulation share. */
struct work {
    const sg_config *config;
    const sg_simulate_callbacks *callbacks;
    const double *prior_logits;
    sg_task task;
    size_t arms, seeds;
    sg_finished *finished; /* [seeds][arms] */
    bool measured;
    sg_dispersion *statistics; /* [arms]; NULL unless measured */
    const sg_checkpoint_options *options;
    sg_checkpoint *checkpoint; /* NULL: none */
    char backend[SG_BACKEND_NAME];
    double steps_done, steps_total; /* inside critical(sg_simulate) */
    sg_status status;               /* the first failure, likewise */
    sg_error error;
};

static bool is_cancelled(const struct work *work)
{
    return work->callbacks != NULL && work->callbacks->cancel != NULL && *work->callbacks->cancel;
}

static void advance(struct work *work, double steps)
{
#pragma omp critical(sg_simulate)
    {
        work->steps_done += steps;
        if (work->callbacks != NULL && work->callbacks->progress != NULL)
            work->callbacks->progress(work->callbacks->context,
                                      work->steps_done / work->steps_total);
    }
}

static void fail(struct work *work, sg_status status, const sg_error *error)
{
#pragma omp critical(sg_simulate)
    if (work->status == SG_OK) {
        work->status = status;
        work->error = *error;
    }
}

static bool has_failed(struct work *work)
{
    sg_status status;
#pragma omp critical(sg_simulate)
    status = work->status;
    return status != SG_OK;
}

static sg_status take_step(sg_run *run, bool *alive, sg_error *error)
{
    size_t parts = (size_t)run->config->update.minibatches;
    size_t steps = parts * (size_t)run->config->update.epochs; /* of a rollout */
    size_t rollout = run->step / steps, at = run->step % steps;
    sg_status status = at == 0 ? sg_run_rollout(run, rollout, error) : SG_OK;
    if (status != SG_OK)
        return status;
    if (at % parts == 0)
        sg_run_shuffle(run, rollout, at / parts);
    return sg_run_step(run, rollout, ++run->step, at % parts, alive, error);
}

/* The gradient steps that a run still has before it. SG_EINTERRUPTED when it was cancelled on the
 * way. */
static sg_status train(struct work *work, size_t index, sg_run *run, sg_error *error)
{
    size_t steps = (size_t)work->config->run.steps, reported = run->step;
    size_t stride = steps / 200 + 1; /* steps between two reports of progress */
    bool alive = true;
    sg_status status = SG_OK;
    while (run->step < steps && alive && status == SG_OK) {
        bool stop = is_cancelled(work);
        if (work->checkpoint != NULL && run->step > 0)
            status = sg_checkpoint_keep(work->checkpoint, index, run, stop, error);
        if (stop && status == SG_OK)
            return sg_fail(error, SG_EINTERRUPTED, "the simulation was interrupted");
        if (status == SG_OK)
            status = take_step(run, &alive, error);
        if (run->step - reported >= stride) {
            advance(work, (double)(run->step - reported));
            reported = run->step;
        }
    }
    if (status == SG_OK)
        advance(work, (double)(steps - reported)); /* a run that ended early counts as done */
    return status;
}

static sg_status keep_finished(struct work *work, size_t index, sg_run *run, sg_error *error)
{
    sg_finished over = {run->records, run->record_count, run->ended_early, run->start_steps};
    run->records = NULL;
    if (work->measured && work->checkpoint == NULL) {
#pragma omp critical(sg_statistics)
        sg_dispersion_merge(&work->statistics[index % work->arms], run->statistics);
    }
    if (index == 0) {
#pragma omp critical(sg_checkpoint)
        snprintf(work->backend, sizeof work->backend, "%s",
                 run->policy->methods->backend(run->policy));
    }
    if (work->checkpoint != NULL)
        return sg_checkpoint_finish_run(work->checkpoint, index, over, run->statistics, error);
    work->finished[index] = over;
    return SG_OK;
}

/* Run number `index`, seed by seed, so that an interruption leaves whole seeds. */
static void do_run(struct work *work, size_t index)
{
    sg_run run;
    sg_error error;
    size_t arm = index % work->arms;
    uint64_t seed = (uint64_t)work->config->run.seed + index / work->arms;
    if (work->finished[index].records != NULL) { /* by an earlier process */
        advance(work, (double)work->config->run.steps);
        return;
    }
    sg_status status =
        sg_run_init(&run, work->config, &work->task, work->prior_logits, arm, seed, &error);
    if (status == SG_OK) {
        if (work->measured)
            status = sg_statistics_start(&run, work->config, index / work->arms, &error);
        if (status == SG_OK && work->checkpoint != NULL)
            status = sg_checkpoint_continue(work->checkpoint, index, &run, &error);
        if (status == SG_OK && run.step > 0)
            advance(work, (double)run.step);
        if (status == SG_OK)
            status = train(work, index, &run, &error);
        if (status == SG_OK)
            status = keep_finished(work, index, &run, &error);
        sg_run_clear(&run);
    }
    if (status != SG_OK)
        fail(work, status, &error);
}

static void do_all_runs(struct work *work)
{
    size_t runs = work->arms * work->seeds, threads = sg_simulate_threads(work->config);
    bool outside = runs >= threads; /* one run a thread, or all threads inside each run */
#ifdef _OPENMP
    int before = omp_get_max_threads();
    omp_set_num_threads((int)threads);
#endif
#pragma omp parallel for schedule(dynamic, 1) if (outside)
    for (size_t i = 0; i < runs; i++) {
        if (!has_failed(work))
            do_run(work, i);
    }
#ifdef _OPENMP
    omp_set_num_threads(before);
#endif
    (void)outside;
}

static sg_status add_run(sg_table *table, const struct work *work, size_t arm, size_t seed,
                         sg_error *error)
{
    const sg_finished *finished = &work->finished[seed * work->arms + arm];
    const sg_objective *objective = &work->config->update.objectives[arm];
    char parameters[512];
    sg_config_arm_parameters(work->config, arm, true, parameters, sizeof parameters);
    size_t first = sg_table_rows(table);
    sg_status status = sg_table_add_rows(table, finished->count, error);
    for (size_t i = 0; i < finished->count && status == SG_OK; i++) {
        const sg_record *record = &finished->records[i];
        size_t row = first + i;
        status = sg_table_set_text(table, 0, row, objective->method->name, error);
        if (status == SG_OK)
            status = sg_table_set_text(table, 1, row, parameters, error);
        sg_table_set_integer(table, 2, row, work->config->run.seed + (int64_t)seed);
        sg_table_set_integer(table, 3, row, record->rollout);
        sg_table_set_integer(table, 4, row, record->step);
        const double *value = (const double *)&record->value;
        for (size_t c = FIRST_REAL; c < COLUMNS; c++)
            sg_table_set_real(table, c, row, value[c - FIRST_REAL]);
    }
    return status;
}

struct metadata {
    sg_table *table;
    sg_status status;
    sg_error *error;
};

static void set_meta(void *context, const char *key, const char *value)
{
    struct metadata *meta = context;
    bool counts = strcmp(key, "run.threads") != 0; /* results do not depend on it */
    if (meta->status == SG_OK && counts)
        meta->status = sg_table_set_meta(meta->table, key, value, meta->error);
}

static void set_real_meta(struct metadata *meta, const char *key, double value)
{
    char text[32];
    set_meta(meta, key, sg_format_real(value, text));
}

/* The configuration, what the start looks like, and how the runs ended. */
static sg_status describe(sg_table *table, const struct work *work, const sg_prior_summary *prior,
                          sg_error *error)
{
    struct metadata meta = {table, SG_OK, error};
    size_t early = 0, finished = 0, start = 0;
    for (size_t i = 0; i < work->arms * work->seeds; i++) {
        finished += work->finished[i].records != NULL;
        early += work->finished[i].ended_early;
        start = work->finished[i].start_steps > start ? work->finished[i].start_steps : start;
    }
    set_meta(&meta, "table", "simulate");
    set_meta(&meta, "backend", work->backend);
    sg_config_visit(work->config, set_meta, &meta);
    set_real_meta(&meta, "prior.tail_mass", prior->tail_mass);
    set_real_meta(&meta, "prior.collision", prior->collision);
    set_real_meta(&meta, "prior.head_entropy", prior->head_entropy);
    set_real_meta(&meta, "prior.entropy", prior->entropy);
    set_real_meta(&meta, "runs", (double)finished);
    set_real_meta(&meta, "ended_early", (double)early);
    if (work->config->start.success > 0)
        set_real_meta(&meta, "start_steps_max", (double)start);
    return meta.status;
}

static sg_status make_table(sg_table **result, const struct work *work,
                            const sg_prior_summary *prior, sg_error *error)
{
    sg_table *table = sg_table_alloc();
    sg_status status = SG_OK;
    if (table == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for the table of the simulation");
    for (size_t c = 0; c < COLUMNS && status == SG_OK; c++)
        status = sg_table_add_column(table, columns[c].name, columns[c].type, error);
    if (status == SG_OK)
        status = describe(table, work, prior, error);
    for (size_t arm = 0; arm < work->arms; arm++) {
        for (size_t seed = 0; seed < work->seeds && status == SG_OK; seed++)
            status = add_run(table, work, arm, seed, error);
    }
    if (status == SG_OK)
        *result = table;
    else
        sg_table_free(table);
    return status;
}

/* All runs and their table. */
static sg_status simulate(struct work *work, const sg_prior_summary *prior, sg_table **table,
                          sg_error *error)
{
    do_all_runs(work);
    sg_status status = work->status;
    if (status != SG_OK)
        sg_fail(error, status, "%s", work->error.message);
    /* A lost device is an interruption, too. */
    if (status != SG_OK && status != SG_EINTERRUPTED && status != SG_ETOOL)
        return status;
    sg_error why;
    sg_status later = SG_OK;
    if (work->checkpoint != NULL)
        later = sg_checkpoint_write(work->checkpoint, &why);
    if (later == SG_OK)
        later = make_table(table, work, prior, &why);
    return later != SG_OK ? sg_fail(error, later, "%s", why.message) : status;
}

/* Also after an interruption; then of the runs that had finished. */
static sg_status tell_statistics(const struct work *work, sg_status status, sg_table **table,
                                 sg_table **statistics, sg_error *error)
{
    sg_error why;
    if (!work->measured || *table == NULL)
        return status;
    sg_status later = sg_statistics_table(work->statistics, work->config, statistics, &why);
    if (later == SG_OK)
        return status;
    sg_table_free(*table);
    *table = NULL;
    return sg_fail(error, later, "%s", why.message);
}

static sg_status prepare(struct work *work, const sg_prior_summary *prior, sg_table **table,
                         sg_table **statistics, sg_error *error)
{
    size_t runs = work->arms * work->seeds;
    sg_status status = SG_OK;
    work->finished = calloc(runs, sizeof *work->finished);
    if (work->finished == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for %zu runs", runs);
    work->steps_total = (double)runs * (double)work->config->run.steps;
    if (work->measured)
        status = sg_statistics_alloc(&work->statistics, work->config, error);
    if (status == SG_OK && work->options != NULL)
        status = sg_checkpoint_start(&work->checkpoint, work->options, work->config, runs,
                                     work->finished, work->backend, work->statistics,
                                     work->measured ? work->arms : 0, error);
    if (status == SG_OK) {
        status = simulate(work, prior, table, error);
        status = tell_statistics(work, status, table, statistics, error);
    }
    sg_statistics_free(work->statistics, work->config);
    sg_checkpoint_free(work->checkpoint);
    for (size_t i = 0; i < runs; i++)
        free(work->finished[i].records);
    free(work->finished);
    return status;
}

/* checkpoint and statistics may be NULL. */
static sg_status run_all(const sg_config *config, const sg_simulate_callbacks *callbacks,
                         const sg_checkpoint_options *checkpoint, sg_table **table,
                         sg_table **statistics, sg_error *error)
{
    *table = NULL;
    if (statistics != NULL)
        *statistics = NULL;
    sg_status status = sg_config_check(config, error);
    if (status != SG_OK)
        return status;
    sg_prior prior = sg_config_prior(config);
    double *logits = malloc(prior.vocabulary * sizeof *logits);
    if (logits == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for %zu logits", prior.vocabulary);
    sg_prior_logits(&prior, logits);
    sg_prior_summary summary = sg_prior_summarize(&prior, logits);
    struct work work = {.config = config,
                        .callbacks = callbacks,
                        .options = checkpoint,
                        .measured = statistics != NULL,
                        .prior_logits = logits,
                        .arms = config->update.objective_count,
                        .seeds = (size_t)config->run.seeds};
    status = sg_task_init(&work.task, config, logits, error);
    if (status == SG_OK)
        status = prepare(&work, &summary, table, statistics, error);
    sg_task_clear(&work.task);
    free(logits);
    return status;
}

sg_status sg_simulate(const sg_config *config, const sg_simulate_callbacks *callbacks,
                      sg_table **table, sg_error *error)
{
    return run_all(config, callbacks, NULL, table, NULL, error);
}

sg_status sg_simulate_checkpointed(const sg_config *config, const sg_simulate_callbacks *callbacks,
                                   const sg_checkpoint_options *checkpoint, sg_table **table,
                                   sg_error *error)
{
    return run_all(config, callbacks, checkpoint, table, NULL, error);
}

sg_status sg_simulate_measured(const sg_config *config, const sg_simulate_callbacks *callbacks,
                               const sg_checkpoint_options *checkpoint, sg_table **table,
                               sg_table **statistics, sg_error *error)
{
    return run_all(config, callbacks, checkpoint, table, statistics, error);
}
