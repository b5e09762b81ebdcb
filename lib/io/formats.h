/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_FORMATS_H
#define SG_FORMATS_H

#include "core/status.h"
#include "core/table.h"
#include "io/sink.h"

/* The formats behind io/table_io.h, one file each. Writers leave failures of the destination in the
 * sink. */
void sg_csv_write(const sg_table *table, sg_sink *sink);
void sg_json_write(const sg_table *table, sg_sink *sink);
void sg_terminal_write(const sg_table *table, sg_sink *sink);
sg_status sg_npz_write(const sg_table *table, sg_sink *sink, sg_error *error);

/* Readers fill an empty table from the content of the file `path`, which they may change. The text
 * formats rely on it that no NUL byte is inside. After a failure the table holds anything and is
 * only good to be freed. */
sg_status sg_csv_read(sg_table *table, const char *path, sg_text *content, sg_error *error);
sg_status sg_jsonl_read(sg_table *table, const char *path, const sg_text *content, sg_error *error);
sg_status sg_npz_read(sg_table *table, const char *path, const sg_text *content, sg_error *error);

#endif
