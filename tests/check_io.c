/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <dirent.h>
#include <float.h>
#include <json-c/json.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include "core/rng.h"
#include "core/text.h"
#include "core/utf8.h"
#include "io/table_io.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A folder of its own for every test. */
static char folder[64];
static char path[128];

static void make_folder(void)
{
    strcpy(folder, "/tmp/softgate-check-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/table", folder);
}

static size_t count_files(void)
{
    size_t count = 0;
    DIR *directory = opendir(folder);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(directory);
    return count;
}

static void remove_folder(void)
{
    chmod(folder, 0700);
    unlink(path);
    ck_assert_msg(rmdir(folder) == 0, "something was left in %s", folder);
}

static void put_file(const void *bytes, size_t length)
{
    unlink(path); /* some file systems flush a file that is truncated and written again: slow */
    FILE *file = fopen(path, "wb");
    ck_assert_uint_eq(fwrite(bytes, 1, length, file), length);
    fclose(file);
}

static sg_text get_file(void)
{
    sg_text content = {0};
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    for (int c; (c = getc(file)) != EOF;)
        sg_text_append_bytes(&content, &(char){(char)c}, 1);
    fclose(file);
    return content;
}

static char *written(const sg_table *table, sg_format format)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    ck_assert_int_eq(sg_table_write_stream(table, format, stream, NULL), SG_OK);
    fclose(stream);
    return text;
}

/* Reads `csv` and expects success. */
static sg_table *parsed(const char *csv)
{
    sg_table *table = NULL;
    sg_error error = {0};
    put_file(csv, strlen(csv));
    sg_status status = sg_table_read(&table, path, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    return table;
}

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

static const double nasty_reals[] = {NAN,     INFINITY, -INFINITY, -0.0,   0.0,         5e-324,
                                     DBL_MIN, -DBL_MAX, 0.1 + 0.2, 1 / 3., 1 + 0x1p-52, 0.5};
static const char *const nasty_texts[] = {"",
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
                                          "\x01\x1f\x7f"};

static sg_table *nasty_table(void)
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

static void assert_equal_tables(const sg_table *a, const sg_table *b)
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

static const sg_format readable[] = {SG_FORMAT_CSV, SG_FORMAT_NPZ};

START_TEST(nasty_values_survive)
{
    sg_table *table = nasty_table(), *back = NULL;
    sg_error error;
    ck_assert_int_eq(sg_table_write(table, readable[_i], path, &error), SG_OK);
    ck_assert_uint_eq(count_files(), 1);
    sg_status status = sg_table_read(&back, path, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    assert_equal_tables(table, back);
    sg_table_free(back);
    sg_table_free(table);
}
END_TEST

START_TEST(a_table_without_rows_survives)
{
    sg_table *table = sg_table_alloc(), *back = NULL;
    sg_table_add_column(table, "ratio", SG_COLUMN_REAL, NULL);
    sg_table_add_column(table, "weight", SG_COLUMN_REAL, NULL);
    ck_assert_int_eq(sg_table_write(table, readable[_i], path, NULL), SG_OK);
    ck_assert_int_eq(sg_table_read(&back, path, NULL), SG_OK);
    assert_equal_tables(table, back);
    sg_table_free(back);
    sg_table_free(table);
}
END_TEST

START_TEST(a_lonely_empty_cell_survives)
{
    sg_table *table = sg_table_alloc(), *back = NULL;
    sg_table_add_column(table, "text", SG_COLUMN_TEXT, NULL);
    sg_table_add_rows(table, 3, NULL);
    sg_table_set_text(table, 0, 1, "x", NULL);
    ck_assert_int_eq(sg_table_write(table, readable[_i], path, NULL), SG_OK);
    ck_assert_int_eq(sg_table_read(&back, path, NULL), SG_OK);
    assert_equal_tables(table, back);
    sg_table_free(back);
    sg_table_free(table);
}
END_TEST

START_TEST(equal_tables_give_equal_files)
{
    sg_table *table = nasty_table();
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_NPZ, path, NULL), SG_OK);
    sg_text first = get_file();
    sleep(2); /* the resolution of a zip file's times */
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_NPZ, path, NULL), SG_OK);
    sg_text second = get_file();
    ck_assert_uint_eq(first.length, second.length);
    ck_assert_int_eq(memcmp(first.data, second.data, first.length), 0);
    sg_text_free(&first);
    sg_text_free(&second);
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
    sg_status status = sg_table_read(&table, path, &error);
    if (bad_csv[_i].words == NULL) { /* odd but legal */
        ck_assert_int_eq(status, SG_OK);
        sg_table_free(table);
        return;
    }
    ck_assert_int_eq(status, SG_EDATA);
    ck_assert_ptr_null(table);
    ck_assert_msg(strstr(error.message, bad_csv[_i].place) != NULL, "%s", error.message);
    ck_assert_msg(strstr(error.message, bad_csv[_i].words) != NULL, "%s", error.message);
    ck_assert_msg(strstr(error.message, folder) != NULL, "%s", error.message);
}
END_TEST

