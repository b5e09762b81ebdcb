/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Statistical tests of the random numbers. Seeds are fixed, so a verdict never changes; were they
 * drawn anew, each chi-square below would fail a perfect generator with probability 2e-6 (p-value
 * outside [1e-6, 1 - 1e-6]) and each moment with 6e-7 (five standard errors). */
#include <Random123/philox.h>
#include <check.h>
#include <gsl/gsl_cdf.h>
#include <math.h>
#include <stdlib.h>

#include "core/rng.h"

enum { DRAWS = 500000 };

static void assert_chi_square(const uint32_t *counts, const double *expected, size_t cells)
{
    double chi_square = 0;
    for (size_t i = 0; i < cells; i++) {
        double difference = counts[i] - expected[i];
        chi_square += difference * difference / expected[i];
    }
    double p = gsl_cdf_chisq_Q(chi_square, (double)(cells - 1));
    ck_assert_msg(p > 1e-6 && p < 1 - 1e-6, "chi-square %g of %zu cells, p = %g", chi_square, cells,
                  p);
}

static void assert_flat(const uint32_t *counts, size_t cells, double draws)
{
    double *expected = malloc(cells * sizeof *expected);
    for (size_t i = 0; i < cells; i++)
        expected[i] = draws / (double)cells;
    assert_chi_square(counts, expected, cells);
    free(expected);
}

/* Draw number i along one coordinate of the address. */
static sg_address address_along(int coordinate, uint32_t i)
{
    sg_address at = {.seed = 5, .stream = SG_STREAM_ROLLOUT, .step = 3};
    switch (coordinate) {
    case 0:
        at.token = i;
        break;
    case 1:
        at.sample = i;
        break;
    case 2:
        at.step = i;
        break;
    case 3:
        at.prompt = i;
        break;
    default:
        at.seed = i;
    }
    return at;
}

START_TEST(words_are_those_of_random123)
{
    for (uint32_t i = 0; i < 2000; i++) {
        sg_address at = {0x9e3779b97f4a7c15u * (i + 1), i % 11,      i * 2654435761u,
                         i * 40503u % (1 << 24),        ~i * 65599u, i * i * 2246822519u};
        philox4x32_ctr_t counter = {{at.token, at.sample, at.step, at.stream << 24 | at.prompt}};
        philox4x32_key_t key = {{(uint32_t)at.seed, (uint32_t)(at.seed >> 32)}};
        philox4x32_ctr_t want = philox4x32(counter, key);
        uint32_t words[4];
        sg_rng_words(at, words);
        ck_assert_mem_eq(words, want.v, sizeof words);
    }
}
END_TEST

START_TEST(uniforms_are_flat_along_every_coordinate)
{
    uint32_t high[256] = {0}, low[256] = {0};
    for (uint32_t i = 0; i < DRAWS; i++) {
        double u = sg_rng_uniform(address_along(_i, i));
        ck_assert(u > 0 && u < 1);
        high[(int)(u * 256)]++;
        /* bits 44 to 51, which a bad mix of two words would spoil */
        low[(uint64_t)(u * 0x1p52) & 255]++;
    }
    assert_flat(high, 256, DRAWS);
    assert_flat(low, 256, DRAWS);
}
END_TEST

START_TEST(neighbours_are_independent)
{
    static uint32_t pairs[64 * 64];
    for (size_t i = 0; i < 64 * 64; i++)
        pairs[i] = 0;
    for (uint32_t i = 0; i < DRAWS; i++) {
        double u = sg_rng_uniform(address_along(_i, 2 * i));
        double v = sg_rng_uniform(address_along(_i, 2 * i + 1));
        pairs[(size_t)(u * 64) * 64 + (size_t)(v * 64)]++;
    }
    assert_flat(pairs, (size_t)64 * 64, DRAWS);
}
END_TEST

START_TEST(streams_differ)
{
    sg_address a = address_along(0, 0), b = a;
    b.stream = SG_STREAM_NOISE;
    int equal = 0;
    for (a.token = b.token = 0; a.token < 1000; a.token++, b.token++)
        equal += sg_rng_uniform(a) == sg_rng_uniform(b);
    ck_assert_int_eq(equal, 0);
}
END_TEST

