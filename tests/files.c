/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "files.h"

#include <dirent.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char test_folder[64], test_path[128];

static void make_folder(void)
{
    strcpy(test_folder, "/tmp/softgate-check-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(test_folder));
    snprintf(test_path, sizeof test_path, "%s/table", test_folder);
}

size_t count_files(void)
{
    size_t count = 0;
    DIR *directory = opendir(test_folder);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(directory);
    return count;
}

static void remove_folder(void)
{
    chmod(test_folder, 0700);
    unlink(test_path);
    ck_assert_msg(rmdir(test_folder) == 0, "something was left in %s", test_folder);
}

void put_file(const void *bytes, size_t length)
{
    /* Some file systems flush a file that is truncated and written again, which is slow. */
    unlink(test_path);
    FILE *file = fopen(test_path, "wb");
    ck_assert_uint_eq(fwrite(bytes, 1, length, file), length);
    fclose(file);
}

sg_text get_file(void)
{
    sg_text content = {0};
    FILE *file = fopen(test_path, "rb");
    ck_assert_ptr_nonnull(file);
    for (int c; (c = getc(file)) != EOF;)
        sg_text_append_bytes(&content, &(char){(char)c}, 1);
    fclose(file);
    return content;
}

char *written(const sg_table *table, sg_format format)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    ck_assert_int_eq(sg_table_write_stream(table, format, stream, NULL), SG_OK);
    fclose(stream);
    return text;
}

sg_table *parsed(const char *content)
{
    sg_table *table = NULL;
    sg_error error = {0};
    put_file(content, strlen(content));
    sg_status status = sg_table_read(&table, test_path, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    return table;
}

sg_table *small_table(void)
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

const double nasty_reals[NASTY_REALS] = {NAN,     INFINITY, -INFINITY, -0.0,   0.0,         5e-324,
                                         DBL_MIN, -DBL_MAX, 0.1 + 0.2, 1 / 3., 1 + 0x1p-52, 0.5};
const char *const nasty_texts[NASTY_TEXTS] = {"",
                                              "\"",
                                              "\"\"",
                                              ",",
                                              "a,b",
                                              "line\nbreak",
                                              "carriage\r",
                                              "cr\r\nlf",
                                              " blanks ",
                                              "\ttab\t",
                                              "#comment",
                                              "a # b",
                                              "caf\xc3\xa9",
                                              "\xf0\x9f\x8d\x80",
                                              "nan",
                                              "\\n {} $x`",
                                              "it's",
                                              "-0",
                                              "\x01\x1f\x7f",
                                              "{\"a\": 1}",
                                              "\357\273\277mark",
                                              "PK\3\4"};

sg_table *nasty_table(void)
{
    size_t rows = COUNT(nasty_texts);
    sg_table *table = sg_table_alloc();
    sg_table_add_column(table, "a \"real\", #1", SG_COLUMN_REAL, NULL);
    sg_table_add_column(table, " text\n", SG_COLUMN_TEXT, NULL);
    sg_table_add_column(table, "\xcf\x84", SG_COLUMN_INTEGER, NULL); /* tau */
    sg_table_add_rows(table, rows, NULL);
    for (size_t row = 0; row < rows; row++) {
        sg_table_set_real(table, 0, row, nasty_reals[row % COUNT(nasty_reals)]);
        sg_table_set_text(table, 1, row, nasty_texts[row], NULL);
        sg_table_set_integer(table, 2, row, row % 2 == 0 ? INT64_MIN : INT64_MAX);
    }
    sg_table_set_meta(table, "command", "softgate curve: --objective 'x'", NULL);
    sg_table_set_meta(table, "empty", "", NULL);
    sg_table_set_meta(table, "beta \xce\xb2", "\"quoted\", \\ \xe2\x82\xac", NULL);
    return table;
}

void assert_equal_tables(const sg_table *a, const sg_table *b)
{
    const char *key[2], *value[2];
    ck_assert_uint_eq(sg_table_rows(a), sg_table_rows(b));
    ck_assert_uint_eq(sg_table_columns(a), sg_table_columns(b));
    for (size_t i = 0; i < sg_table_columns(a); i++) {
        ck_assert_str_eq(sg_table_column_name(a, i), sg_table_column_name(b, i));
        ck_assert_int_eq(sg_table_column_type(a, i), sg_table_column_type(b, i));
        for (size_t row = 0; row < sg_table_rows(a); row++) {
            if (sg_table_column_type(a, i) == SG_COLUMN_TEXT) {
                ck_assert_str_eq(sg_table_get_text(a, i, row), sg_table_get_text(b, i, row));
                continue;
            }
            if (sg_table_column_type(a, i) == SG_COLUMN_INTEGER) {
                ck_assert_int_eq(sg_table_get_integer(a, i, row), sg_table_get_integer(b, i, row));
                continue;
            }
            double x = sg_table_get_real(a, i, row), y = sg_table_get_real(b, i, row);
            ck_assert_msg(memcmp(&x, &y, sizeof x) == 0 || (isnan(x) && isnan(y)), "%a became %a",
                          x, y);
        }
    }
    for (size_t i = 0; sg_table_meta_at(a, i, &key[0], &value[0]); i++) {
        ck_assert(sg_table_meta_at(b, i, &key[1], &value[1]));
        ck_assert_str_eq(key[0], key[1]);
        ck_assert_str_eq(value[0], value[1]);
    }
}

TCase *add_file_case(Suite *suite, const char *name)
{
    TCase *tests = tcase_create(name);
    tcase_add_checked_fixture(tests, make_folder, remove_folder);
    tcase_set_timeout(tests, 20);
    suite_add_tcase(suite, tests);
    return tests;
}