START_TEST(nul_bytes_and_other_encodings_are_refused)
{
    sg_table *table = NULL;
    sg_error error;
    put_file("a,b\n1,\0002\n", 9);
    ck_assert_int_eq(sg_table_read(&table, path, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "table:2: a NUL byte at character 3 (column 2)"));
    put_file("\xff\xfe"
             "a\0,\0b\0\n\0",
             10);
    ck_assert_int_eq(sg_table_read(&table, path, &error), SG_EDATA);
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
};

START_TEST(bad_jsonl_is_refused_with_its_place)
{
    sg_table *table = NULL;
    sg_error error = {0};
    put_file(bad_jsonl[_i].text, strlen(bad_jsonl[_i].text));
    ck_assert_int_eq(sg_table_read(&table, path, &error), SG_EDATA);
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
    ck_assert_int_eq(sg_table_read(&table, path, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "add what is missing"));
    sg_text_free(&csv);
    free(cell);
}
END_TEST

START_TEST(standard_input_is_read)
{
    put_file("a\n5\n", 4);
    int saved = dup(STDIN_FILENO);
    ck_assert_ptr_nonnull(freopen(path, "r", stdin));
    sg_table *table = NULL;
    ck_assert_int_eq(sg_table_read(&table, "-", NULL), SG_OK);
    ck_assert_int_eq(sg_table_get_integer(table, 0, 0), 5);
    sg_table_free(table);
    dup2(saved, STDIN_FILENO);
    close(saved);
}
END_TEST

START_TEST(unreadable_files_say_why)
{
    sg_table *table = NULL;
    sg_error error;
    ck_assert_int_eq(sg_table_read(&table, path, &error), SG_EIO);
    ck_assert_ptr_nonnull(strstr(error.message, "No such file or directory"));
    ck_assert_int_eq(sg_table_read(&table, folder, &error), SG_EIO);
    ck_assert_ptr_nonnull(strstr(error.message, "Is a directory"));
}
END_TEST

static const sg_format formats[] = {SG_FORMAT_CSV, SG_FORMAT_JSON, SG_FORMAT_NPZ, SG_FORMAT_TABLE};

START_TEST(a_full_disk_is_an_error)
{
    sg_table *table = nasty_table();
    sg_error error;
    ck_assert_int_eq(sg_table_write(table, formats[_i], "/dev/full", &error), SG_EIO);
    ck_assert_ptr_nonnull(strstr(error.message, "/dev/full: No space left on device"));
    if (formats[_i] != SG_FORMAT_NPZ) {
        FILE *stream = fopen("/dev/full", "w");
        ck_assert_int_eq(sg_table_write_stream(table, formats[_i], stream, &error), SG_EIO);
        ck_assert_ptr_nonnull(strstr(error.message, "No space left on device"));
        fclose(stream);
    }
    struct stat device;
    ck_assert(stat("/dev/full", &device) == 0 && S_ISCHR(device.st_mode));
    sg_table_free(table);
}
END_TEST

