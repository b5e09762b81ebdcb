/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/table_io.h"

static sg_table *small_table(void)
{
    sg_table *table = sg_table_alloc();
    ck_assert_int_eq(sg_table_add_column(table, "name, of", SG_COLUMN_TEXT, NULL), SG_OK);
    ck_assert_int_eq(sg_table_add_column(table, "ratio", SG_COLUMN_REAL, NULL), SG_OK);
    ck_assert_int_eq(sg_table_add_column(table, "step", SG_COLUMN_INTEGER, NULL), SG_OK);
    ck_assert_int_eq(sg_table_add_rows(table, 3, NULL), SG_OK);
    ck_assert_int_eq(sg_table_set_text(table, 0, 0, "say \"hi\",\n#1", NULL), SG_OK);
    ck_assert_int_eq(sg_table_set_text(table, 0, 1, "plain", NULL), SG_OK);
    sg_table_set_real(table, 1, 0, 0.1 + 0.2);
    sg_table_set_real(table, 1, 1, -INFINITY);
    sg_table_set_integer(table, 2, 0, INT64_MIN);
    sg_table_set_integer(table, 2, 2, 7);
    ck_assert_int_eq(sg_table_set_meta(table, "seed", "1", NULL), SG_OK);
    ck_assert_int_eq(sg_table_set_meta(table, "title", "two\nlines", NULL), SG_OK);
    return table;
}

START_TEST(csv_text_is_as_documented)
{
    sg_table *table = small_table();
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    ck_assert_int_eq(sg_table_write_stream(table, SG_FORMAT_CSV, stream, NULL), SG_OK);
    fclose(stream);
    ck_assert_str_eq(text, "# seed: 1\n"
                           "# title: two lines\n"
                           "\"name, of\",ratio,step\n"
                           "\"say \"\"hi\"\",\n#1\",0.30000000000000004,-9223372036854775808\n"
                           "plain,-inf,0\n"
                           ",nan,7\n");
    free(text);
    sg_table_free(table);
}
END_TEST

Suite *io_suite(void);
Suite *io_suite(void)
{
    Suite *suite = suite_create("io");
    TCase *csv = tcase_create("csv");
    tcase_add_test(csv, csv_text_is_as_documented);
    suite_add_tcase(suite, csv);
    return suite;
}
