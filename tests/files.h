/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef TEST_FILES_H
#define TEST_FILES_H

#include <check.h>

#include "core/text.h"
#include "io/table_io.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* What the suites of the file formats share. Every test has a folder of its own, and a file name in
 * it. */
extern char test_folder[64], test_path[128];

/* A case whose tests begin with an empty folder and must leave nothing in it but test_path. */
TCase *add_file_case(Suite *suite, const char *name);

size_t count_files(void); /* in the folder */
void put_file(const void *bytes, size_t length);
sg_text get_file(void);

/* Reads a text file of this content and expects success. */
sg_table *parsed(const char *content);

/* What is written to a stream; to be freed. */
char *written(const sg_table *table, sg_format format);

/* Values that writers and readers tend to lose. Row i of nasty_table() holds
 * nasty_reals[i % NASTY_REALS] in the column "a \"real\", #1", nasty_texts[i] in " text\n", and
 * INT64_MIN and INT64_MAX in turn in "tau" as a Greek letter. */
enum { NASTY_REALS = 12, NASTY_TEXTS = 22 };
extern const double nasty_reals[NASTY_REALS];
extern const char *const nasty_texts[NASTY_TEXTS];
sg_table *nasty_table(void);

/* Three rows with quotes, a comma and a newline, and two metadata. */
sg_table *small_table(void);

void assert_equal_tables(const sg_table *a, const sg_table *b);

#endif