START_TEST(a_failed_write_leaves_the_old_file)
{
    sg_table *table = sg_table_alloc();
    sg_table_add_column(table, "x", SG_COLUMN_REAL, NULL);
    sg_table_add_rows(table, 100000, NULL);
    put_file("old", 3);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, limit;
    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    limit.rlim_cur = 100000;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    sg_error error;
    sg_status status = sg_table_write(table, formats[_i], path, &error);
    setrlimit(RLIMIT_FSIZE, &old);
    ck_assert_int_eq(status, SG_EIO);
    ck_assert_ptr_nonnull(strstr(error.message, "File too large"));
    ck_assert_uint_eq(count_files(), 1);
    sg_text content = get_file();
    ck_assert_str_eq(content.data, "old");
    sg_text_free(&content);
    sg_table_free(table);
}
END_TEST

START_TEST(places_that_cannot_be_written_say_why)
{
    sg_table *table = small_table();
    sg_error error;
    char name[200];
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_CSV, folder, &error), SG_EIO);
    ck_assert_ptr_nonnull(strstr(error.message, "Is a directory"));
    snprintf(name, sizeof name, "%s/missing/x.csv", folder);
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_CSV, name, &error), SG_EIO);
    ck_assert_ptr_nonnull(strstr(error.message, "missing/x.csv: No such file or directory"));
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_CSV, "", &error), SG_EIO);
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_CSV, "-", &error), SG_EARGUMENT);
    if (geteuid() != 0) { /* root may write everywhere */
        put_file("old", 3);
        chmod(path, 0400);
        ck_assert_int_eq(sg_table_write(table, SG_FORMAT_CSV, path, &error), SG_EIO);
        ck_assert_ptr_nonnull(strstr(error.message, "Permission denied"));
        unlink(path);
        chmod(folder, 0500);
        ck_assert_int_eq(sg_table_write(table, SG_FORMAT_CSV, path, &error), SG_EIO);
        ck_assert_ptr_nonnull(strstr(error.message, "Permission denied"));
    }
    chmod(folder, 0700);
    ck_assert_uint_eq(count_files(), 0);
    sg_table_free(table);
}
END_TEST

START_TEST(links_and_modes_stay)
{
    sg_table *table = small_table();
    char link[200];
    put_file("old", 3);
    chmod(path, 0640);
    snprintf(link, sizeof link, "%s/link", folder);
    ck_assert_int_eq(symlink("table", link), 0);
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_CSV, link, NULL), SG_OK);
    struct stat entry;
    ck_assert(lstat(link, &entry) == 0 && S_ISLNK(entry.st_mode));
    ck_assert(stat(path, &entry) == 0 && (entry.st_mode & 0777) == 0640);
    sg_text content = get_file();
    ck_assert_int_eq(strncmp(content.data, "# seed: 1\n", 10), 0);
    sg_text_free(&content);
    unlink(link);
    sg_table_free(table);
}
END_TEST

/* json-c in its strict mode is the witness: it refuses NaN and trailing commas. */
static struct json_object *parse_json(const char *text)
{
    struct json_tokener *tokener = json_tokener_new();
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *object = json_tokener_parse_ex(tokener, text, (int)strlen(text) + 1);
    ck_assert_msg(object != NULL, "%s in %s",
                  json_tokener_error_desc(json_tokener_get_error(tokener)), text);
    json_tokener_free(tokener);
    return object;
}

