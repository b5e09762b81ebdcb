/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <string.h>

#include "core/rng.h"
#include "core/status.h"

START_TEST(error_sentence_is_stored_and_cleaned)
{
    sg_error error;
    ck_assert_int_eq(sg_fail(&error, SG_EDATA, "bad \"%s\"", "a\nb"), SG_EDATA);
    ck_assert_str_eq(error.message, "bad \"a?b\"");
    ck_assert_int_eq(sg_fail(NULL, SG_EIO, "nobody listens"), SG_EIO);
    char long_text[2 * SG_MESSAGE_SIZE];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    sg_fail(&error, SG_EDATA, "%s", long_text);
    ck_assert_uint_eq(strlen(error.message), SG_MESSAGE_SIZE - 1);
    ck_assert_str_eq(error.message + SG_MESSAGE_SIZE - 4, "...");
}
END_TEST

START_TEST(philox_gives_the_published_words)
{
    uint32_t words[4];
    sg_rng_words((sg_address){0}, words);
    ck_assert_uint_eq(words[0], 0x6627e8d5);
    ck_assert_uint_eq(words[1], 0xe169c58d);
    ck_assert_uint_eq(words[2], 0xbc57ac4c);
    ck_assert_uint_eq(words[3], 0x9b00dbd8);
}
END_TEST

START_TEST(uniforms_stay_inside_the_open_interval)
{
    ck_assert_double_gt(sg_rng_unit(0, 0), 0.0);
    ck_assert_double_lt(sg_rng_unit(UINT32_MAX, UINT32_MAX), 1.0);
}
END_TEST

START_TEST(categorical_never_picks_zero_weight)
{
    const double weights[] = {0, 1, 0, 3, 0};
    ck_assert_uint_eq(sg_rng_categorical(weights, 5, 0.1), 1);
    ck_assert_uint_eq(sg_rng_categorical(weights, 5, 0.25), 3);
    ck_assert_uint_eq(sg_rng_categorical(weights, 5, 0x1.fffffffffffffp-1), 3);
    const double nothing[] = {0, 0};
    ck_assert_uint_eq(sg_rng_categorical(nothing, 2, 0.5), 2);
}
END_TEST

Suite *core_suite(void);
Suite *core_suite(void)
{
    Suite *suite = suite_create("core");
    TCase *tests = tcase_create("status and rng");
    tcase_add_test(tests, error_sentence_is_stored_and_cleaned);
    tcase_add_test(tests, philox_gives_the_published_words);
    tcase_add_test(tests, uniforms_stay_inside_the_open_interval);
    tcase_add_test(tests, categorical_never_picks_zero_weight);
    suite_add_tcase(suite, tests);
    return suite;
}
