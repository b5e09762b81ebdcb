/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/build_info.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/say.h"
#include "sim/simulate.h"

typedef struct simulate_options {
    cli_list set;
    bool print_config, columns, resume;
    const char *checkpoint, *statistics;
    double checkpoint_every;
} simulate_options;

static const simulate_options defaults = {.checkpoint_every = 5};

#define PLACE(field) .offset = offsetof(simulate_options, field)

static const cli_option options[] = {
    {.name = "set",
     .kind = CLI_LIST,
     .value = "KEY=VALUE",
     .help = "replace a value of the experiment, such as run.seeds=4",
     PLACE(set)},
    {.name = "print-config",
     .kind = CLI_FLAG,
     .help =
         "print the experiment with every key, its value and meaning, and do not run it; without "
         "EXPERIMENT the defaults",
     PLACE(print_config)},
    {.name = "columns",
     .kind = CLI_FLAG,
     .help = "explain the columns of the result instead",
     PLACE(columns)},
    {.name = "statistics",
     .kind = CLI_TEXT,
     .value = "FILE",
     .help = "also count ratios, and the variance of the log-ratio in a response, over all "
             "minibatches into FILE: 'softgate figure R2 --runs FILE' draws it",
     .neutral = true,
     PLACE(statistics)},
    {.name = "checkpoint",
     .kind = CLI_TEXT,
     .value = "FILE",
     .help = "keep the state of all runs in FILE, so that a killed simulation can go on; FILE is "
             "removed when the table is written",
     .neutral = true,
     PLACE(checkpoint)},
    {.name = "checkpoint-every",
     .kind = CLI_REAL,
     .value = "SECONDS",
     .min = 0,
     .max = 1e9,
     .help = "how much work may be lost; 0 keeps every gradient step",
     .neutral = true,
     PLACE(checkpoint_every)},
    {.name = "resume",
     .kind = CLI_FLAG,
     .help = "go on from the file of --checkpoint; the table is the same to the byte as without an "
             "interruption",
     .neutral = true,
     PLACE(resume)},
    {.name = NULL},
};

static const cli_example examples[] = {
    {"softgate simulate --print-config > experiment.yaml", "start from the defaults"},
    {"softgate simulate experiment.yaml -o runs.csv", "run it"},
    {"softgate simulate experiment.yaml --set policy.vocabulary=1000 --set run.steps=100 "
     "--set 'update.objectives=[sapo, grpo, gspo]' -o quick.csv",
     "a smaller one, without a change to the file"},
    {"softgate simulate experiment.yaml -o runs.csv --checkpoint runs.state", "safe from a crash"},
    {"softgate simulate experiment.yaml -o runs.csv --statistics rows.csv",
     "with the numbers behind figure R2"},
    {NULL, NULL},
};

static int read_config(sg_config *config, const cli_call *call)
{
    const simulate_options *own = call->options;
    sg_error error;
    sg_config_init(config);
    if (call->operands.count > 0 &&
        sg_config_read(config, call->operands.items[0], &error) != SG_OK)
        return cli_report(&error);
    for (size_t i = 0; i < own->set.count; i++)
        if (sg_config_set(config, own->set.items[i], &error) != SG_OK)
            return cli_report(&error);
    if (call->common.seed != CLI_ABSENT)
        config->run.seed = call->common.seed;
    if (call->common.threads != CLI_ABSENT)
        config->run.threads = call->common.threads;
    if (cli_backend(call) != SG_BACKEND_AUTO)
        config->run.backend = cli_backend(call);
    return CLI_EXIT_DONE;
}

static int print_config(const sg_config *config)
{
    sg_text yaml = {0};
    sg_config_print(config, &yaml);
    int code = yaml.failed ? cli_fail(SG_ENOMEM, "not enough memory to print the experiment") : 0;
    if (!code && fputs(yaml.data, stdout) == EOF)
        code = cli_fail(SG_EIO, "cannot write to standard output: %s", strerror(errno));
    sg_text_free(&yaml);
    return code;
}

static sg_status list_columns(sg_table *table, sg_error *error)
{
    static const char *const names[] = {"column", "unit", "meaning"};
    sg_status status = SG_OK;
    for (size_t i = 0; i < 3 && !status; i++)
        status = sg_table_add_column(table, names[i], SG_COLUMN_TEXT, error);
    for (size_t row = 0; sg_simulate_column(row) && !status; row++) {
        const sg_column_info *column = sg_simulate_column(row);
        const char *const cells[] = {column->name, column->unit, column->meaning};
        status = sg_table_add_rows(table, 1, error);
        for (size_t i = 0; i < 3 && !status; i++)
            status = sg_table_set_text(table, i, row, cells[i], error);
    }
    return status;
}

static int explain_columns(const cli_call *call)
{
    sg_error error = {SG_ENOMEM, ""};
    sg_table *table = sg_table_alloc();
    int code =
        !table || list_columns(table, &error) ? cli_report(&error) : cli_write_table(call, table);
    sg_table_free(table);
    return code;
}

typedef struct watch {
    cli_progress progress;
    double steps; /* of all runs */
} watch;

static void on_progress(void *context, double fraction)
{
    watch *seen = context;
    cli_progress_update(&seen->progress, fraction * seen->steps, seen->steps);
}

