/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cli/build_info.h"
#include "cli/say.h"
#include "io/atomic_file.h"
#include "io/table_io.h"

static bool set_if_absent(sg_table *table, const char *key, const char *value, sg_error *error)
{
    return sg_table_meta(table, key) || sg_table_set_meta(table, key, value, error) == SG_OK;
}

sg_status cli_stamp(const cli_call *call, sg_table *table, sg_error *error)
{
    char seed[32];
    snprintf(seed, sizeof seed, "%lld", (long long)call->common.seed);
    if (call->line.failed)
        return sg_fail(error, SG_ENOMEM, "not enough memory for the metadata");
    bool computes = call->command->groups & CLI_COMPUTE;
    if (!set_if_absent(table, "softgate", cli_version, error) ||
        !set_if_absent(table, "git", cli_git_hash, error) ||
        !set_if_absent(table, "command", call->line.data, error))
        return error->status;
    if (call->common.seed != CLI_ABSENT && !set_if_absent(table, "seed", seed, error))
        return error->status;
    if (computes && (!set_if_absent(table, "backend", "cpu", error) ||
                     !set_if_absent(table, "precision", "fp64", error)))
        return error->status;
    return SG_OK;
}

static bool ends_in(const char *path, const char *ending)
{
    size_t length = strlen(path), n = strlen(ending);
    return length > n && strcasecmp(path + length - n, ending) == 0;
}

bool cli_is_stdout(const char *path)
{
    return !path || strcmp(path, "-") == 0;
}

static sg_format format_of(const char *path)
{
    return ends_in(path, ".json")  ? SG_FORMAT_JSON
           : ends_in(path, ".npz") ? SG_FORMAT_NPZ
                                   : SG_FORMAT_CSV;
}

sg_format cli_output_format(const cli_call *call)
{
    const cli_common *common = &call->common;
    sg_format format = SG_FORMAT_CSV;
    if (common->format)
        sg_format_from_name(common->format, &format); /* the parser has checked the name */
    else if (cli_is_stdout(common->output))
        format = isatty(STDOUT_FILENO) ? SG_FORMAT_TABLE : SG_FORMAT_CSV;
    else
        format = format_of(common->output);
    return format;
}

int cli_write_table(const cli_call *call, sg_table *table)
{
    sg_error error = {0};
    const char *path = call->common.output;
    sg_format format = cli_output_format(call);
    if (cli_is_stdout(path) && format == SG_FORMAT_NPZ)
        return cli_fail(SG_EARGUMENT, "npz cannot go to standard output; give a file: -o FILE.npz");
    if (cli_stamp(call, table, &error) != SG_OK)
        return cli_report(&error);
    if (cli_is_stdout(path))
        sg_table_write_stream(table, format, stdout, &error);
    else
        sg_table_write(table, format, path, &error);
    if (error.status != SG_OK)
        return cli_report(&error);
    if (!cli_is_stdout(path))
        cli_note("wrote %s: %zu rows, %zu columns", path, sg_table_rows(table),
                 sg_table_columns(table));
    return CLI_EXIT_DONE;
}

/* `formatted`: --format is about this file. */
static int check_ending(const char *path, bool formatted)
{
    static const char *const foreign[] = {".parquet", ".feather", ".arrow", ".h5",  ".hdf5", ".pkl",
                                          ".npy",     ".xlsx",    ".jsonl", ".tsv", ".gz",   ".zst",
                                          ".yaml",    ".pdf",     ".png",   ".pt"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        if (ends_in(path, foreign[i]))
            return cli_fail(SG_EARGUMENT,
                            "%.200s would hold CSV, as softgate does not write %s; end the name in "
                            ".csv, .json or .npz%s",
                            path, foreign[i], formatted ? ", or give --format csv" : "");
    }
    return CLI_EXIT_DONE;
}

int cli_check_ending(const cli_call *call)
{
    const char *path = call->common.output;
    if (cli_is_stdout(path) || call->common.format || !(call->command->groups & CLI_OUTPUT))
        return CLI_EXIT_DONE;
    return check_ending(path, true);
}

int cli_write_file(const cli_call *call, sg_table *table, const char *path)
{
    sg_error error = {0};
    if (cli_stamp(call, table, &error) != SG_OK ||
        sg_table_write(table, format_of(path), path, &error) != SG_OK)
        return cli_report(&error);
    cli_note("wrote %s: %zu rows, %zu columns", path, sg_table_rows(table),
             sg_table_columns(table));
    return CLI_EXIT_DONE;
}

static int check_path(const char *path)
{
    sg_error error;
    sg_atomic_file file;
    if (sg_atomic_open(&file, path, &error) != SG_OK)
        return cli_report(&error);
    sg_atomic_discard(&file);
    return CLI_EXIT_DONE;
}

int cli_check_file(const char *path)
{
    int code = path ? check_ending(path, false) : CLI_EXIT_DONE;
    return path && !code ? check_path(path) : code;
}

int cli_check_output(const cli_call *call)
{
    const char *path = call->common.output;
    return cli_is_stdout(path) ? CLI_EXIT_DONE : check_path(path);
}

int cli_finish_output(int code)
{
    /* A command that failed has said why, perhaps about this very stream. */
    errno = 0;
    bool broken = ferror(stdout) != 0;
    broken = fclose(stdout) != 0 || broken;
    if (!broken || code != CLI_EXIT_DONE)
        return code;
    return cli_fail(SG_EIO, "cannot write to standard output: %s",
                    errno ? strerror(errno) : "the device refused it");
}
