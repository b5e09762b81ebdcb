/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "core/stats.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static double normal(uint64_t seed, uint32_t i)
{
    double pair[2];
    sg_rng_normal_pair((sg_address){.seed = seed, .stream = SG_STREAM_SYNTHETIC, .token = i}, pair);
    return pair[0];
}

START_TEST(means_do_not_lose_small_terms)
{
    size_t left_out;
    ck_assert_double_eq(sg_stats_mean((double[]){1e16, 1, -1e16}, 3, &left_out), 1 / 3.);
    ck_assert_uint_eq(left_out, 0);
    ck_assert_double_eq(sg_stats_mean((double[]){NAN, 2, NAN, 4}, 4, &left_out), 3);
    ck_assert_uint_eq(left_out, 2);
    ck_assert_double_eq(sg_stats_mean((double[]){1, INFINITY, 2}, 3, &left_out), INFINITY);
    ck_assert_uint_eq(left_out, 0);
    ck_assert(isnan(sg_stats_mean((double[]){-INFINITY, INFINITY}, 2, NULL)));
    ck_assert(isnan(sg_stats_mean(NULL, 0, &left_out)));
    ck_assert(isnan(sg_stats_mean((double[]){NAN}, 1, &left_out)));
    ck_assert_uint_eq(left_out, 1);
    /* 0.1 ten million times: a plain sum is off by 1.6e-4 here. */
    enum { MANY = 10000000 };
    double *values = malloc(MANY * sizeof *values);
    for (size_t i = 0; i < MANY; i++)
        values[i] = 0.1;
    ck_assert_double_eq(sg_stats_mean(values, MANY, NULL), 0.1);
    free(values);
}
END_TEST

START_TEST(variances_agree_with_gsl)
{
    size_t left_out;
    double values[200];
    for (uint32_t i = 0; i < 200; i++)
        values[i] = 1e6 + normal(1, i);
    ck_assert_double_eq_tol(sg_stats_variance(values, 200, &left_out),
                            gsl_stats_variance(values, 1, 200), 1e-9);
    ck_assert_double_eq(sg_stats_variance((double[]){1, 2, NAN, 3, 4}, 5, &left_out), 5 / 3.);
    ck_assert_uint_eq(left_out, 1);
    ck_assert(isnan(sg_stats_variance((double[]){1, NAN}, 2, &left_out)));
}
END_TEST

START_TEST(quantiles_agree_with_gsl)
{
    double values[101], sorted[100], levels[41], quantiles[41];
    for (uint32_t i = 0; i < 101; i++)
        values[i] = normal(2, i);
    memcpy(sorted, values, sizeof sorted);
    gsl_sort(sorted, 1, 100);
    values[100] = NAN;
    for (int i = 0; i <= 40; i++)
        levels[i] = (40 - i) / 40.;
    size_t left_out;
    ck_assert_int_eq(sg_stats_quantiles(values, NULL, 101, levels, quantiles, 41, &left_out, NULL),
                     SG_OK);
    ck_assert_uint_eq(left_out, 1);
    for (int i = 0; i <= 40; i++)
        ck_assert_double_eq(quantiles[i],
                            gsl_stats_quantile_from_sorted_data(sorted, 1, 100, levels[i]));
}
END_TEST

START_TEST(quantiles_at_the_edges)
{
    double q[3];
    const double levels[] = {0, 0.75, 1};
    ck_assert_int_eq(sg_stats_quantiles((double[]){4, 1, 2}, NULL, 3, levels, q, 3, NULL, NULL), 0);
    ck_assert(q[0] == 1 && q[1] == 3 && q[2] == 4);
    const double infinite[] = {INFINITY, 1, -INFINITY};
    ck_assert_int_eq(sg_stats_quantiles(infinite, NULL, 3, (double[]){0, 0.5, 1}, q, 3, NULL, NULL),
                     0);
    ck_assert(q[0] == -INFINITY && q[1] == 1 && q[2] == INFINITY);
    ck_assert_int_eq(sg_stats_quantiles((double[]){7}, NULL, 1, levels, q, 3, NULL, NULL), 0);
    ck_assert(q[0] == 7 && q[1] == 7 && q[2] == 7);
    ck_assert_int_eq(sg_stats_quantiles(NULL, NULL, 0, levels, q, 3, NULL, NULL), 0);
    ck_assert(isnan(q[0]) && isnan(q[1]) && isnan(q[2]));
    const double bad[] = {-0.1, 1.1, NAN};
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(sg_stats_quantiles(infinite, NULL, 3, &bad[i], q, 1, NULL, NULL),
                         SG_EARGUMENT);
}
END_TEST