static sg_status stamp(sg_table *table, const sg_config *config, bool complete, sg_error *error)
{
    const char *precision = config->policy.precision == SG_FP64 ? "fp64" : "fp32";
    char seed[32];
    snprintf(seed, sizeof seed, "%lld", (long long)config->run.seed);
    sg_status status = sg_table_set_meta(table, "precision", precision, error);
    if (!status)
        status = sg_table_set_meta(table, "seed", seed, error);
    if (!status && !complete)
        status = sg_table_set_meta(table, "interrupted", "yes", error);
    return status;
}

/* Interrupted, the runs that had finished are still written. */
static int run_experiment(const cli_call *call, const sg_config *config)
{
    const simulate_options *own = call->options;
    sg_error error = {0}, stamp_error;
    sg_table *table = NULL, *statistics = NULL;
    watch seen = {
        .progress = cli_progress_start(call, "steps"),
        .steps = (double)config->update.objective_count * (double)config->run.seeds *
                 (double)config->run.steps,
    };
    sg_simulate_callbacks callbacks = {on_progress, &seen, cli_interrupt_flag()};
    char version[64];
    snprintf(version, sizeof version, "%s (%s)", cli_version, cli_git_hash);
    const sg_checkpoint_options options_of_checkpoint = {own->checkpoint, own->checkpoint_every,
                                                         own->resume, version};
    const sg_checkpoint_options *checkpoint = own->checkpoint ? &options_of_checkpoint : NULL;
    cli_interrupt_defer();
    sg_status status =
        own->statistics
            ? sg_simulate_measured(config, &callbacks, checkpoint, &table, &statistics, &error)
            : sg_simulate_checkpointed(config, &callbacks, checkpoint, &table, &error);
    cli_progress_end(&seen.progress);
    int code = status ? cli_report(&error) : CLI_EXIT_DONE;
    if (table && (!status || sg_table_rows(table) > 0)) {
        int written = stamp(table, config, !status, &stamp_error) ? cli_report(&stamp_error)
                                                                  : cli_write_table(call, table);
        code = code ? code : written;
        if (statistics && !written) {
            written = stamp(statistics, config, !status, &stamp_error)
                          ? cli_report(&stamp_error)
                          : cli_write_file(call, statistics, own->statistics);
            code = code ? code : written;
        }
    }
    sg_table_free(statistics);
    if (own->checkpoint && (status == SG_EINTERRUPTED || status == SG_ETOOL))
        cli_note("%s holds what was done; --resume goes on from there", own->checkpoint);
    else if (own->checkpoint && !code)
        unlink(own->checkpoint);
    const char *ended = table ? sg_table_meta(table, "ended_early") : NULL;
    if (ended && *ended && *ended != '0')
        cli_note("%s runs ended early, because their numbers were no longer finite", ended);
    sg_table_free(table);
    return code;
}

static int run(const cli_call *call)
{
    const simulate_options *own = call->options;
    sg_config config;
    sg_error error;
    if (own->columns)
        return explain_columns(call);
    if (call->operands.count == 0 && !own->print_config)
        return cli_fail(SG_EARGUMENT, "simulate needs an experiment: softgate simulate "
                                      "EXPERIMENT.yaml; 'softgate simulate --print-config' prints "
                                      "one to start from");
    if (own->resume && !own->checkpoint)
        return cli_fail(SG_EARGUMENT, "--resume needs the file to go on from: --checkpoint FILE");
    if (own->statistics && cli_is_stdout(own->statistics))
        return cli_fail(SG_EARGUMENT, "--statistics needs a file: --statistics rows.csv");
    int code = read_config(&config, call);
    if (!code && sg_config_check(&config, &error) != SG_OK)
        code = cli_report(&error);
    if (!code && !own->print_config)
        code = cli_check_output(call);
    if (!code && !own->print_config)
        code = cli_check_file(own->statistics);
    if (code)
        return code;
    return own->print_config ? print_config(&config) : run_experiment(call, &config);
}

const cli_command cli_simulate = {
    .name = "simulate",
    .summary = "train toy policies under objectives and record what happens",
    .operands = "EXPERIMENT.yaml",
    .max_operands = 1,
    .description =
        "Trains toy policies with vocabularies of up to a million tokens (a table of softmax "
        "rows, a tree of prefixes, or a net, dense or with experts) by policy gradients, once for "
        "each objective and seed of the experiment, and writes a row per gradient step with exact "
        "observables: reward, entropy, mass of the tail, ratios, clipped share, gradient, push on "
        "unsampled tokens. Objectives that are compared share their random numbers.\n\n"
        "EXPERIMENT.yaml may be -, standard input. The table depends on the experiment and the "
        "seed alone, not on threads or processor. "
        "Ctrl-C stops in good order and keeps the runs that had finished. With --checkpoint even a "
        "kill or a power cut loses a few seconds only: the same command with --resume goes on.",
    .options = options,
    .defaults = &defaults,
    .size = sizeof(simulate_options),
    .groups = CLI_TALK | CLI_OUTPUT | CLI_COMPUTE | CLI_DEVICE | CLI_LONG,
    .examples = examples,
    .run = run,
};