START_TEST(json_is_strict_and_complete)
{
    sg_table *table = nasty_table();
    char *text = written(table, SG_FORMAT_JSON);
    struct json_object *object = parse_json(text), *part;
    ck_assert(json_object_object_get_ex(object, "metadata", &part));
    ck_assert_str_eq(json_object_get_string(json_object_object_get(part, "beta \xce\xb2")),
                     "\"quoted\", \\ \xe2\x82\xac");
    ck_assert(json_object_object_get_ex(object, "columns", &part));
    ck_assert_uint_eq(json_object_array_length(part), 3);
    ck_assert_str_eq(json_object_get_string(json_object_array_get_idx(part, 1)), " text\n");
    ck_assert(json_object_object_get_ex(object, "rows", &part));
    ck_assert_uint_eq(json_object_array_length(part), COUNT(nasty_texts));
    for (size_t row = 0; row < COUNT(nasty_texts); row++) {
        struct json_object *cells = json_object_array_get_idx(part, row);
        struct json_object *real = json_object_object_get(cells, "a \"real\", #1");
        double value = nasty_reals[row % COUNT(nasty_reals)];
        if (!isfinite(value)) {
            ck_assert_ptr_null(real);
        } else {
            double back = json_object_get_double(real);
            ck_assert_int_eq(json_object_get_type(real), json_type_double);
            ck_assert_int_eq(memcmp(&back, &value, sizeof back), 0);
        }
        ck_assert_str_eq(json_object_get_string(json_object_object_get(cells, " text\n")),
                         nasty_texts[row]);
        ck_assert_int_eq(json_object_get_int64(json_object_object_get(cells, "\xcf\x84")),
                         row % 2 == 0 ? INT64_MIN : INT64_MAX);
    }
    ck_assert(json_object_object_get_ex(object, "nonfinite", &part));
    ck_assert_uint_eq(json_object_array_length(part), 6);
    const char *kinds[] = {"nan", "inf", "-inf"};
    for (size_t i = 0; i < 6; i++) {
        struct json_object *place = json_object_array_get_idx(part, i);
        size_t row = i % 3 + COUNT(nasty_reals) * (i / 3);
        ck_assert_int_eq(json_object_get_int(json_object_array_get_idx(place, 0)), (int)row);
        ck_assert_str_eq(json_object_get_string(json_object_array_get_idx(place, 1)),
                         "a \"real\", #1");
        ck_assert_str_eq(json_object_get_string(json_object_array_get_idx(place, 2)), kinds[i % 3]);
    }
    json_object_put(object);
    free(text);
    sg_table_free(table);
}
END_TEST

START_TEST(json_repairs_broken_utf8)
{
    sg_table *table = sg_table_alloc();
    sg_table_add_column(table, "t", SG_COLUMN_TEXT, NULL);
    sg_table_add_rows(table, 1, NULL);
    sg_table_set_text(table, 0, 0, "a\xff\xc3(\xed\xa0\x80\xe2\x82", NULL);
    char *text = written(table, SG_FORMAT_JSON);
    ck_assert_ptr_nonnull(strstr(text, "\"a\\ufffd\\ufffd(\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\""));
    json_object_put(parse_json(text));
    free(text);
    sg_table_free(table);
}
END_TEST

START_TEST(utf8_agrees_with_the_standard)
{
    uint32_t code;
    char bytes[5] = {0};
    ck_assert(sg_utf8_decode("\xe2\x82\xac", &code) == 3 && code == 0x20ac);
    ck_assert(sg_utf8_decode("\xf4\x8f\xbf\xbf", &code) == 4 && code == 0x10ffff);
    const char *malformed[] = {"\x80", "\xc0\xaf", "\xe0\x80\xaf", "\xf4\x90\x80\x80",
                               "\xf8", "\xc3"};
    for (size_t i = 0; i < COUNT(malformed); i++)
        ck_assert(sg_utf8_decode(malformed[i], &code) == 1 && code == 0xfffd);
    for (uint32_t value = 1; value < 0x110000; value += 37) {
        memset(bytes, 0, sizeof bytes);
        size_t length = sg_utf8_encode(value, bytes);
        bool surrogate = value >= 0xd800 && value < 0xe000;
        ck_assert_uint_eq(sg_utf8_decode(bytes, &code), length);
        ck_assert_uint_eq(code, surrogate ? 0xfffd : value);
    }
    ck_assert_uint_eq(sg_utf8_length("caf\xc3\xa9"), 4);
}
END_TEST

