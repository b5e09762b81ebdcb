/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"

START_TEST(csv_text_is_as_documented)
{
    sg_table *table = small_table();
    char *text = written(table, SG_FORMAT_CSV);
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

START_TEST(csv_columns_get_the_narrowest_type)
{
    sg_table *table = parsed("i,r,exp,empty,zero,mixed,big\n"
                             "1,1,1e3,1,-0,7,9223372036854775808\n"
                             "-2,nan,2,,1, x,1\n");
    const sg_column_type types[] = {SG_COLUMN_INTEGER, SG_COLUMN_REAL, SG_COLUMN_REAL,
                                    SG_COLUMN_REAL,    SG_COLUMN_REAL, SG_COLUMN_TEXT,
                                    SG_COLUMN_REAL};
    for (size_t i = 0; i < COUNT(types); i++)
        ck_assert_int_eq(sg_table_column_type(table, i), types[i]);
    ck_assert_int_eq(sg_table_get_integer(table, 0, 1), -2);
    ck_assert(isnan(sg_table_get_real(table, 1, 1)));
    ck_assert(isnan(sg_table_get_real(table, 3, 1)));
    ck_assert(signbit(sg_table_get_real(table, 4, 0)));
    ck_assert_str_eq(sg_table_get_text(table, 5, 0), "7");
    ck_assert_str_eq(sg_table_get_text(table, 5, 1), " x");
    ck_assert_double_eq(sg_table_get_real(table, 6, 0), 0x1p63);
    sg_table_free(table);
}
END_TEST

/* The same two columns and two rows in other dress. */
static const char *const dresses[] = {
    "a,b\n1,x\n2,y\n",
    "a,b\n1,x\n2,y",
    "a,b\r\n1,x\r\n2,y\r\n",
    "a,b\r1,x\r2,y\r",
    "\357\273\277a,b\n1,x\n2,y\n",
    "\n\n# nothing to see\na,b\n\n1,x\n# a comment\n2,y\n\n",
    "\"a\",\"b\"\n\"1\",\"x\"\n\"2\",\"y\"",
    " a ,\tb\n1,x\n 2,y\n",
    "#\n#:\n# : no key\na,b\n1,x\n2,y",
};

START_TEST(csv_dress_does_not_matter)
{
    sg_table *table = parsed(dresses[_i]);
    char *text = written(table, SG_FORMAT_CSV);
    ck_assert_str_eq(text, "a,b\n1,x\n2,y\n");
    free(text);
    sg_table_free(table);
}
END_TEST

START_TEST(csv_comments_before_the_header_are_metadata)
{
    sg_table *table =
        parsed("# seed: 7\n#url: http://x/y\r\n# no metadata\n# last:\na\n# late: 1\n1\n");
    const char *key, *value;
    ck_assert_str_eq(sg_table_meta(table, "seed"), "7");
    ck_assert_str_eq(sg_table_meta(table, "url"), "http://x/y");
    ck_assert_str_eq(sg_table_meta(table, "last"), "");
    ck_assert(!sg_table_meta_at(table, 3, &key, &value));
    sg_table_free(table);
}
END_TEST

START_TEST(csv_quotes_follow_rfc_4180)
{
    sg_table *table = parsed("t,u\n\"a\"\"b\",\"\"\n\"x,\ny\",5\"\n\"\"\"\",\"#\"");
    ck_assert_uint_eq(sg_table_rows(table), 3);
    ck_assert_str_eq(sg_table_get_text(table, 0, 0), "a\"b");
    ck_assert_str_eq(sg_table_get_text(table, 1, 0), "");
    ck_assert_str_eq(sg_table_get_text(table, 0, 1), "x,\ny");
    ck_assert_str_eq(sg_table_get_text(table, 1, 1), "5\"");
    ck_assert_str_eq(sg_table_get_text(table, 0, 2), "\"");
    ck_assert_str_eq(sg_table_get_text(table, 1, 2), "#");
    sg_table_free(table);
}
END_TEST

/* Every message names the place ("table:LINE") and, where there is one, the column. */
static const struct {
    const char *csv;
    const char *place;
    const char *words;
} bad_csv[] = {
    {"", "table ", "no line with the names"},
    {"\n# only: comments\n\n", "table ", "no line with the names"},
    {"a,b\n1,2\n3\n", "table:3:", "after 1 of 2 cells, before column \"b\""},
    {"a,b\n1,2\n3,4,5\n", "table:3:", "3 cells, but the last column is 2 \"b\""},
    {"a,b\n\"x\ny\",2\n3", "table:4:", "before column \"b\""},
    {"a,b,a\n1,2,3\n", "table:1:", "columns 1 and 3 have the same name \"a\""},
    {"# c\na,,b\n1,2,3\n", "table:2:", "column 2 has no name"},
    {",a\n0,1\n", "table:1:", "index=False"},
    {"a\tb\n1\t2\n", "table:1:", "separated by tabs"},
    {"a;b\n1;2\n", "table:1:", "separated by semicolons"},
    {"\x1f\x8b\x08", "table", "compressed by gzip"},
    {"PAR1\x15", "table", "Parquet"},
    {"[{\"a\": 1}]\n", "table", "lines=True"},
    {"a,\" \"\n1,2\n,\n", NULL, NULL},
    {"1,2\n3,4\n", "table:1:", "numbers stand where the names"},
    {"a,b\n1,\"x\ny\n", "table:2:", "opens column 2 \"b\" is never closed"},
    {"a,b\n1,\"x\"y\n", "table:2:", "follows the closing quote of column 2 \"b\""},
    {"a,b\n1,\"\n\n\"y\n", "table:4:", "follows the closing quote"},
    {"\"a", "table:1:", "never closed"},
};

START_TEST(bad_csv_is_refused_with_its_place)
{
    sg_table *table = NULL;
    sg_error error = {0};
    put_file(bad_csv[_i].csv, strlen(bad_csv[_i].csv));
    sg_status status = sg_table_read(&table, test_path, &error);
    if (bad_csv[_i].words == NULL) { /* odd but legal */
        ck_assert_int_eq(status, SG_OK);
        sg_table_free(table);
        return;
    }
    ck_assert_int_eq(status, SG_EDATA);
    ck_assert_ptr_null(table);
    ck_assert_msg(strstr(error.message, bad_csv[_i].place) != NULL, "%s", error.message);
    ck_assert_msg(strstr(error.message, bad_csv[_i].words) != NULL, "%s", error.message);
    ck_assert_msg(strstr(error.message, test_folder) != NULL, "%s", error.message);
}
END_TEST

START_TEST(nul_bytes_and_other_encodings_are_refused)
{
    sg_table *table = NULL;
    sg_error error;
    put_file("a,b\n1,\0002\n", 9);
    ck_assert_int_eq(sg_table_read(&table, test_path, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "table:2: a NUL byte at character 3 (column 2)"));
    put_file("\xff\xfe"
             "a\0,\0b\0\n\0",
             10);
    ck_assert_int_eq(sg_table_read(&table, test_path, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "UTF-8"));
}
END_TEST

START_TEST(jsonl_keys_are_columns)
{
    sg_table *table = parsed(
        "\xef\xbb\xbf{\"step\": 1, \"kl\": 1e-3, \"name\": \"a\\nb\", \"done\": false, \"gap\": "
        "1}\r\n"
        "\n"
        "  {\"name\": \"\\u20ac\", \"step\": -2, \"kl\": NaN, \"done\": true, \"late\": null}  \n"
        "{\"step\": 9223372036854775807, \"kl\": -Infinity, \"name\": [1, {\"x\": 2}], \"done\": "
        "true, \"gap\": 3, \"mixed\": 0.5}");
    const char *names[] = {"step", "kl", "name", "done", "gap", "late", "mixed"};
    const sg_column_type types[] = {SG_COLUMN_INTEGER, SG_COLUMN_REAL, SG_COLUMN_TEXT,
                                    SG_COLUMN_INTEGER, SG_COLUMN_REAL, SG_COLUMN_REAL,
                                    SG_COLUMN_REAL};
    ck_assert_uint_eq(sg_table_rows(table), 3);
    ck_assert_uint_eq(sg_table_columns(table), COUNT(names));
    for (size_t i = 0; i < COUNT(names); i++) {
        ck_assert_str_eq(sg_table_column_name(table, i), names[i]);
        ck_assert_msg(sg_table_column_type(table, i) == types[i], "type of %s", names[i]);
    }
    ck_assert_int_eq(sg_table_get_integer(table, 0, 1), -2);
    ck_assert_int_eq(sg_table_get_integer(table, 0, 2), INT64_MAX);
    ck_assert_double_eq(sg_table_get_real(table, 1, 0), 1e-3);
    ck_assert(isnan(sg_table_get_real(table, 1, 1)));
    ck_assert_double_eq(sg_table_get_real(table, 1, 2), -INFINITY);
    ck_assert_str_eq(sg_table_get_text(table, 2, 0), "a\nb");
    ck_assert_str_eq(sg_table_get_text(table, 2, 1), "\xe2\x82\xac");
    ck_assert_str_eq(sg_table_get_text(table, 2, 2), "[1,{\"x\":2}]");
    ck_assert_int_eq(sg_table_get_integer(table, 3, 0), 0);
    ck_assert_int_eq(sg_table_get_integer(table, 3, 1), 1);
    ck_assert(isnan(sg_table_get_real(table, 4, 1)));
    ck_assert_double_eq(sg_table_get_real(table, 4, 2), 3);
    ck_assert(isnan(sg_table_get_real(table, 5, 2)));
    sg_table_free(table);
}
END_TEST

/* A line is a response: lists have a number for each token, the rest is repeated. */
START_TEST(jsonl_lists_are_unfolded)
{
    sg_table *table =
        parsed("{\"adv\": 0.5, \"logp\": [-1, -2.5, null], \"mask\": [true, true, false], "
               "\"tags\": [], \"text\": [\"a\"]}\n"
               "{\"adv\": -1, \"logp\": [-3], \"mask\": [1]}\n"
               "{\"adv\": 2}\n");
    const char *names[] = {"adv", "logp", "mask", "tags", "text", "sequence", "position"};
    const double cells[][5] = {{0.5, -1, 1, 0, 0},
                               {0.5, -2.5, 1, 0, 1},
                               {0.5, NAN, 0, 0, 2},
                               {-1, -3, 1, 1, 0},
                               {2, NAN, NAN, 2, 0}};
    ck_assert_uint_eq(sg_table_rows(table), 5);
    ck_assert_uint_eq(sg_table_columns(table), COUNT(names));
    for (size_t i = 0; i < COUNT(names); i++)
        ck_assert_str_eq(sg_table_column_name(table, i), names[i]);
    const size_t numbers[] = {0, 1, 2, 5, 6};
    for (size_t row = 0; row < 5; row++) {
        for (size_t i = 0; i < 5; i++) {
            double cell = sg_table_get_number(table, numbers[i], row);
            ck_assert(isnan(cells[row][i]) ? isnan(cell) : cell == cells[row][i]);
        }
    }
    ck_assert_str_eq(sg_table_get_text(table, 3, 2), "[]");
    ck_assert_str_eq(sg_table_get_text(table, 4, 1), "[\"a\"]");
    sg_table_free(table);
    table = parsed("{\"sequence\": 7, \"position\": [3, 4]}\n");
    ck_assert_uint_eq(sg_table_columns(table), 2);
    ck_assert_int_eq(sg_table_get_integer(table, 0, 1), 7);
    ck_assert_int_eq(sg_table_get_integer(table, 1, 1), 4);
    sg_table_free(table);
}
END_TEST

static const struct {
    const char *text, *place, *words;
} bad_jsonl[] = {
    {"{\"a\": 1}\n{\"a\": 2", "table:2:", "not complete"},
    {"{\"a\": 1} {\"a\": 2}\n", "table:1: character 10", "more than one object"},
    {"{\"a\": 1}\n\n[1, 2]\n", "table:3:", "one JSON object a line"},
    {"{\"a\": 1}\n7\n", "table:2:", "one JSON object a line"},
    {"{\"a\": 1,\n \"b\": 2}\n", "table:1:", "not complete"},
    {"{\"a\": x}\n", "table:1: character 7", "one JSON object a line"},
    {"{\"\": 1}\n", "table:1:", "empty key"},
    {"{\"a\": \"x\\u0000y\"}\n", "table:1:", "NUL character"},
    {"{\"a\": [1, 2]}\n{\"a\": [1, 2], \"b\": [3]}\n", "table:2:", "\"b\" lists 1 number where"},
};

START_TEST(bad_jsonl_is_refused_with_its_place)
{
    sg_table *table = NULL;
    sg_error error = {0};
    put_file(bad_jsonl[_i].text, strlen(bad_jsonl[_i].text));
    ck_assert_int_eq(sg_table_read(&table, test_path, &error), SG_EDATA);
    ck_assert_msg(strstr(error.message, bad_jsonl[_i].place) != NULL, "%s", error.message);
    ck_assert_msg(strstr(error.message, bad_jsonl[_i].words) != NULL, "%s", error.message);
}
END_TEST

START_TEST(huge_cells_and_lines_are_read)
{
    enum { SIZE = 1000000 };
    sg_text csv = {0};
    char *cell = malloc(SIZE + 1);
    memset(cell, 'x', SIZE);
    cell[SIZE] = '\0';
    sg_text_printf(&csv, "%s,t,u\n%s,\"", cell, cell);
    for (size_t i = 0; i < SIZE; i++) /* 10^6 doubled quotes, then 10^6 digits */
        sg_text_append(&csv, "\"\"");
    sg_text_append(&csv, "\",");
    for (size_t i = 0; i < SIZE; i++)
        sg_text_append(&csv, "7");
    sg_table *table = parsed(csv.data);
    ck_assert_uint_eq(strlen(sg_table_column_name(table, 0)), SIZE);
    ck_assert_str_eq(sg_table_get_text(table, 0, 0), cell);
    ck_assert_uint_eq(strlen(sg_table_get_text(table, 1, 0)), SIZE);
    ck_assert_double_eq(sg_table_get_real(table, 2, 0), INFINITY);
    sg_table_free(table);

    sg_text_clear(&csv); /* 10^5 columns */
    for (int line = 0; line < 3; line++) {
        for (int i = 0; i < 100000; i++)
            sg_text_printf(&csv, line == 0 ? "%sc%d" : "%s%d", i > 0 ? "," : "", i);
        sg_text_append(&csv, "\n");
    }
    table = parsed(csv.data);
    ck_assert_uint_eq(sg_table_columns(table), 100000);
    ck_assert_int_eq(sg_table_get_integer(table, 99999, 1), 99999);
    sg_table_free(table);

    /* A cut or ragged giant is an error whose message is still one short sentence. */
    sg_error error;
    sg_text_clear(&csv);
    sg_text_printf(&csv, "%s,b\n1\n", cell);
    put_file(csv.data, csv.length);
    ck_assert_int_eq(sg_table_read(&table, test_path, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "add what is missing"));
    sg_text_free(&csv);
    free(cell);
}
END_TEST

Suite *csv_suite(void);
Suite *csv_suite(void)
{
    Suite *suite = suite_create("csv");
    TCase *tests = add_file_case(suite, "csv");
    tcase_add_test(tests, csv_text_is_as_documented);
    tcase_add_test(tests, csv_columns_get_the_narrowest_type);
    tcase_add_loop_test(tests, csv_dress_does_not_matter, 0, COUNT(dresses));
    tcase_add_test(tests, csv_comments_before_the_header_are_metadata);
    tcase_add_test(tests, csv_quotes_follow_rfc_4180);
    tcase_add_loop_test(tests, bad_csv_is_refused_with_its_place, 0, COUNT(bad_csv));
    tcase_add_test(tests, nul_bytes_and_other_encodings_are_refused);
    tcase_add_test(tests, huge_cells_and_lines_are_read);
    tests = add_file_case(suite, "jsonl");
    tcase_add_test(tests, jsonl_keys_are_columns);
    tcase_add_test(tests, jsonl_lists_are_unfolded);
    tcase_add_loop_test(tests, bad_jsonl_is_refused_with_its_place, 0, COUNT(bad_jsonl));
    return suite;
}
