/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "core/rng.h"
#include "files.h"

/* An npz file made by hand of .npy files made by hand. */
static void put_npz(const char *const names[], const char *const arrays[], const size_t lengths[],
                    size_t count)
{
    zip_t *archive = zip_open(test_path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
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
    return sg_table_read(table, test_path, error);
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
    {DICT("<f8", "(2, 0)"), 0, "2 x 0; it holds no token"},
    {DICT("<f8", "(0, 0)"), 0, "0 x 0; it holds no token"},
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
    ck_assert_int_eq(sg_table_read(&table, test_path, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "array \"b\" has 3 rows where \"a\" has 2"));
    put_npz((const char *[]){"readme.txt"}, files, lengths, 1);
    ck_assert_int_eq(sg_table_read(&table, test_path, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "no npz file: it holds \"readme.txt\""));
    put_file("PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 22);
    ck_assert_int_eq(sg_table_read(&table, test_path, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "no array"));
    sg_text_free(&two);
    sg_text_free(&three);
}
END_TEST

/* Two responses of three tokens, as a trainer holds them; what has one number a response is repeated. */
START_TEST(npz_responses_are_unfolded)
{
    sg_table *table = NULL;
    sg_error error = {0};
    sg_text flat = npy(DICT("|i1", "(2,)"), "\7\10", 2),
            column = npy(DICT("|i1", "(2, 1)"), "\5\6", 2),
            rows = npy(DICT("|u1", "(2, 3)"), "\1\2\3\4\5\6", 6),
            fortran = npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }",
                          "\1\4\2\5\3\6", 6),
            other = npy(DICT("|u1", "(2, 2)"), "\1\2\3\4", 4);
    const char *const files[] = {flat.data, column.data, rows.data, fortran.data, other.data};
    const size_t lengths[] = {flat.length, column.length, rows.length, fortran.length,
                              other.length};
    const char *const names[] = {"flat.npy", "column.npy", "rows.npy", "fortran.npy", "other.npy"};
    const int cells[][6] = {{7, 7, 7, 8, 8, 8}, {5, 5, 5, 6, 6, 6}, {1, 2, 3, 4, 5, 6},
                            {1, 2, 3, 4, 5, 6}, {0, 0, 0, 1, 1, 1}, {0, 1, 2, 0, 1, 2}};
    put_npz(names, files, lengths, 4);
    ck_assert_msg(sg_table_read(&table, test_path, &error) == SG_OK, "%s", error.message);
    ck_assert_uint_eq(sg_table_rows(table), 6);
    ck_assert_int_eq(sg_table_find(table, "sequence"), 4);
    ck_assert_int_eq(sg_table_find(table, "position"), 5);
    for (size_t column_at = 0; column_at < COUNT(cells); column_at++) {
        for (size_t row = 0; row < 6; row++)
            ck_assert_int_eq(sg_table_get_integer(table, column_at, row), cells[column_at][row]);
    }
    sg_table_free(table);
    put_npz(names, files, lengths, 5);
    ck_assert_int_eq(sg_table_read(&table, test_path, &error), SG_EDATA);
    ck_assert_ptr_nonnull(
        strstr(error.message, "\"other\" has the shape 2 x 2 where \"rows\" has 2 x 3"));
    sg_text_free(&flat);
    sg_text_free(&column);
    sg_text_free(&rows);
    sg_text_free(&fortran);
    sg_text_free(&other);
}
END_TEST

/* An array that promises more than it holds is refused before rows are made for it. */
START_TEST(npz_widths_are_not_believed)
{
    sg_table *table = NULL;
    sg_error error = {0};
    sg_text flat = npy(DICT("|i1", "(2,)"), "\7\10", 2),
            wide = npy(DICT("|u1", "(2, 100000000000)"), "\1\2", 2);
    put_npz((const char *[]){"a.npy", "b.npy"}, (const char *[]){flat.data, wide.data},
            (const size_t[]){flat.length, wide.length}, 2);
    ck_assert_int_eq(sg_table_read(&table, test_path, &error), SG_EDATA);
    ck_assert_msg(strstr(error.message, "\"b\" ends before the last") != NULL, "%s", error.message);
    sg_text_free(&flat);
    sg_text_free(&wide);
}
END_TEST