START_TEST(terminal_table_is_aligned_and_harmless)
{
    sg_table *table = sg_table_alloc();
    sg_table_add_column(table, "name", SG_COLUMN_TEXT, NULL);
    sg_table_add_column(table, "ratio", SG_COLUMN_REAL, NULL);
    sg_table_add_column(table, "n", SG_COLUMN_INTEGER, NULL);
    sg_table_add_column(table, "note", SG_COLUMN_TEXT, NULL);
    sg_table_add_rows(table, 2, NULL);
    sg_table_set_text(table, 0, 0, "caf\xc3\xa9 au lait", NULL);
    sg_table_set_text(table, 0, 1, "\x1b[31mred", NULL);
    sg_table_set_real(table, 1, 0, 1 / 3.);
    sg_table_set_integer(table, 2, 1, -1000);
    sg_table_set_text(table, 3, 1, "x", NULL);
    char *text = written(table, SG_FORMAT_TABLE);
    ck_assert_str_eq(text, "name             ratio      n  note\n"
                           "caf\xc3\xa9 au lait  0.333333      0  \n"
                           "?[31mred           nan  -1000  x\n");
    free(text);
    sg_table_free(table);
}
END_TEST

/* An npz file made by hand of .npy files made by hand. */
static void put_npz(const char *const names[], const char *const arrays[], const size_t lengths[],
                    size_t count)
{
    zip_t *archive = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    for (size_t i = 0; i < count; i++) {
        zip_source_t *source = zip_source_buffer(archive, arrays[i], lengths[i], 0);
        ck_assert_int_ge(zip_file_add(archive, names[i], source, 0), 0);
    }
    ck_assert_int_eq(zip_close(archive), 0);
}

/* Header of version 1, without NumPy's padding, then the cells. */
static sg_text npy(const char *dict, const char *cells, size_t length)
{
    sg_text text = {0};
    sg_text_append_bytes(&text, "\x93NUMPY\1\0", 8);
    sg_text_append_bytes(&text, &(char){(char)strlen(dict)}, 1);
    sg_text_append_bytes(&text, "", 1);
    sg_text_append(&text, dict);
    sg_text_append_bytes(&text, cells, length);
    return text;
}

static sg_status read_npy(const char *dict, const char *cells, size_t length, sg_table **table,
                          sg_error *error)
{
    sg_text text = npy(dict, cells, length);
    put_npz((const char *[]){"x.npy"}, (const char *[]){text.data}, &text.length, 1);
    sg_text_free(&text);
    return sg_table_read(table, path, error);
}

#define DICT(type, shape) "{'descr': '" type "', 'fortran_order': False, 'shape': " shape ", }"

static const struct {
    const char *dict, *cells;
    size_t length;
    double first, second;
} arrays[] = {
    {DICT("<f8", "(2,)"), "\0\0\0\0\0\0\xf8\x3f\0\0\0\0\0\0\0\x80", 16, 1.5, -0.0},
    {DICT(">f8", "(2,)"), "\x3f\xf8\0\0\0\0\0\0\x80\0\0\0\0\0\0\0", 16, 1.5, -0.0},
    {DICT("<f4", "(2,)"), "\0\0\xc0\x3f\0\0\x80\xff", 8, 1.5, -INFINITY},
    {DICT(">f4", "(2,)"), "\x3f\xc0\0\0\xff\x80\0\0", 8, 1.5, -INFINITY},
    {DICT("<f2", "(2,)"), "\0\x3e\1\0", 4, 1.5, 0x1p-24},
    {DICT("<f2", "(2,)"), "\xff\x7b\0\xfc", 4, 65504, -INFINITY},
    {DICT("<i8", "(2,)"), "\xfe\xff\xff\xff\xff\xff\xff\xff\1\0\0\0\0\0\0\0", 16, -2, 1},
    {DICT("<i4", "(2,)"), "\xfe\xff\xff\xff\1\0\0\0", 8, -2, 1},
    {DICT(">i2", "(2,)"), "\xff\xfe\0\1", 4, -2, 1},
    {DICT("|i1", "(2,)"), "\xfe\1", 2, -2, 1},
    {DICT("<u4", "(2,)"), "\xfe\xff\xff\xff\1\0\0\0", 8, 4294967294, 1},
    {DICT("|u1", "(2,)"), "\xfe\1", 2, 254, 1},
    {DICT("|b1", "(2,)"), "\1\0", 2, 1, 0},
    {"{\"shape\":(2),\"fortran_order\":True,\"descr\":\"|u1\"}", "\3\4", 2, 3, 4},
};