START_TEST(weighted_quantiles_step)
{
    const double values[] = {4, NAN, 1, 2, 9, 0}, weights[] = {2, 5, 1, 1, NAN, 0};
    const double levels[] = {0, 0.25, 0.26, 0.5, 0.51, 1};
    const double expected[] = {1, 1, 2, 2, 4, 4};
    double q[6];
    size_t left_out;
    ck_assert_int_eq(sg_stats_quantiles(values, weights, 6, levels, q, 6, &left_out, NULL), SG_OK);
    ck_assert_uint_eq(left_out, 2);
    for (int i = 0; i < 6; i++)
        ck_assert_double_eq(q[i], expected[i]);
    ck_assert_int_eq(
        sg_stats_quantiles(values, (double[]){1, 1, -1, 1, 1, 1}, 6, levels, q, 6, NULL, NULL),
        SG_EARGUMENT);
    ck_assert_int_eq(sg_stats_quantiles(values, (double[6]){0}, 6, levels, q, 6, NULL, NULL),
                     SG_OK);
    ck_assert(isnan(q[0]));
}
END_TEST

START_TEST(interquartile_means_are_those_of_scipy)
{
    double iqm, values[64], sorted[64];
    size_t left_out;
    ck_assert_int_eq(sg_stats_iqm((double[]){100, 0, 2, 1, 3}, 5, &iqm, &left_out, NULL), SG_OK);
    ck_assert_double_eq(iqm, 2);
    const double with_nan[] = {100, 0, NAN, 2, 1, 3};
    ck_assert_int_eq(sg_stats_iqm(with_nan, 6, &iqm, &left_out, NULL), SG_OK);
    ck_assert_double_eq(iqm, 2);
    ck_assert_uint_eq(left_out, 1);
    ck_assert_int_eq(sg_stats_iqm((double[]){INFINITY, 1, 2, -INFINITY}, 4, &iqm, NULL, NULL), 0);
    ck_assert_double_eq(iqm, 1.5);
    for (size_t count = 1; count <= 64; count++) {
        for (uint32_t i = 0; i < count; i++)
            values[i] = normal(3, i);
        gsl_sort_smallest(sorted, count, values, 1, count);
        ck_assert_int_eq(sg_stats_iqm(values, count, &iqm, NULL, NULL), SG_OK);
        ck_assert_double_eq_tol(iqm, gsl_stats_trmean_from_sorted_data(0.25, sorted, 1, count),
                                1e-14);
    }
}
END_TEST

START_TEST(tail_mean_counts_the_edge_in_part)
{
    double cvar;
    const double values[] = {5, 1, 4, NAN, 2, 3};
    size_t left_out;
    ck_assert_int_eq(sg_stats_cvar(values, 6, 0.3, &cvar, &left_out, NULL), SG_OK);
    ck_assert_double_eq_tol(cvar, 4 / 3., 1e-15);
    ck_assert_uint_eq(left_out, 1);
    ck_assert_int_eq(sg_stats_cvar(values, 6, 1, &cvar, NULL, NULL), SG_OK);
    ck_assert_double_eq(cvar, 3);
    ck_assert_int_eq(sg_stats_cvar(values, 6, 0.01, &cvar, NULL, NULL), SG_OK);
    ck_assert_double_eq_tol(cvar, 1, 1e-15);
    ck_assert_int_eq(sg_stats_cvar(values, 6, 0, &cvar, NULL, NULL), SG_EARGUMENT);
}
END_TEST

static const struct {
    uint64_t successes, trials;
    double low, high, tolerance;
} rates[] = {{0, 16, 0, 0.194, 5e-4},       {0, 64, 0, 0.0566, 5e-5},
             {3, 64, 0.0161, 0.1290, 5e-5}, {13, 64, 0.1227, 0.3171, 5e-5},
             {16, 16, 0.806, 1, 5e-4},      {0, 0, 0, 1, 0}};

START_TEST(wilson_intervals_are_known)
{
    double low, high;
    sg_stats_wilson(rates[_i].successes, rates[_i].trials, 0.95, &low, &high);
    ck_assert_double_eq_tol(low, rates[_i].low, rates[_i].tolerance + 1e-300);
    ck_assert_double_eq_tol(high, rates[_i].high, rates[_i].tolerance + 1e-300);
    ck_assert(low >= 0 && high <= 1);
    ck_assert(rates[_i].successes > 0 || low == 0);
    ck_assert(rates[_i].successes < rates[_i].trials || high == 1);
}
END_TEST

