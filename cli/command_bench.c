/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdio.h>

#include "cli/bench.h"
#include "cli/commands.h"
#include "cli/json_line.h"
#include "cli/output.h"
#include "cli/say.h"

typedef struct bench_command_options {
    bool list, small;
    int64_t repetitions;
} bench_command_options;

#define PLACE(field) .offset = offsetof(bench_command_options, field)

static const cli_option options[] = {
    {.name = "repetitions",
     .kind = CLI_INTEGER,
     .value = "N",
     .min = 7,
     .max = 100000,
     .help = "how often each workload is timed",
     PLACE(repetitions)},
    {.name = "small",
     .kind = CLI_FLAG,
     .help = "divide the sizes by 16, to see whether everything runs",
     PLACE(small)},
    {.name = "list", .kind = CLI_FLAG, .help = "list the workloads instead", PLACE(list)},
    {.name = NULL},
};

static const bench_command_options defaults = {.repetitions = 15};

static const cli_example examples[] = {
    {"softgate bench", "everything"},
    {"softgate bench W1 W2.step --format json", "two workloads, for programs"},
    {"softgate bench --small", "a quick look"},
    {"softgate bench --backend cuda", "on a GPU, beside what its memory does"},
    {NULL, NULL},
};

static const char *workload_word(size_t index)
{
    return bench_names[index];
}

/* One array of flat objects, which json.load and pandas.read_json take as they are. What does not apply
 * to a workload (flop of a copy) is left out. */
static int print_json(const sg_table *table)
{
    puts("[");
    for (size_t row = 0; row < sg_table_rows(table); row++) {
        json_line line = {0};
        for (size_t column = 0; column < sg_table_columns(table); column++) {
            const char *name = sg_table_column_name(table, column);
            if (sg_table_column_type(table, column) == SG_COLUMN_TEXT)
                json_line_text(&line, name, sg_table_get_text(table, column, row));
            else if (!isnan(sg_table_get_number(table, column, row)))
                json_line_real(&line, name, sg_table_get_number(table, column, row));
        }
        json_line_print(&line, row + 1 < sg_table_rows(table) ? "," : "");
    }
    puts("]");
    return CLI_EXIT_DONE;
}

static int list_workloads(void)
{
    for (size_t i = 0; bench_names[i]; i++)
        puts(bench_names[i]);
    return CLI_EXIT_DONE;
}

static int run(const cli_call *call)
{
    const bench_command_options *own = call->options;
    if (own->list)
        return list_workloads();
    bench_options bench = {
        .small = own->small, .repetitions = (int)own->repetitions, .backend = cli_backend(call)};
    sg_table *table = NULL;
    sg_error error;
    int code = cli_check_output(call);
    if (code)
        return code;
    const char *where = bench.backend == SG_BACKEND_CUDA ? "cuda" : "cpu";
    sg_status status =
        bench_run(call->operands.items, call->operands.count, &bench, &table, &error);
    if (status == SG_OK)
        status = sg_table_set_meta(table, "backend", where, &error);
    if (status == SG_OK)
        status = sg_table_set_meta(table, "precision", "fp32; light rows fp64", &error);
    if (status != SG_OK) {
        sg_table_free(table);
        return cli_report(&error);
    }
    bool to_stdout = cli_is_stdout(call->common.output);
    if (to_stdout && cli_output_format(call) == SG_FORMAT_JSON)
        code = print_json(table);
    else
        code = cli_write_table(call, table);
    sg_table_free(table);
    return code;
}

const cli_command cli_bench = {
    .name = "bench",
    .summary = "measure how fast this machine computes, beside its own limits",
    .operands = "[WORKLOAD...]",
    .max_operands = SIZE_MAX,
    .word = workload_word,
    .description =
        "Times the hot loops. Each workload is first checked against double precision; then it is "
        "timed in the same process as a plain copy of memory (or a product of small matrices), and "
        "`fraction` is its speed over that of the copy. W1 are gates over ten million ratios, W2 "
        "updates of a policy with 64 states of 131072 tokens (W2.light: at a cost that does not "
        "grow "
        "with the vocabulary), W3 the output layer of a network, W4 a sweep of 4096 bandits; a "
        "name "
        "such as W2 stands for all of W2. With --backend cuda the device's own clock times the "
        "workloads that it has, beside what its memory does; names that end in .tf32 or .bf16 are "
        "products on tensor cores, which need cuBLASLt.\n\n"
        "With --format json standard output gets one array with an object per workload.",
    .options = options,
    .defaults = &defaults,
    .size = sizeof defaults,
    .groups = CLI_TALK | CLI_OUTPUT | CLI_COMPUTE | CLI_DEVICE,
    .examples = examples,
    .run = run,
};