START_TEST(npy_number_types_are_read)
{
    sg_table *table = NULL;
    sg_error error;
    sg_status status =
        read_npy(arrays[_i].dict, arrays[_i].cells, arrays[_i].length, &table, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    ck_assert_str_eq(sg_table_column_name(table, 0), "x");
    ck_assert_uint_eq(sg_table_rows(table), 2);
    double first = sg_table_get_number(table, 0, 0), second = sg_table_get_number(table, 0, 1);
    ck_assert_double_eq(first, arrays[_i].first);
    ck_assert_double_eq(second, arrays[_i].second);
    ck_assert_int_eq(signbit(second), signbit(arrays[_i].second));
    sg_table_free(table);
}
END_TEST

static const struct {
    const char *dict;
    size_t length;
    const char *words;
} bad_arrays[] = {
    {DICT("<f8", "(2,)"), 15, "ends before the last"},
    {DICT("<f8", "(1000000000000000000000,)"), 16, "header"},
    {DICT("<f8", "(9223372036854775807,)"), 16, "ends before the last"},
    {DICT("<f8", "(4611686018427387904, 4)"), 16, "ends before the last"},
    {DICT("<f8", "(1, 2)"), 16, "2 dimensions"},
    {DICT("<f8", "(1, 2, 1)"), 16, "3 dimensions"},
    {DICT("<f8", "()"), 16, "0 dimensions"},
    {DICT("|O", "(2,)"), 16, "type \"|O\""},
    {DICT("<c16", "(1,)"), 16, "type \"<c16\""},
    {DICT("<M8[ns]", "(2,)"), 16, "type \"<M8[ns]\""},
    {DICT("<U0", "(2,)"), 16, "type \"<U0\""},
    {"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2,), }", 16, "structured"},
    {"{'descr': '<f8', 'shape': (2,), }", 16, "header"},
    {"{'descr': '<f8', 'fortran_order': False, 'shape': (2,", 16, "header"},
    {DICT("<u8", "(2,)"), 16, "above 2^63 - 1 in row 0"},
    {DICT("<U2", "(2,)"), 16, "NUL character in row 0"},
};

START_TEST(bad_npy_is_refused)
{
    sg_table *table = NULL;
    sg_error error = {0};
    const char *cells = "\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\1\0\0\0";
    if (strstr(bad_arrays[_i].dict, "U2") != NULL)
        cells = "\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0";
    ck_assert_int_eq(read_npy(bad_arrays[_i].dict, cells, bad_arrays[_i].length, &table, &error),
                     SG_EDATA);
    ck_assert_msg(strstr(error.message, bad_arrays[_i].words) != NULL, "%s", error.message);
    ck_assert_msg(strstr(error.message, "table: array \"x\"") != NULL, "%s", error.message);
}
END_TEST

START_TEST(npz_arrays_must_fit_together)
{
    sg_table *table = NULL;
    sg_error error = {0};
    sg_text two = npy(DICT("|u1", "(2,)"), "\1\2", 2),
            three = npy(DICT("|u1", "(3,)"), "\1\2\3", 3);
    const char *const files[] = {two.data, three.data};
    const size_t lengths[] = {two.length, three.length};
    put_npz((const char *[]){"a.npy", "b.npy"}, files, lengths, 2);
    ck_assert_int_eq(sg_table_read(&table, path, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "array \"b\" has 3 rows where \"a\" has 2"));
    put_npz((const char *[]){"readme.txt"}, files, lengths, 1);
    ck_assert_int_eq(sg_table_read(&table, path, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "no npz file: it holds \"readme.txt\""));
    put_file("PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 22);
    ck_assert_int_eq(sg_table_read(&table, path, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "no array"));
    sg_text_free(&two);
    sg_text_free(&three);
}
END_TEST

START_TEST(npz_refuses_what_it_cannot_hold)
{
    sg_table *table = sg_table_alloc();
    sg_error error;
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_NPZ, path, &error), SG_EARGUMENT);
    ck_assert_int_eq(sg_table_write_stream(table, SG_FORMAT_NPZ, stderr, &error), SG_EARGUMENT);
    sg_table_add_column(table, "text", SG_COLUMN_TEXT, NULL);
    sg_table_add_rows(table, 10000, NULL);
    char *giant = calloc(1, 1000001);
    memset(giant, 'x', 1000000);
    sg_table_set_text(table, 0, 0, giant, NULL);
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_NPZ, path, &error), SG_EUNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(error.message, "\"text\" has a cell of 1000000 characters"));
    sg_table_set_text(table, 0, 0, "small", NULL);
    sg_table_add_column(table, "metadata", SG_COLUMN_REAL, NULL);
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_NPZ, path, &error), SG_EARGUMENT);
    ck_assert_uint_eq(count_files(), 0);
    free(giant);
    sg_table_free(table);
}
END_TEST