static const sg_bootstrap how = {.seed = 7, .resamples = 20000, .level = 0.95};

/* For a mean the interval must be that of normal theory, up to the noise of 20,000 resamples (about
 * 1 % of the width at either end). */
START_TEST(bootstrap_of_a_mean_follows_theory)
{
    double values[401];
    for (uint32_t i = 0; i < 401; i++)
        values[i] = 3 + 2 * normal(4, i);
    values[13] = NAN;
    sg_interval interval;
    ck_assert_int_eq(sg_stats_mean_interval(&how, values, 401, &interval, NULL), SG_OK);
    ck_assert_uint_eq(interval.left_out, 1);
    double mean = sg_stats_mean(values, 401, NULL);
    double half = 1.96 * sqrt(sg_stats_variance(values, 401, NULL) / 400);
    ck_assert_double_eq_tol(interval.estimate, mean, 1e-14);
    ck_assert_double_eq_tol(interval.low, mean - half, 0.05 * half);
    ck_assert_double_eq_tol(interval.high, mean + half, 0.05 * half);
    sg_interval again, other;
    ck_assert_int_eq(sg_stats_mean_interval(&how, values, 401, &again, NULL), SG_OK);
    ck_assert_int_eq(memcmp(&interval, &again, sizeof again), 0);
    sg_bootstrap reseeded = how;
    reseeded.seed = 8;
    ck_assert_int_eq(sg_stats_mean_interval(&reseeded, values, 401, &other, NULL), SG_OK);
    ck_assert_double_ne(interval.low, other.low);
}
END_TEST

/* 300 samples of 24 normals: the percentile interval of the IQM should hold the true 0 in somewhat
 * less than 95 % of them. With the seed fixed the count is always the same; over seeds it would
 * leave [0.86, 0.98] about once in ten thousand times if the true coverage is 0.93. */
START_TEST(bootstrap_intervals_cover_the_truth)
{
    enum { SAMPLES = 300, SIZE = 24 };
    const sg_bootstrap quick = {.seed = 11, .resamples = 1000, .level = 0.95};
    int covered = 0;
    for (uint64_t sample = 0; sample < SAMPLES; sample++) {
        double values[SIZE];
        for (uint32_t i = 0; i < SIZE; i++)
            values[i] = normal(1000 + sample, i);
        sg_interval interval;
        ck_assert_int_eq(sg_stats_iqm_interval(&quick, values, SIZE, &interval, NULL), SG_OK);
        ck_assert(interval.low <= interval.estimate && interval.estimate <= interval.high);
        covered += interval.low <= 0 && interval.high >= 0;
    }
    ck_assert_int_ge(covered, (int)(0.86 * SAMPLES));
    ck_assert_int_le(covered, (int)(0.98 * SAMPLES));
}
END_TEST

static double sum_of(const size_t *index, size_t count, void *context)
{
    const double *values = context;
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += values[index[i]];
    return sum;
}

START_TEST(strata_are_resampled_on_their_own)
{
    double values[] = {1, 1, 1, 100, 100, 100, 100, -7};
    sg_interval interval;
    ck_assert_int_eq(
        sg_stats_bootstrap(&how, (size_t[]){3, 4, 1}, 3, sum_of, values, &interval, NULL), SG_OK);
    ck_assert_double_eq(interval.estimate, 396);
    ck_assert_double_eq(interval.low, 396);
    ck_assert_double_eq(interval.high, 396);
    ck_assert_int_eq(sg_stats_bootstrap(&how, (size_t[]){8}, 1, sum_of, values, &interval, NULL),
                     SG_OK);
    ck_assert_double_lt(interval.low, 300);
    ck_assert_double_gt(interval.high, 500);
}
END_TEST

/* Of two units the sum of {0, 1} is 0, 1, 2 with probabilities 1/4, 1/2, 1/4, so the quantiles of
 * the resamples turn at 1/4 and 3/4. */