START_TEST(normals_have_their_moments)
{
    double sums[5] = {0}, cross = 0;
    for (uint32_t i = 0; i < DRAWS; i++) {
        double pair[2];
        sg_rng_normal_pair(address_along(0, i), pair);
        for (int side = 0; side < 2; side++) {
            double power = 1;
            for (int k = 0; k <= 4; k++, power *= pair[side])
                sums[k] += power;
        }
        cross += pair[0] * pair[1];
    }
    const double moments[] = {1, 0, 1, 0, 3}, variances[] = {0, 1, 2, 15, 96};
    double n = 2.0 * DRAWS;
    for (int k = 1; k <= 4; k++) {
        double z = (sums[k] / n - moments[k]) / sqrt(variances[k] / n);
        ck_assert_msg(fabs(z) < 5, "moment %d is %g, off by %g standard errors", k, sums[k] / n, z);
    }
    ck_assert_double_lt(fabs(cross / sqrt(DRAWS)), 5);
}
END_TEST

START_TEST(normals_have_their_shape)
{
    uint32_t cells[2][200] = {{0}};
    for (uint32_t i = 0; i < DRAWS; i++) {
        double pair[2];
        sg_rng_normal_pair(address_along(0, i), pair);
        for (int side = 0; side < 2; side++)
            cells[side][(int)(200 * gsl_cdf_ugaussian_P(pair[side]))]++;
    }
    assert_flat(cells[0], 200, DRAWS);
    assert_flat(cells[1], 200, DRAWS);
}
END_TEST

START_TEST(categories_follow_their_weights)
{
    const double weights[] = {1, 0, 2.5, 1e-3, 0, 10, 4};
    double expected[5];
    uint32_t counts[7] = {0}, seen[5];
    for (uint32_t i = 0; i < DRAWS; i++)
        counts[sg_rng_categorical(weights, 7, sg_rng_uniform(address_along(0, i)))]++;
    ck_assert_uint_eq(counts[1], 0);
    ck_assert_uint_eq(counts[4], 0);
    size_t used = 0;
    for (size_t i = 0; i < 7; i++) {
        if (weights[i] > 0) {
            expected[used] = DRAWS * weights[i] / 17.501;
            seen[used++] = counts[i];
        }
    }
    assert_chi_square(seen, expected, used);
}
END_TEST

START_TEST(categories_of_bad_weights_are_refused)
{
    const double infinite[] = {1, INFINITY}, nan_weight[] = {1, NAN}, minus[] = {2, -1},
                 zero[] = {0, 0};
    ck_assert_uint_eq(sg_rng_categorical(infinite, 2, 0.5), 2);
    ck_assert_uint_eq(sg_rng_categorical(nan_weight, 2, 0.5), 2);
    ck_assert_uint_eq(sg_rng_categorical(minus, 2, 0.5), 2);
    ck_assert_uint_eq(sg_rng_categorical(zero, 2, 0.5), 2);
    ck_assert_uint_eq(sg_rng_categorical(NULL, 0, 0.5), 0);
    const double one[] = {0x1p-1074};
    ck_assert_uint_eq(sg_rng_categorical(one, 1, 0.999), 0);
}
END_TEST

Suite *rng_suite(void);
Suite *rng_suite(void)
{
    Suite *suite = suite_create("rng");
    TCase *tests = tcase_create("random numbers");
    tcase_set_timeout(tests, 20);
    tcase_add_test(tests, words_are_those_of_random123);
    tcase_add_loop_test(tests, uniforms_are_flat_along_every_coordinate, 0, 5);
    tcase_add_loop_test(tests, neighbours_are_independent, 0, 5);
    tcase_add_test(tests, streams_differ);
    tcase_add_test(tests, normals_have_their_moments);
    tcase_add_test(tests, normals_have_their_shape);
    tcase_add_test(tests, categories_follow_their_weights);
    tcase_add_test(tests, categories_of_bad_weights_are_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
