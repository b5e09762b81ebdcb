/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/say.h"
#include "cli/specs.h"
#include "curve/curve.h"

typedef struct curve_options {
    cli_list objective;
    const char *advantage;
    const char *ratio, *log_ratio;
    double logp_old;
} curve_options;

#define PLACE(field) .offset = offsetof(curve_options, field)

static const cli_option options[] = {
    {.name = "objective",
     .kind = CLI_LIST,
     .value = "SPEC",
     .help = "objective, as name[:key=value,...]; the same as SPEC without --objective",
     PLACE(objective)},
    {.name = "advantage",
     .kind = CLI_TEXT,
     .value = "LIST",
     .help = "advantages, separated by commas",
     PLACE(advantage)},
    {.name = "ratio",
     .kind = CLI_TEXT,
     .value = "LO:HI:N",
     .help = "N ratios, evenly from LO to HI (default 0:5:1001)",
     PLACE(ratio)},
    {.name = "log-ratio",
     .kind = CLI_TEXT,
     .value = "LO:HI:N",
     .help = "N ratios whose logarithms are evenly from LO to HI",
     PLACE(log_ratio)},
    {.name = "logp-old",
     .kind = CLI_REAL,
     .value = "X",
     .min = -1e6,
     .max = 0,
     .help = "log-probability of the token under the old policy; only dppo-tv and dppo-kl look at it",
     PLACE(logp_old)},
    {.name = NULL},
};

static const curve_options defaults = {.advantage = "1,-1", .logp_old = -1};

static const cli_example examples[] = {
    {"softgate curve sapo grpo gspo --ratio 0:5:11", "three methods side by side"},
    {"softgate curve --objective sapo:tau_pos=1,tau_neg=1.05 --log-ratio -4:4:801 -o sapo.csv",
     "SAPO on a logarithmic grid, into a file"},
    {"softgate curve grpo:eps_low=0.2,eps_high=0.28 --advantage -1 --format json",
     "clip-higher where the advantage is negative, as JSON"},
    {NULL, NULL},
};

static int parse_grid(sg_grid *grid, const curve_options *own)
{
    sg_error error;
    if (own->ratio && own->log_ratio)
        return cli_fail(SG_EARGUMENT, "give either --ratio or --log-ratio, not both");
    const char *text = own->log_ratio ? own->log_ratio : own->ratio ? own->ratio : "0:5:1001";
    if (sg_grid_parse(grid, text, own->log_ratio != NULL, &error) != SG_OK)
        return cli_report(&error);
    return CLI_EXIT_DONE;
}

static int write_curve(const cli_call *call, const cli_objectives *objectives,
                       const double *advantages, size_t advantage_count, sg_grid grid)
{
    const curve_options *own = call->options;
    sg_table *table = NULL;
    sg_error error;
    int code;
    if (sg_curve(&table, objectives->items, objectives->count, advantages, advantage_count, grid,
                 own->logp_old, &error) != SG_OK ||
        cli_specs_stamp(objectives, table, &error) != SG_OK)
        code = cli_report(&error);
    else
        code = cli_write_table(call, table);
    sg_table_free(table);
    return code;
}

static int run(const cli_call *call)
{
    const curve_options *own = call->options;
    cli_objectives objectives = {0};
    double *advantages = NULL;
    size_t advantage_count = 0;
    sg_grid grid = {0};
    int code = cli_specs_parse(&objectives, call, &own->objective, 0);
    if (!code)
        code = cli_numbers_parse(&advantages, &advantage_count, "--advantage", own->advantage);
    if (!code)
        code = parse_grid(&grid, own);
    if (!code)
        code = write_curve(call, &objectives, advantages, advantage_count, grid);
    free(advantages);
    free(objectives.items);
    return code;
}

const cli_command cli_curve = {
    .name = "curve",
    .summary = "tabulate objectives over a grid of probability ratios",
    .operands = "SPEC...",
    .max_operands = SIZE_MAX,
    .word = cli_specs_word,
    .description =
        "Tabulates objectives over a grid of probability ratios r = pi_new / pi_old: the surrogate "
        "f(r), its derivative the weight w = df/dr, and the coefficient c = r w, which is what "
        "multiplies advantage * grad log pi and so what the optimiser sees. For sequence-level "
        "methods the ratio is that of the sequence.\n\n"
        "Columns: objective, params, advantage, ratio, log_ratio, surrogate, weight, coefficient. "
        "Read them with pandas.read_csv(file, comment=\"#\").",
    .options = options,
    .defaults = &defaults,
    .size = sizeof defaults,
    .groups = CLI_TALK | CLI_OUTPUT | CLI_COMPUTE,
    .examples = examples,
    .run = run,
};