START_TEST(resamples_are_uniform)
{
    double values[] = {0, 1};
    sg_interval interval;
    sg_bootstrap wide = how, narrow = how;
    wide.level = 0.52;   /* ends at 0.24 and 0.76 */
    narrow.level = 0.48; /* ends at 0.26 and 0.74 */
    ck_assert_int_eq(sg_stats_bootstrap(&wide, (size_t[]){2}, 1, sum_of, values, &interval, NULL),
                     0);
    ck_assert(interval.low == 0 && interval.high == 2);
    ck_assert_int_eq(sg_stats_bootstrap(&narrow, (size_t[]){2}, 1, sum_of, values, &interval, NULL),
                     0);
    ck_assert(interval.low == 1 && interval.high == 1);
}
END_TEST

struct arms {
    const double *a, *b;
};

static double difference_of_means(const size_t *index, size_t count, void *context)
{
    const struct arms *arms = context;
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += arms->a[index[i]] - arms->b[index[i]];
    return sum / (double)count;
}

START_TEST(paired_arms_cancel_their_common_noise)
{
    double a[32], b[32];
    for (uint32_t i = 0; i < 32; i++) {
        b[i] = 100 * normal(5, i);
        a[i] = b[i] + 1 + 0.01 * normal(6, i);
    }
    sg_interval interval;
    ck_assert_int_eq(sg_stats_bootstrap(&how, (size_t[]){32}, 1, difference_of_means,
                                        &(struct arms){a, b}, &interval, NULL),
                     SG_OK);
    ck_assert_double_gt(interval.low, 0.98);
    ck_assert_double_lt(interval.high, 1.02);
}
END_TEST

static double sometimes_nan(const size_t *index, size_t count, void *context)
{
    (void)count;
    (void)context;
    return index[0] == 0 ? NAN : 5;
}

START_TEST(bootstrap_counts_what_it_leaves_out)
{
    sg_interval interval;
    sg_error error;
    ck_assert_int_eq(
        sg_stats_bootstrap(&how, (size_t[]){2}, 1, sometimes_nan, NULL, &interval, NULL), SG_OK);
    ck_assert(isnan(interval.estimate) && interval.low == 5 && interval.high == 5);
    ck_assert_uint_gt(interval.left_out, 9500);
    ck_assert_uint_lt(interval.left_out, 10500);
    ck_assert_int_eq(sg_stats_iqm_interval(&how, (double[]){NAN, NAN}, 2, &interval, &error),
                     SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "2 are NaN"));
    sg_bootstrap bad = how;
    bad.resamples = 0;
    ck_assert_int_eq(
        sg_stats_bootstrap(&bad, (size_t[]){2}, 1, sometimes_nan, NULL, &interval, NULL),
        SG_EARGUMENT);
    bad = how;
    bad.level = 1;
    ck_assert_int_eq(
        sg_stats_bootstrap(&bad, (size_t[]){2}, 1, sometimes_nan, NULL, &interval, NULL),
        SG_EARGUMENT);
    ck_assert_int_eq(
        sg_stats_bootstrap(&how, (size_t[]){2, 0}, 2, sometimes_nan, NULL, &interval, NULL),
        SG_EARGUMENT);
}
END_TEST

/* Remission of leukaemia under 6-MP (Freireich et al. 1963), the example of many textbooks; the
 * intervals are those of SAS and of R's survfit(conf.type = "log-log"). */
START_TEST(survival_of_a_textbook)
{
    const double times[] = {6,  6,  6,  6,  7,  9,  10, 10, 11, 13, 16,
                            17, 19, 20, 22, 23, 25, 32, 32, 34, 35, NAN};
    const bool censored[] = {0, 0, 0, 1, 0, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 0};
    const struct {
        double time, survival, low, high;
        int at_risk, events;
    } expected[] = {
        {6, 0.8571, 0.6197, 0.9516, 21, 3},  {7, 0.8067, 0.5631, 0.9228, 17, 1},
        {10, 0.7529, 0.5032, 0.8894, 15, 1}, {13, 0.6902, 0.4316, 0.8491, 12, 1},
        {16, 0.6275, 0.3675, 0.8049, 11, 1}, {22, 0.5378, 0.2678, 0.7468, 7, 1},
        {23, 0.4482, 0.1881, 0.6801, 6, 1},
    };
    sg_table *curve;
    size_t left_out;
    ck_assert_int_eq(sg_stats_survival(times, censored, 22, 0.95, &curve, &left_out, NULL), SG_OK);
    ck_assert_uint_eq(left_out, 1);
    ck_assert_uint_eq(sg_table_rows(curve), 17);
    ck_assert_double_eq(sg_table_get_real(curve, 4, 0), 1);
    size_t next = 0;
    for (size_t row = 0; row < sg_table_rows(curve); row++) {
        if (sg_table_get_integer(curve, 2, row) == 0)
            continue;
        ck_assert_double_eq(sg_table_get_real(curve, 0, row), expected[next].time);
        ck_assert_int_eq(sg_table_get_integer(curve, 1, row), expected[next].at_risk);
        ck_assert_int_eq(sg_table_get_integer(curve, 2, row), expected[next].events);
        ck_assert_double_eq_tol(sg_table_get_real(curve, 4, row), expected[next].survival, 5e-5);
        ck_assert_double_eq_tol(sg_table_get_real(curve, 5, row), expected[next].low, 6e-5);
        ck_assert_double_eq_tol(sg_table_get_real(curve, 6, row), expected[next].high, 6e-5);
        next++;
    }
    ck_assert_uint_eq(next, COUNT(expected));
    sg_table_free(curve);
}
END_TEST

