/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "core/table.h"
#include "core/text.h"

START_TEST(text_grows_and_counts)
{
    sg_text text = {0};
    sg_text_append(&text, "");
    ck_assert_str_eq(text.data, "");
    for (int i = 0; i < 1000; i++)
        sg_text_printf(&text, "%03d,", i);
    ck_assert_uint_eq(text.length, 4000);
    ck_assert_uint_eq(strlen(text.data), 4000);
    ck_assert_int_eq(memcmp(text.data + 3992, "998,999,", 9), 0);
    sg_text_clear(&text);
    sg_text_append_bytes(&text, "a\0b", 3);
    ck_assert_uint_eq(text.length, 3);
    ck_assert_int_eq(memcmp(text.data, "a\0b", 4), 0);
    sg_text_free(&text);
    ck_assert_ptr_null(text.data);
}
END_TEST

START_TEST(text_remembers_a_failed_allocation)
{
    sg_text text = {0};
    sg_text_append(&text, "kept");
    sg_text_append_bytes(&text, "x", SIZE_MAX - 2);
    ck_assert(text.failed);
    sg_text_append(&text, "ignored");
    ck_assert_str_eq(text.data, "kept");
    sg_text_free(&text);
}
END_TEST

static const struct {
    double value;
    const char *text;
} reals[] = {
    {0.0, "0"},
    {-0.0, "-0"},
    {1.0, "1"},
    {-2.5, "-2.5"},
    {0.1, "0.1"},
    {0.1 + 0.2, "0.30000000000000004"},
    {1.0 / 3, "0.3333333333333333"},
    {1e15, "1e+15"},
    {999999999999999, "999999999999999"},
    {9007199254740992.0, "9007199254740992"},
    {5e-324, "4.94065645841247e-324"},
    {DBL_MIN, "2.2250738585072014e-308"},
    {DBL_MAX, "1.7976931348623157e+308"},
    {INFINITY, "inf"},
    {-INFINITY, "-inf"},
};

START_TEST(reals_are_written_in_their_shortest_form)
{
    char buffer[32];
    double back;
    ck_assert_str_eq(sg_format_real(reals[_i].value, buffer), reals[_i].text);
    ck_assert(sg_parse_real(buffer, &back));
    ck_assert_int_eq(memcmp(&back, &reals[_i].value, sizeof back), 0);
}
END_TEST

/* Random bit patterns reach every exponent; the C library's strtod is the witness of the parser. */
START_TEST(every_double_survives_a_round_trip)
{
    char buffer[32];
    for (uint32_t i = 0; i < 50000; i++) {
        uint32_t words[4];
        sg_rng_words((sg_address){.seed = 1, .stream = SG_STREAM_SYNTHETIC, .token = i}, words);
        double value, back = 0;
        memcpy(&value, words, sizeof value);
        if (i % 2 == 1) /* few digits and small exponents take the parser's short way */
            value = (double)(int32_t)words[0] / (double)(1 + words[1] % 4096);
        ck_assert(sg_parse_real(sg_format_real(value, buffer), &back));
        if (isnan(value))
            ck_assert(isnan(back));
        else
            ck_assert_msg(memcmp(&back, &value, sizeof back) == 0, "%a -> %s -> %a", value, buffer,
                          back);
        snprintf(buffer, sizeof buffer, "%.*g", (int)(words[2] % 17) + 1, value);
        ck_assert(sg_parse_real(buffer, &back));
        double expected = strtod(buffer, NULL);
        ck_assert(isnan(value) || memcmp(&back, &expected, sizeof back) == 0);
    }
}
END_TEST

START_TEST(nan_and_spellings_are_read)
{
    const char *nans[] = {"nan", "NaN", "NAN", "-nan", " nan\t"};
    const char *infinities[] = {"inf", "Inf", "+inf", "Infinity", "INFINITY", "1e400", " inf "};
    double value;
    for (size_t i = 0; i < sizeof nans / sizeof *nans; i++) {
        value = 0;
        ck_assert(sg_parse_real(nans[i], &value) && isnan(value));
    }
    for (size_t i = 0; i < sizeof infinities / sizeof *infinities; i++) {
        value = 0;
        ck_assert(sg_parse_real(infinities[i], &value) && value == INFINITY);
    }
    ck_assert(sg_parse_real("-Infinity", &value) && value == -INFINITY);
    ck_assert(sg_parse_real(".5", &value) && value == 0.5);
    ck_assert(sg_parse_real("5.", &value) && value == 5);
    ck_assert(sg_parse_real("  +1E+2", &value) && value == 100);
    ck_assert(sg_parse_real("1e-999999999999", &value) && value == 0);
    ck_assert(sg_parse_real("0e999999999999", &value) && value == 0);
}
END_TEST

static const char *const not_reals[] = {
    "",    " ",     "-",   ".",   "e5",   "1e",     "1e+",  "0.5x", "1 2",  "1,5",     "0x10",
    "1_0", "1.2.3", "--1", "+-1", "nanx", "nan(1)", "infi", "1\n",  "true", "\xc2\xbd"};