/* Headers with a number or a letter changed: the reader says yes or no, never falls over. Run it with the
 * sanitizers; the seed is fixed. */
START_TEST(damaged_arrays_never_harm)
{
    sg_text flat = npy(DICT("|i1", "(2,)"), "\7\10", 2),
            rows = npy(DICT("<u2", "(2, 3)"), "\1\0\2\0\3\0\4\0\5\0\6\0", 12);
    const char *const names[] = {"flat.npy", "rows.npy"};
    char *copy[] = {malloc(flat.length), malloc(rows.length)};
    size_t lengths[] = {flat.length, rows.length}, accepted = 0, refused = 0;
    for (uint32_t i = 0; i < 2000; i++) {
        uint32_t words[4];
        memcpy(copy[0], flat.data, flat.length);
        memcpy(copy[1], rows.data, rows.length);
        sg_rng_words((sg_address){.seed = 5, .token = i}, words);
        size_t which = words[0] % 2, shape = words[1] % 2 ? 20 : lengths[which];
        copy[which][lengths[which] - 1 - words[2] % shape] =
            "0123456789,() iufbUS<>'"[words[3] % 23];
        put_npz(names, (const char *const *)copy, lengths, 2);
        sg_table *table = NULL;
        sg_error error = {0};
        sg_status status = sg_table_read(&table, test_path, &error);
        accepted += status == SG_OK;
        refused += status == SG_EDATA;
        ck_assert_msg(status == SG_OK || status == SG_EDATA, "%s", error.message);
        sg_table_free(table);
    }
    ck_assert_msg(accepted > 100 && refused > 100, "%zu and %zu of both kinds", accepted, refused);
    free(copy[0]);
    free(copy[1]);
    sg_text_free(&flat);
    sg_text_free(&rows);
}
END_TEST

START_TEST(npz_refuses_what_it_cannot_hold)
{
    sg_table *table = sg_table_alloc();
    sg_error error;
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_NPZ, test_path, &error), SG_EARGUMENT);
    ck_assert_int_eq(sg_table_write_stream(table, SG_FORMAT_NPZ, stderr, &error), SG_EARGUMENT);
    sg_table_add_column(table, "text", SG_COLUMN_TEXT, NULL);
    sg_table_add_rows(table, 10000, NULL);
    char *giant = calloc(1, 1000001);
    memset(giant, 'x', 1000000);
    sg_table_set_text(table, 0, 0, giant, NULL);
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_NPZ, test_path, &error), SG_EUNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(error.message, "\"text\" has a cell of 1000000 characters"));
    sg_table_set_text(table, 0, 0, "small", NULL);
    sg_table_add_column(table, "metadata", SG_COLUMN_REAL, NULL);
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_NPZ, test_path, &error), SG_EARGUMENT);
    ck_assert_uint_eq(count_files(), 0);
    free(giant);
    sg_table_free(table);
}
END_TEST

Suite *npz_suite(void);
Suite *npz_suite(void)
{
    Suite *suite = suite_create("npz");
    TCase *tests = add_file_case(suite, "npz");
    tcase_add_loop_test(tests, npy_number_types_are_read, 0, COUNT(arrays));
    tcase_add_loop_test(tests, bad_npy_is_refused, 0, COUNT(bad_arrays));
    tcase_add_test(tests, npz_arrays_must_fit_together);
    tcase_add_test(tests, npz_responses_are_unfolded);
    tcase_add_test(tests, npz_widths_are_not_believed);
    tcase_add_test(tests, damaged_arrays_never_harm);
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, npz_refuses_what_it_cannot_hold);
    return suite;
}
