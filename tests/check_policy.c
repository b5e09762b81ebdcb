/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy/prior.h"

static sg_prior standard(size_t vocabulary)
{
    return (sg_prior){.vocabulary = vocabulary,
                      .head = 20,
                      .head_shape = SG_HEAD_GEOMETRIC,
                      .head_ratio = 0.6,
                      .tail_mass = 0.01,
                      .tail_shape = SG_TAIL_UNIFORM};
}

static sg_prior_summary summarize(const sg_prior *prior)
{
    double *logits = malloc(prior->vocabulary * sizeof *logits);
    ck_assert_ptr_nonnull(logits);
    sg_prior_logits(prior, logits);
    sg_prior_summary summary = sg_prior_summarize(prior, logits);
    free(logits);
    return summary;
}

START_TEST(standard_prior_has_the_published_numbers)
{
    const size_t vocabulary[] = {1000, 10000, 100000, 1000000};
    const double entropy[] = {1.79017, NAN, NAN, 1.85945};
    for (int i = 0; i < 4; i++) {
        sg_prior prior = standard(vocabulary[i]);
        sg_prior_summary s = summarize(&prior);
        double tail = (double)(vocabulary[i] - 20), m = 0.01;
        /* H = H_b(m) + (1 - m) H_head + m ln(V - K) */
        double expected =
            -m * log(m) - (1 - m) * log(1 - m) + (1 - m) * s.head_entropy + m * log(tail);
        ck_assert_double_eq_tol(s.entropy, expected, 1e-13);
        ck_assert_double_eq_tol(s.tail_mass, m, 1e-15);
        ck_assert_double_eq_tol(s.collision, 0.245043, 5e-7);
        if (!isnan(entropy[i]))
            ck_assert_double_eq_tol(s.entropy, entropy[i], 5e-6);
    }
}
END_TEST

START_TEST(probabilities_are_those_of_the_formula)
{
    sg_prior prior = standard(1000);
    double logits[1000];
    sg_prior_logits(&prior, logits);
    ck_assert_double_eq_tol(exp(logits[0]), 3.960145e-1, 5e-8);
    ck_assert_double_eq_tol(exp(logits[5]), 3.079409e-2, 5e-9);
    ck_assert_double_eq_tol(exp(logits[999]), 1.020408e-5, 5e-12);
    /* zipf by hand: head 1, 1/2, 1/3 and tail 1, 1/4 of mass 0.2 */
    prior = (sg_prior){.vocabulary = 5,
                       .head = 3,
                       .head_shape = SG_HEAD_ZIPF,
                       .head_exponent = 1,
                       .tail_mass = 0.2,
                       .tail_shape = SG_TAIL_ZIPF,
                       .tail_exponent = 2};
    sg_prior_logits(&prior, logits);
    const double expected[] = {0.8 * 6 / 11, 0.8 * 3 / 11, 0.8 * 2 / 11, 0.16, 0.04};
    for (int v = 0; v < 5; v++)
        ck_assert_double_eq_tol(exp(logits[v]), expected[v], 1e-15);
}
END_TEST

START_TEST(a_head_without_a_tail_is_a_whole_distribution)
{
    sg_prior prior = {.vocabulary = 4, .head = 4, .head_shape = SG_HEAD_GEOMETRIC, .head_ratio = 1};
    ck_assert_int_eq(sg_prior_check(&prior, NULL), SG_OK);
    sg_prior_summary s = summarize(&prior);
    ck_assert_double_eq_tol(s.entropy, log(4), 1e-15);
    ck_assert_double_eq_tol(s.head_entropy, log(4), 1e-15);
    ck_assert_double_eq_tol(s.collision, 0.25, 1e-15);
    ck_assert_double_eq(s.tail_mass, 0);
}
END_TEST

START_TEST(values_out_of_range_are_named)
{
    sg_error error;
    sg_prior prior = standard(1000);
    ck_assert_int_eq(sg_prior_check(&prior, &error), SG_OK);
    prior.vocabulary = 1;
    ck_assert_int_eq(sg_prior_check(&prior, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "vocabulary is 1"));
    prior = standard(1000);
    prior.head = 1001;
    ck_assert_int_eq(sg_prior_check(&prior, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "head is 1001"));
    prior = standard(1000);
    prior.head_ratio = NAN;
    ck_assert_int_eq(sg_prior_check(&prior, &error), SG_EARGUMENT);
    prior.head_ratio = 1e-40; /* the last head token would underflow */
    ck_assert_int_eq(sg_prior_check(&prior, &error), SG_EARGUMENT);
    prior = standard(1000);
    const double wrong_mass[] = {0, 1, -0.1, NAN};
    for (int i = 0; i < 4; i++) {
        prior.tail_mass = wrong_mass[i];
        ck_assert_int_eq(sg_prior_check(&prior, &error), SG_EARGUMENT);
        ck_assert_ptr_nonnull(strstr(error.message, "tail_mass"));
    }
    prior = standard(20);
    ck_assert_int_eq(sg_prior_check(&prior, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "tail_mass must be 0"));
}
END_TEST

START_TEST(a_confounded_sweep_is_refused)
{
    sg_error error;
    sg_prior_summary cells[3];
    const size_t vocabulary[] = {1000, 100000, 10000};
    for (int i = 0; i < 3; i++) {
        sg_prior prior = standard(vocabulary[i]);
        cells[i] = summarize(&prior);
    }
    ck_assert_int_eq(sg_prior_check_sweep(cells, 3, false, &error), SG_OK);
    cells[1].tail_mass = 0.01 * 1.009;
    ck_assert_int_eq(sg_prior_check_sweep(cells, 3, false, &error), SG_OK);
    cells[1].tail_mass = 0.01 * 1.011;
    ck_assert_int_eq(sg_prior_check_sweep(cells, 3, false, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "tail mass"));
    ck_assert_ptr_nonnull(strstr(error.message, "V = 100000"));
    ck_assert_int_eq(sg_prior_check_sweep(cells, 3, true, &error), SG_OK);
    cells[1].tail_mass = 0.01;
    cells[2].head_entropy -= 0.011;
    ck_assert_int_eq(sg_prior_check_sweep(cells, 3, false, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "head's entropy"));
}
END_TEST

Suite *policy_suite(void);
Suite *policy_suite(void)
{
    Suite *suite = suite_create("policy");
    TCase *tests = tcase_create("prior");
    tcase_add_test(tests, standard_prior_has_the_published_numbers);
    tcase_add_test(tests, probabilities_are_those_of_the_formula);
    tcase_add_test(tests, a_head_without_a_tail_is_a_whole_distribution);
    tcase_add_test(tests, values_out_of_range_are_named);
    tcase_add_test(tests, a_confounded_sweep_is_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