/* Flips bytes of a good file and cuts it: the reader must say yes or no, never fall over. Run it
 * with the sanitizers. Seed fixed, so a failure comes back. */
START_TEST(damaged_files_never_harm)
{
    static const char jsonl[] = "{\"sequence\": 0, \"logp\": -1.5, \"text\": \"a \\u20ac\"}\n"
                                "{\"sequence\": 1, \"logp\": NaN, \"text\": [1, {\"b\": null}]}\n"
                                "{\"sequence\": 2, \"logp\": 1e400, \"mask\": true}\n";
    sg_table *good = nasty_table();
    if (_i < (int)COUNT(readable))
        ck_assert_int_eq(sg_table_write(good, readable[_i], path, NULL), SG_OK);
    else
        put_file(jsonl, strlen(jsonl));
    sg_table_free(good);
    sg_text content = get_file();
    char *copy = malloc(content.length);
    size_t accepted = 0, refused = 0;
    for (uint32_t i = 0; i < 2000; i++) {
        uint32_t words[4];
        size_t length = content.length;
        memcpy(copy, content.data, length);
        sg_rng_words((sg_address){.seed = 3, .stream = SG_STREAM_SYNTHETIC, .token = i}, words);
        for (uint32_t flip = 0; flip <= words[0] % 4; flip++) {
            uint32_t more[4];
            sg_rng_words((sg_address){.seed = 4, .token = i, .sample = flip}, more);
            if (more[2] % 2 == 0)
                copy[more[0] % length] = (char)more[1];
            else
                copy[more[0] % length] = ",\"\n\r#(){}'P\0"[more[1] % 13];
        }
        if (words[1] % 3 == 0)
            length = words[2] % length;
        put_file(copy, length);
        sg_table *table = NULL;
        sg_error error = {0};
        sg_status status = sg_table_read(&table, path, &error);
        if (status == SG_OK) {
            accepted++;
            free(written(table, SG_FORMAT_JSON)); /* touches every cell */
            sg_table_free(table);
        } else {
            refused++;
            ck_assert_int_eq(status, SG_EDATA);
            ck_assert_ptr_null(table);
            ck_assert_uint_gt(strlen(error.message), 20);
        }
    }
    ck_assert_msg(accepted > 50 && refused > 50, "%zu and %zu of both kinds", accepted, refused);
    free(copy);
    sg_text_free(&content);
}
END_TEST

