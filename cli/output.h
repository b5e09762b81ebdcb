/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CLI_OUTPUT_H
#define SG_CLI_OUTPUT_H

#include "cli/command.h"
#include "core/table.h"
#include "io/table_io.h"

/* Metadata that every file carries: version, git hash, command, seed, backend, precision. There is
 * no date and no host, so that the same command writes the same bytes. */
sg_status cli_stamp(const cli_call *call, sg_table *table, sg_error *error);

/* Does --output mean standard output? It may be NULL. */
bool cli_is_stdout(const char *path);

/* The format that --format, the name of the file, or else the terminal asks for. */
sg_format cli_output_format(const cli_call *call);

/* Stamp a table and write it where --output and --format say. Prints what went wrong; returns the
 * exit code. */
int cli_write_table(const cli_call *call, sg_table *table);

/* Refuses a file whose name promises a format that is not written here, such as .parquet. Prints why;
 * returns the exit code. */
int cli_check_ending(const cli_call *call);

/* The same into a file of its own, whose name decides the format. */
int cli_write_file(const cli_call *call, sg_table *table, const char *path);

/* Before long work: can the file of --output be written? Prints what is wrong; returns the exit
 * code. */
int cli_check_output(const cli_call *call);
/* Can this file, and does its name promise a format that is written here? NULL: nothing to write. */
int cli_check_file(const char *path);

/* Make standard output hold what was printed, or say why not. Returns `code`, or 3. */
int cli_finish_output(int code);

#endif