START_TEST(real_parser_wants_the_whole_word)
{
    double value = 42;
    ck_assert_msg(!sg_parse_real(not_reals[_i], &value), "accepted \"%s\"", not_reals[_i]);
    ck_assert_double_eq(value, 42);
}
END_TEST

static const struct {
    const char *text;
    int64_t value;
} integers[] = {
    {"0", 0},
    {"-0", 0},
    {"010", 10},
    {"+7", 7},
    {" -3\t", -3},
    {"1e3", 1000},
    {"1.5e1", 15},
    {"1000e-3", 1},
    {"10.0e0", 10},
    {"0e-5", 0},
    {"0.000e400", 0},
    {"9223372036854775807", INT64_MAX},
    {"-9223372036854775808", INT64_MIN},
    {"00000000000000000000000000001", 1},
    {"9.223372036854775807e18", INT64_MAX},
};

START_TEST(integers_are_read_exactly)
{
    int64_t value = 42;
    ck_assert_msg(sg_parse_integer(integers[_i].text, &value), "%s", integers[_i].text);
    ck_assert_int_eq(value, integers[_i].value);
}
END_TEST

static const char *const not_integers[] = {"",
                                           "-",
                                           "1.0",
                                           "1.",
                                           "1.5",
                                           "1e-1",
                                           "1.25e1",
                                           "0x10",
                                           "1 2",
                                           "nan",
                                           "inf",
                                           "1e",
                                           "e1",
                                           "1e19",
                                           "1e999999999999",
                                           "9223372036854775808",
                                           "-9223372036854775809",
                                           "99999999999999999999999"};

START_TEST(integer_parser_refuses_the_rest)
{
    int64_t value = 42;
    ck_assert_msg(!sg_parse_integer(not_integers[_i], &value), "accepted \"%s\"", not_integers[_i]);
    ck_assert_int_eq(value, 42);
}
END_TEST

START_TEST(a_decimal_comma_changes_nothing)
{
    /* A container may have no such locale; then there is nothing to test. */
    if (setlocale(LC_NUMERIC, "de_DE.UTF-8") == NULL)
        return;
    char buffer[32];
    double value = 0;
    ck_assert_str_eq(sg_format_real(0.1 + 0.2, buffer), "0.30000000000000004");
    ck_assert(sg_parse_real("0.30000000000000004", &value));
    ck_assert_double_eq(value, 0.1 + 0.2);
    setlocale(LC_NUMERIC, "C");
}
END_TEST

START_TEST(typos_find_their_name)
{
    const char *names[] = {"tau_pos", "tau_neg", "eps_low", "eps_high", "sapo", "gspo", NULL};
    ck_assert_str_eq(sg_nearest_name("tau_poss", names), "tau_pos");
    ck_assert_str_eq(sg_nearest_name("TAU-NEG", names), "tau_neg");
    ck_assert_str_eq(sg_nearest_name("spao", names), "sapo");
    ck_assert_str_eq(sg_nearest_name("gsop", names), "gspo");
    ck_assert_str_eq(sg_nearest_name("eps_hgih", names), "eps_high");
    ck_assert_ptr_null(sg_nearest_name("temperature", names));
    ck_assert_ptr_null(sg_nearest_name("x", names));
    ck_assert_ptr_null(sg_nearest_name("", names));
    char *huge = malloc(1000001);
    memset(huge, 's', 1000000);
    huge[1000000] = '\0';
    ck_assert_ptr_null(sg_nearest_name(huge, names));
    free(huge);
}
END_TEST

START_TEST(table_holds_what_was_set)
{
    sg_table *table = sg_table_alloc();
    sg_error error;
    ck_assert_int_eq(sg_table_add_column(table, "objective", SG_COLUMN_TEXT, &error), SG_OK);
    ck_assert_int_eq(sg_table_add_rows(table, 3, &error), SG_OK);
    ck_assert_int_eq(sg_table_add_column(table, "ratio", SG_COLUMN_REAL, &error), SG_OK);
    ck_assert_int_eq(sg_table_add_column(table, "step", SG_COLUMN_INTEGER, &error), SG_OK);
    ck_assert_int_eq(sg_table_add_rows(table, 1000, &error), SG_OK);
    ck_assert_uint_eq(sg_table_rows(table), 1003);
    ck_assert_uint_eq(sg_table_columns(table), 3);
    for (size_t row = 0; row < 1003; row++) {
        ck_assert_str_eq(sg_table_get_text(table, 0, row), "");
        ck_assert(isnan(sg_table_get_real(table, 1, row)));
        ck_assert_int_eq(sg_table_get_integer(table, 2, row), 0);
    }
    sg_table_set_integer(table, 2, 1002, INT64_MIN);
    sg_table_set_real(table, 1, 1002, -0.0);
    ck_assert_int_eq(sg_table_set_text(table, 0, 1002, "sapo", &error), SG_OK);
    ck_assert_int_eq(sg_table_set_text(table, 0, 1001, "sapo", &error), SG_OK);
    ck_assert_int_eq(sg_table_set_text(table, 0, 1001, "grpo", &error), SG_OK);
    ck_assert_str_eq(sg_table_get_text(table, 0, 1002), "sapo");
    ck_assert_str_eq(sg_table_get_text(table, 0, 1001), "grpo");
    ck_assert(signbit(sg_table_get_real(table, 1, 1002)));
    ck_assert_double_eq(sg_table_get_number(table, 2, 1002), -0x1p63);
    ck_assert(isnan(sg_table_get_number(table, 0, 1002)));
    ck_assert_int_eq(sg_table_integer(table, 2)[1002], INT64_MIN);
    ck_assert_int_eq(sg_table_find(table, "step"), 2);
    ck_assert_int_eq(sg_table_find(table, "steps"), -1);
    ck_assert_str_eq(sg_table_column_name(table, 1), "ratio");
    ck_assert_int_eq(sg_table_column_type(table, 1), SG_COLUMN_REAL);
    sg_table_free(table);
    sg_table_free(NULL);
}
END_TEST

