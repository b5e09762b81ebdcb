/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CLI_FIND_PROGRAM_H
#define SG_CLI_FIND_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

/* Path of a program on PATH; false when there is none. */
bool cli_find_program(const char *name, char *path, size_t size);

/* First line that `path argument` prints on standard output, without a shell; false when it does
 * not run or prints nothing. */
bool cli_first_line(const char *path, const char *argument, char *line, size_t size);

#endif
