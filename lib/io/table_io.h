/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TABLE_IO_H
#define SG_TABLE_IO_H

#include <stdio.h>

#include "core/status.h"
#include "core/table.h"

/* File formats of a table.
 *   csv    RFC 4180; metadata first as "# key: value" lines; header; reals with 17 significant
 *          digits at most (shortest form that reads back equal). pandas.read_csv(f, comment="#")
 *   json   {"metadata": {...}, "columns": [...], "rows": [{...}, ...]}; a non-finite real is null
 *          and its place is listed under "nonfinite" as [row, column, "nan" | "inf" | "-inf"]
 *   npz    zip of one .npy per column (f8, i8, or fixed-width U text) and metadata.npy (U, n x 2).
 *          numpy.load(f)
 *   table  aligned columns for a terminal, 6 significant digits; not meant to be read back */
typedef enum sg_format { SG_FORMAT_CSV, SG_FORMAT_JSON, SG_FORMAT_NPZ, SG_FORMAT_TABLE } sg_format;

/* Format from a name ("csv", ...) ; false when unknown. */
bool sg_format_from_name(const char *name, sg_format *format);

/* Write to an open stream (csv, json, table; npz needs a seekable destination and is refused with
 * SG_EARGUMENT here). SG_EIO when the stream reports an error, including on flush. */
sg_status sg_table_write_stream(const sg_table *table, sg_format format, FILE *stream,
                                sg_error *error);

/* Write a file: to a temporary name beside it, flushed and fsynced, then renamed, so that a failed or
 * interrupted write never leaves a partial file under `path`. SG_EIO with the reason otherwise. */
sg_status sg_table_write(const sg_table *table, sg_format format, const char *path,
                         sg_error *error);

/* Read a CSV or NPZ file (chosen by content: a zip signature is NPZ). "-" reads standard input as CSV.
 * A CSV column is INTEGER when every cell is one, else REAL when every cell is a number (or "nan",
 * "inf", empty = NaN), else TEXT. Errors (SG_EDATA) name the file, the line and the column:
 * ragged rows, duplicate or empty header names, no header, unterminated quotes, NUL bytes. */
sg_status sg_table_read(sg_table **table, const char *path, sg_error *error);

#endif