START_TEST(column_names_are_unique_and_not_empty)
{
    sg_table *table = sg_table_alloc();
    sg_error error;
    ck_assert_int_eq(sg_table_add_column(table, "", SG_COLUMN_REAL, &error), SG_EARGUMENT);
    ck_assert_int_eq(sg_table_add_column(table, "a", SG_COLUMN_REAL, &error), SG_OK);
    ck_assert_int_eq(sg_table_add_column(table, "a", SG_COLUMN_TEXT, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "\"a\""));
    ck_assert_uint_eq(sg_table_columns(table), 1);
    sg_table_free(table);
}
END_TEST

START_TEST(metadata_keeps_its_order)
{
    sg_table *table = sg_table_alloc();
    sg_error error;
    const char *key, *value;
    ck_assert_int_eq(sg_table_set_meta(table, "seed", "1", &error), SG_OK);
    ck_assert_int_eq(sg_table_set_meta(table, "backend", "cpu", &error), SG_OK);
    ck_assert_int_eq(sg_table_set_meta(table, "seed", "22", &error), SG_OK);
    ck_assert_int_eq(sg_table_set_meta(table, "", "x", &error), SG_EARGUMENT);
    ck_assert_str_eq(sg_table_meta(table, "seed"), "22");
    ck_assert_ptr_null(sg_table_meta(table, "absent"));
    ck_assert(sg_table_meta_at(table, 0, &key, &value));
    ck_assert_str_eq(key, "seed");
    ck_assert(sg_table_meta_at(table, 1, &key, &value));
    ck_assert_str_eq(value, "cpu");
    ck_assert(!sg_table_meta_at(table, 2, &key, &value));
    sg_table_free(table);
}
END_TEST

START_TEST(wide_and_tall_tables_stay_quick)
{
    sg_table *table = sg_table_alloc();
    char name[32];
    for (int i = 0; i < 100000; i++) {
        snprintf(name, sizeof name, "column %d", i);
        ck_assert_int_eq(sg_table_add_column(table, name, SG_COLUMN_REAL, NULL), SG_OK);
    }
    ck_assert_int_eq(sg_table_find(table, "column 99999"), 99999);
    sg_table_free(table);
    table = sg_table_alloc();
    sg_table_add_column(table, "text", SG_COLUMN_TEXT, NULL);
    for (int i = 0; i < 200000; i++) {
        snprintf(name, sizeof name, "cell %d", i % 100000);
        ck_assert_int_eq(sg_table_add_rows(table, 1, NULL), SG_OK);
        ck_assert_int_eq(sg_table_set_text(table, 0, (size_t)i, name, NULL), SG_OK);
    }
    ck_assert_str_eq(sg_table_get_text(table, 0, 123456), "cell 23456");
    sg_table_free(table);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

Suite *table_suite(void);
Suite *table_suite(void)
{
    Suite *suite = suite_create("table");
    TCase *text = tcase_create("text");
    tcase_add_test(text, text_grows_and_counts);
    tcase_add_test(text, text_remembers_a_failed_allocation);
    tcase_add_loop_test(text, reals_are_written_in_their_shortest_form, 0, COUNT(reals));
    tcase_add_test(text, every_double_survives_a_round_trip);
    tcase_add_test(text, nan_and_spellings_are_read);
    tcase_add_loop_test(text, real_parser_wants_the_whole_word, 0, COUNT(not_reals));
    tcase_add_loop_test(text, integers_are_read_exactly, 0, COUNT(integers));
    tcase_add_loop_test(text, integer_parser_refuses_the_rest, 0, COUNT(not_integers));
    tcase_add_test(text, a_decimal_comma_changes_nothing);
    tcase_add_test(text, typos_find_their_name);
    suite_add_tcase(suite, text);
    TCase *table = tcase_create("table");
    tcase_add_test(table, table_holds_what_was_set);
    tcase_add_test(table, column_names_are_unique_and_not_empty);
    tcase_add_test(table, metadata_keeps_its_order);
    tcase_add_test(table, wide_and_tall_tables_stay_quick);
    suite_add_tcase(suite, table);
    return suite;
}
