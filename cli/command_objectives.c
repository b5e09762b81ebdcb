/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/say.h"
#include "cli/specs.h"
#include "objective/objective.h"

typedef struct objectives_options {
    bool parameters;
} objectives_options;

static const cli_option options[] = {
    {.name = "parameters",
     .kind = CLI_FLAG,
     .help = "list their parameters instead: default, range, names in trainers, meaning",
     .offset = offsetof(objectives_options, parameters)},
    {.name = NULL},
};

static const cli_example examples[] = {
    {"softgate objectives", "all objectives"},
    {"softgate objectives sapo --parameters", "what SAPO can be given"},
    {"softgate objectives --format json", "formulas, papers and aliases, for programs"},
    {NULL, NULL},
};

/* Appends a row of text cells. */
static sg_status add_row(sg_table *table, const char *const *cells, size_t count, sg_error *error)
{
    size_t row = sg_table_rows(table);
    sg_status status = sg_table_add_rows(table, 1, error);
    for (size_t i = 0; i < count && !status; i++)
        status = sg_table_set_text(table, i, row, cells[i], error);
    return status;
}

static sg_status add_columns(sg_table *table, const char *const *names, size_t count,
                             sg_error *error)
{
    sg_status status = SG_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = sg_table_add_column(table, names[i], SG_COLUMN_TEXT, error);
    return status;
}

static sg_status list_methods(sg_table *table, const sg_method *const *methods, size_t count,
                              bool brief, sg_error *error)
{
    /* A terminal gets the columns that fit on it. */
    static const char *const names[] = {"objective", "level",   "parameters", "paper",  "aggregate",
                                        "levels",    "aliases", "title",      "formula"};
    size_t columns = brief ? 4 : sizeof names / sizeof *names;
    sg_status status = add_columns(table, names, columns, error);
    for (size_t i = 0; i < count && !status; i++) {
        const sg_method *method = methods[i];
        const char *const cells[] = {method->name,
                                     sg_level_name(method->level),
                                     method->parameters,
                                     method->paper,
                                     sg_aggregate_name(method->aggregate),
                                     method->levels,
                                     method->aliases,
                                     method->title,
                                     method->formula};
        status = add_row(table, cells, columns, error);
    }
    return status;
}

static sg_status list_parameters(sg_table *table, const sg_method *const *methods, size_t count,
                                 sg_error *error)
{
    static const char *const names[] = {"objective", "parameter", "default",
                                        "range",     "meaning",   "aliases"};
    enum { COLUMNS = sizeof names / sizeof *names };
    sg_status status = add_columns(table, names, COLUMNS, error);
    for (size_t i = 0; i < count && !status; i++) {
        char list[256], *rest = NULL;
        snprintf(list, sizeof list, "%s", methods[i]->parameters);
        for (char *item = strtok_r(list, ",", &rest); item && !status;
             item = strtok_r(NULL, ",", &rest)) {
            char *value = strchr(item, '=');
            *value++ = '\0';
            const sg_parameter_info *info = sg_parameter_find(item);
            const char *const cells[] = {methods[i]->name, item,          value,
                                         info->range,      info->meaning, info->aliases};
            status = add_row(table, cells, COLUMNS, error);
        }
    }
    return status;
}

enum { METHODS_MAX = 128 };

/* The methods that the operands name, all of them without operands. */
static int choose(const cli_call *call, const sg_method **methods, size_t *count)
{
    for (*count = 0; call->operands.count == 0 && *count < sg_method_count(); ++*count)
        methods[*count] = sg_method_at(*count);
    for (size_t i = 0; i < call->operands.count && i < METHODS_MAX; i++) {
        sg_objective objective;
        sg_error error;
        if (sg_objective_parse(&objective, call->operands.items[i], &error) != SG_OK)
            return cli_report(&error);
        methods[(*count)++] = objective.method;
    }
    return CLI_EXIT_DONE;
}

static int run(const cli_call *call)
{
    const objectives_options *own = call->options;
    const sg_method *methods[METHODS_MAX];
    size_t count;
    int code = choose(call, methods, &count);
    if (code)
        return code;
    sg_error error = {SG_ENOMEM, ""};
    sg_table *table = sg_table_alloc();
    bool brief = cli_output_format(call) == SG_FORMAT_TABLE;
    if (!table || (own->parameters ? list_parameters(table, methods, count, &error)
                                   : list_methods(table, methods, count, brief, &error)))
        code = cli_report(&error);
    else
        code = cli_write_table(call, table);
    sg_table_free(table);
    return code;
}

const cli_command cli_objectives_command = {
    .name = "objectives",
    .summary = "list the objectives, their parameters and papers",
    .operands = "[NAME...]",
    .max_operands = METHODS_MAX,
    .word = cli_specs_word,
    .description =
        "Lists the policy objectives that softgate knows, or those that are named. Every other "
        "command takes an objective as SPEC: its name, then parameters that differ from their "
        "defaults, such as sapo:tau_neg=1.1 or grpo:eps_high=0.28,dual_clip=3. Names that trainers "
        "use are understood too.\n\n"
        "Columns: objective, level, parameters (with defaults), paper; in csv, json and npz also "
        "aggregate, levels, aliases, title, formula.",
    .options = options,
    .size = sizeof(objectives_options),
    .groups = CLI_TALK | CLI_OUTPUT,
    .examples = examples,
    .run = run,
};