START_TEST(format_names_are_known)
{
    sg_format format;
    ck_assert(sg_format_from_name("csv", &format) && format == SG_FORMAT_CSV);
    ck_assert(sg_format_from_name("json", &format) && format == SG_FORMAT_JSON);
    ck_assert(sg_format_from_name("npz", &format) && format == SG_FORMAT_NPZ);
    ck_assert(sg_format_from_name("table", &format) && format == SG_FORMAT_TABLE);
    ck_assert(!sg_format_from_name("xml", &format));
}
END_TEST

static TCase *add_case(Suite *suite, const char *name)
{
    TCase *tests = tcase_create(name);
    tcase_add_checked_fixture(tests, make_folder, remove_folder);
    tcase_set_timeout(tests, 20);
    suite_add_tcase(suite, tests);
    return tests;
}

Suite *io_suite(void);
Suite *io_suite(void)
{
    Suite *suite = suite_create("io");
    TCase *tests = add_case(suite, "round trips");
    tcase_add_loop_test(tests, nasty_values_survive, 0, COUNT(readable));
    tcase_add_loop_test(tests, a_table_without_rows_survives, 0, COUNT(readable));
    tcase_add_loop_test(tests, a_lonely_empty_cell_survives, 0, COUNT(readable));
    tcase_add_test(tests, equal_tables_give_equal_files);
    tcase_add_test(tests, format_names_are_known);
    tests = add_case(suite, "csv");
    tcase_add_test(tests, csv_text_is_as_documented);
    tcase_add_test(tests, csv_columns_get_the_narrowest_type);
    tcase_add_loop_test(tests, csv_dress_does_not_matter, 0, COUNT(dresses));
    tcase_add_test(tests, csv_comments_before_the_header_are_metadata);
    tcase_add_test(tests, csv_quotes_follow_rfc_4180);
    tcase_add_loop_test(tests, bad_csv_is_refused_with_its_place, 0, COUNT(bad_csv));
    tcase_add_test(tests, nul_bytes_and_other_encodings_are_refused);
    tcase_add_test(tests, huge_cells_and_lines_are_read);
    tcase_add_test(tests, standard_input_is_read);
    tests = add_case(suite, "jsonl");
    tcase_add_test(tests, jsonl_keys_are_columns);
    tcase_add_loop_test(tests, bad_jsonl_is_refused_with_its_place, 0, COUNT(bad_jsonl));
    tests = add_case(suite, "files");
    tcase_add_test(tests, unreadable_files_say_why);
    tcase_add_loop_test(tests, a_full_disk_is_an_error, 0, COUNT(formats));
    tcase_add_loop_test(tests, a_failed_write_leaves_the_old_file, 0, COUNT(formats));
    tcase_add_test(tests, places_that_cannot_be_written_say_why);
    tcase_add_test(tests, links_and_modes_stay);
    tests = add_case(suite, "json and terminal");
    tcase_add_test(tests, json_is_strict_and_complete);
    tcase_add_test(tests, json_repairs_broken_utf8);
    tcase_add_test(tests, utf8_agrees_with_the_standard);
    tcase_add_test(tests, terminal_table_is_aligned_and_harmless);
    tests = add_case(suite, "npz");
    tcase_add_loop_test(tests, npy_number_types_are_read, 0, COUNT(arrays));
    tcase_add_loop_test(tests, bad_npy_is_refused, 0, COUNT(bad_arrays));
    tcase_add_test(tests, npz_arrays_must_fit_together);
    tcase_add_test(tests, npz_refuses_what_it_cannot_hold);
    tests = add_case(suite, "damage");
    tcase_add_loop_test(tests, damaged_files_never_harm, 0, COUNT(readable) + 1);
    return suite;
}
