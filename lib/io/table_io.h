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
 *          numpy.load(f). Equal tables give equal files. No column may be called "metadata".
 *   table  aligned columns for a terminal, 6 significant digits; not meant to be read back */
typedef enum sg_format { SG_FORMAT_CSV, SG_FORMAT_JSON, SG_FORMAT_NPZ, SG_FORMAT_TABLE } sg_format;

/* Format from a name ("csv", ...) ; false when unknown. */
bool sg_format_from_name(const char *name, sg_format *format);

/* Write to an open stream (csv, json, table; npz is binary and goes to files only: SG_EARGUMENT here).
 * SG_EIO when the stream reports an error, including on flush. */
sg_status sg_table_write_stream(const sg_table *table, sg_format format, FILE *stream,
                                sg_error *error);

/* Write a file: to a temporary name beside it, flushed and fsynced, then renamed, so that a failed or
 * interrupted write never leaves a partial file under `path`. A device or pipe is written directly.
 * SG_EIO with the reason otherwise. "-" is refused (SG_EARGUMENT): standard output is the program's. */
sg_status sg_table_write(const sg_table *table, sg_format format, const char *path,
                         sg_error *error);

/* Read a file of one of three formats, told apart by content; "-" reads standard input.
 *   CSV    RFC 4180 in UTF-8, with LF, CR LF or CR; "# key: value" lines before the header are metadata,
 *          other lines that start with # and blank lines are skipped. A column is INTEGER when every
 *          cell is plain decimal digits, else REAL when every cell is a number, "nan", "inf" or empty
 *          (= NaN), else TEXT; without rows it is REAL. Blanks around unquoted names are dropped.
 *   NPZ    numpy.savez or savez_compressed of arrays of one dimension and one length: real (f2 to f8),
 *          integer, boolean, U or S; "metadata" as the writer above makes it. Arrays [responses, tokens] of
 *          one shape are unfolded: a row a token, response by response, and the columns "sequence" and
 *          "position" that count both from 0. Arrays [responses] or [responses, 1] beside them are repeated
 *          for every token.
 *   JSONL  one object a line; a key is a column. Absent or null: NaN, or "" among text. true is 1.
 *          An object that has lists of numbers is a response and unfolded likewise; its lists have one length,
 *          its other values are repeated. What else is nested stands in its cell as JSON.
 * Memory: the file and the table. Errors (SG_EDATA) name the file, the line and the column or array:
 * other formats (gzip, Parquet, pickle ...), ragged rows, duplicate or empty names, no header, unterminated quotes, NUL bytes, unequal lengths,
 * shapes, other types and formats. SG_EIO when the file cannot be read. *table is set on success only. */
sg_status sg_table_read(sg_table **table, const char *path, sg_error *error);

#endif
