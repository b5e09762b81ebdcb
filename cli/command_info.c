/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <cyaml/cyaml.h>
#include <gsl/gsl_version.h>
#include <json-c/json_c_version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>
#include <zlib.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "backend/cuda/device.h"
#include "cli/build_info.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/say.h"
#include "plots/gnuplot.h"

enum { VALUE_SIZE = 1024 };

static const char *compiler(void)
{
#ifdef __clang__
    return __VERSION__; /* says that it is Clang */
#else
    return "gcc " __VERSION__;
#endif
}

static void openmp_words(char *buffer)
{
#ifdef _OPENMP
    snprintf(buffer, VALUE_SIZE, "yes, %d threads", omp_get_max_threads());
#else
    snprintf(buffer, VALUE_SIZE, "no, one thread");
#endif
}

/* The widest vector instructions that both the build and this processor have. */
static const char *instruction_set(void)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return "avx512";
    if (__builtin_cpu_supports("avx2"))
        return "avx2";
#endif
    return "portable";
}

/* Where on PATH a program is; false when it is nowhere. */
static bool find_program(const char *name, char *path, size_t size)
{
    for (const char *at = getenv("PATH"); at && *at;) {
        size_t length = strcspn(at, ":");
        int written = snprintf(path, size, "%.*s/%s", (int)length, at, name);
        if (length > 0 && written > 0 && (size_t)written < size && access(path, X_OK) == 0)
            return true;
        at += length + (at[length] == ':');
    }
    return false;
}

static void cuda_words(char *buffer)
{
    sg_cuda_facts facts;
    sg_error error;
    if (!sg_cuda_built())
        snprintf(buffer, VALUE_SIZE, "no");
    else if (sg_cuda_describe(&facts, &error) != SG_OK)
        snprintf(buffer, VALUE_SIZE, "for %s; %s", sg_cuda_targets(), error.message);
    else
        snprintf(buffer, VALUE_SIZE,
                 "for %s; device %d of %d in use: %s, compute capability %d.%d, %d "
                 "multiprocessors, %.1f of %.1f GB free; CUDA %d.%d, driver for %d.%d",
                 sg_cuda_targets(), facts.index, facts.count, facts.name, facts.major, facts.minor,
                 facts.multiprocessors, (double)facts.free_memory * 1e-9,
                 (double)facts.memory * 1e-9, facts.runtime_version / 1000,
                 facts.runtime_version % 1000 / 10, facts.driver_version / 1000,
                 facts.driver_version % 1000 / 10);
}

static void gnuplot_words(char *buffer)
{
    char path[256], version[128];
    sg_error error;
    if (!find_program("gnuplot", path, sizeof path))
        snprintf(buffer, VALUE_SIZE, "not found on PATH; figures need it: make setup installs it");
    else if (sg_gnuplot_version(version, sizeof version, &error) != SG_OK)
        snprintf(buffer, VALUE_SIZE, "%s, which does not work", path);
    else
        snprintf(buffer, VALUE_SIZE, "%s (%s)", version, path);
}

static sg_status add_fact(sg_table *table, const char *name, const char *value, sg_error *error)
{
    size_t row = sg_table_rows(table);
    sg_status status = sg_table_add_rows(table, 1, error);
    if (!status)
        status = sg_table_set_text(table, 0, row, name, error);
    return status ? status : sg_table_set_text(table, 1, row, value, error);
}

static sg_status collect(sg_table *table, sg_error *error)
{
    char openmp[VALUE_SIZE], cuda[VALUE_SIZE], gnuplot[VALUE_SIZE];
    openmp_words(openmp);
    cuda_words(cuda);
    gnuplot_words(gnuplot);
    const char *const facts[][2] = {
        {"softgate", cli_version},
        {"git", cli_git_hash},
        {"compiler", compiler()},
        {"openmp", openmp},
        {"instruction set", instruction_set()},
        {"cuda", cuda},
        {"mpi", "no"},
        {"gnuplot", gnuplot},
        {"gsl", gsl_version},
        {"json-c", json_c_version()},
        {"libcyaml", cyaml_version_str},
        {"libzip", zip_libzip_version()},
        {"zlib", zlibVersion()},
    };
    sg_status status = sg_table_add_column(table, "part", SG_COLUMN_TEXT, error);
    if (!status)
        status = sg_table_add_column(table, "value", SG_COLUMN_TEXT, error);
    for (size_t i = 0; !status && i < sizeof facts / sizeof *facts; i++)
        status = add_fact(table, facts[i][0], facts[i][1], error);
    return status;
}

static int run(const cli_call *call)
{
    sg_error error = {SG_ENOMEM, ""};
    sg_table *table = sg_table_alloc();
    int code = !table || collect(table, &error) ? cli_report(&error) : cli_write_table(call, table);
    sg_table_free(table);
    return code;
}

static const cli_example examples[] = {
    {"softgate info", "what to put into a bug report"},
    {"softgate info --format json", "the same for programs"},
    {NULL, NULL},
};

const cli_command cli_info = {
    .name = "info",
    .summary = "show version, compiler, libraries, instruction set, CUDA device and gnuplot",
    .operands = "",
    .description = "Shows what this softgate is and what it found on this machine: version, git "
                   "hash, compiler, libraries, threads, instruction set, CUDA, gnuplot.",
    .groups = CLI_TALK | CLI_OUTPUT,
    .examples = examples,
    .run = run,
};

static int run_version(const cli_call *call)
{
    (void)call;
    char openmp[VALUE_SIZE], gnuplot[VALUE_SIZE];
    openmp_words(openmp);
    gnuplot_words(gnuplot);
    printf("softgate %s (git %s)\nGSL %s; OpenMP: %s; CUDA: %s; MPI: no; gnuplot: %s\n",
           cli_version, cli_git_hash, gsl_version, openmp, sg_cuda_built() ? "yes" : "no", gnuplot);
    return CLI_EXIT_DONE;
}

static const cli_example version_examples[] = {
    {"softgate version", "the same as softgate -V"},
    {NULL, NULL},
};

const cli_command cli_version_command = {
    .name = "version",
    .summary = "show the version",
    .operands = "",
    .description = "Shows version, git hash and what the build can do; 'softgate info' says more.",
    .groups = CLI_TALK,
    .examples = version_examples,
    .run = run_version,
};