START_TEST(survival_at_its_ends)
{
    sg_table *curve;
    const double times[] = {1, 2, 2, 3};
    ck_assert_int_eq(sg_stats_survival(times, (bool[]){0, 0, 1, 0}, 4, 0.95, &curve, NULL, NULL),
                     SG_OK);
    const double survival[] = {1, 0.75, 0.5, 0};
    for (size_t row = 0; row < 4; row++)
        ck_assert_double_eq(sg_table_get_real(curve, 4, row), survival[row]);
    ck_assert(isnan(sg_table_get_real(curve, 5, 3)));
    sg_table_free(curve);
    ck_assert_int_eq(sg_stats_survival(NULL, NULL, 0, 0.95, &curve, NULL, NULL), SG_OK);
    ck_assert_uint_eq(sg_table_rows(curve), 1);
    sg_table_free(curve);
    ck_assert_int_eq(sg_stats_survival(times, (bool[]){1, 1, 1, 1}, 4, 2, &curve, NULL, NULL),
                     SG_EARGUMENT);
}
END_TEST

START_TEST(mcnemar_is_the_exact_binomial)
{
    ck_assert_double_eq(sg_stats_mcnemar(0, 0), 1);
    ck_assert_double_eq(sg_stats_mcnemar(3, 3), 1);
    ck_assert_double_eq_tol(sg_stats_mcnemar(0, 5), 0.0625, 1e-15);
    ck_assert_double_eq_tol(sg_stats_mcnemar(5, 0), 0.0625, 1e-15);
    /* 2 (1 + 10 + 45) / 2^10 */
    ck_assert_double_eq_tol(sg_stats_mcnemar(2, 8), 112.0 / 1024, 1e-15);
}
END_TEST

Suite *stats_suite(void);
Suite *stats_suite(void)
{
    Suite *suite = suite_create("stats");
    TCase *plain = tcase_create("plain");
    tcase_add_test(plain, means_do_not_lose_small_terms);
    tcase_add_test(plain, variances_agree_with_gsl);
    tcase_add_test(plain, quantiles_agree_with_gsl);
    tcase_add_test(plain, quantiles_at_the_edges);
    tcase_add_test(plain, weighted_quantiles_step);
    tcase_add_test(plain, interquartile_means_are_those_of_scipy);
    tcase_add_test(plain, tail_mean_counts_the_edge_in_part);
    tcase_add_loop_test(plain, wilson_intervals_are_known, 0, COUNT(rates));
    tcase_add_test(plain, mcnemar_is_the_exact_binomial);
    suite_add_tcase(suite, plain);
    TCase *bootstrap = tcase_create("bootstrap");
    tcase_set_timeout(bootstrap, 20);
    tcase_add_test(bootstrap, bootstrap_of_a_mean_follows_theory);
    tcase_add_test(bootstrap, bootstrap_intervals_cover_the_truth);
    tcase_add_test(bootstrap, strata_are_resampled_on_their_own);
    tcase_add_test(bootstrap, resamples_are_uniform);
    tcase_add_test(bootstrap, paired_arms_cancel_their_common_noise);
    tcase_add_test(bootstrap, bootstrap_counts_what_it_leaves_out);
    suite_add_tcase(suite, bootstrap);
    TCase *survival = tcase_create("survival");
    tcase_add_test(survival, survival_of_a_textbook);
    tcase_add_test(survival, survival_at_its_ends);
    suite_add_tcase(suite, survival);
    return suite;
}
