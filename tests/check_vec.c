/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Vector maths against the C library one precision up. SOFTGATE_EXHAUSTIVE=1 takes all 2^32
 * single-precision arguments (minutes) instead of every 1021st. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "core/vec.h"
#include "core/vec_math.h"

enum { CHUNK = 4096 };

typedef void function32(size_t n, const float *x, float *y);
typedef void function64(size_t n, const double *x, double *y);

static double sigmoid_double(double x)
{
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}

static long double sigmoid_long(long double x)
{
    return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x));
}

static const struct {
    const char *name;
    function32 *f32;
    double (*witness32)(double);
    function64 *f64;
    long double (*witness64)(long double);
    double ulps32, ulps64;
} functions[] = {
    {"exp", sg_vec_expf, exp, sg_vec_exp, expl, 1.0, 1.0},
    {"log", sg_vec_logf, log, sg_vec_log, logl, 0.90, 0.90},
    {"sigmoid", sg_vec_sigmoidf, sigmoid_double, sg_vec_sigmoid, sigmoid_long, 3.0, 3.0},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

/* Error in units of the last place of the exact value (of the least normal number below it). */
static double ulps32(float y, double exact)
{
    int exponent = exact == 0 ? FLT_MIN_EXP : ilogb(exact) + 1;
    exponent = exponent < FLT_MIN_EXP ? FLT_MIN_EXP : exponent;
    return fabs((double)y - exact) / ldexp(1, exponent - FLT_MANT_DIG);
}

static double ulps64(double y, long double exact)
{
    int exponent = exact == 0 ? DBL_MIN_EXP : ilogbl(exact) + 1;
    exponent = exponent < DBL_MIN_EXP ? DBL_MIN_EXP : exponent;
    return (double)(fabsl((long double)y - exact) / ldexpl(1, exponent - DBL_MANT_DIG));
}

static void assert_special32(const char *name, float x, float y, double exact)
{
    bool good = isnan(exact) ? isnan(y) : (double)y == exact;
    if (isfinite(exact)) /* too great for a float: what rounding gives */
        good = y == (float)exact || (isinf(y) && fabs(exact) >= (double)FLT_MAX);
    ck_assert_msg(good, "%s(%a) is %a, not %a", name, (double)x, (double)y, exact);
}

START_TEST(single_precision_stays_within_its_bound)
{
    uint64_t stride = getenv("SOFTGATE_EXHAUSTIVE") ? 1 : 1021;
    float x[CHUNK], y[CHUNK];
    double worst = 0, worst_tiny = 0;
    for (uint64_t at = 0; at <= UINT32_MAX;) {
        size_t n = 0;
        for (; n < CHUNK && at <= UINT32_MAX; at += stride)
            x[n++] = sg_float_of_bits((uint32_t)at);
        functions[_i].f32(n, x, y);
        for (size_t i = 0; i < n; i++) {
            double exact = functions[_i].witness32((double)x[i]);
            if (!isfinite(exact) || fabs(exact) > (double)FLT_MAX)
                assert_special32(functions[_i].name, x[i], y[i], exact);
            else if (fabs(exact) >= (double)FLT_MIN)
                worst = fmax(worst, ulps32(y[i], exact));
            else
                worst_tiny = fmax(worst_tiny, ulps32(y[i], exact));
        }
    }
    ck_assert_msg(worst <= functions[_i].ulps32 && worst_tiny <= 1.1, "%s: %.4f and %.4f ulp",
                  functions[_i].name, worst, worst_tiny);
    if (getenv("SOFTGATE_REPORT"))
        printf("%sf: %.4f ulp, subnormal %.4f\n", functions[_i].name, worst, worst_tiny);
}
END_TEST

/* Arguments of every size: random bits, and the interval where results are ordinary. */
static double argument64(uint32_t k)
{
    uint32_t words[4];
    sg_rng_words((sg_address){5, SG_STREAM_SYNTHETIC, 0, 0, 0, k}, words);
    if (k % 4 == 0)
        return sg_double_of_bits((uint64_t)words[0] << 32 | words[1]);
    double u = sg_rng_unit(words[0], words[1]);
    return k % 4 == 1 ? 1500 * u - 760 : k % 4 == 2 ? 4 * u - 2 : 0.5 + u;
}

START_TEST(double_precision_stays_within_its_bound)
{
    double x[CHUNK], y[CHUNK], worst = 0, worst_tiny = 0;
    for (uint32_t chunk = 0; chunk < 200; chunk++) {
        for (uint32_t i = 0; i < CHUNK; i++)
            x[i] = argument64(chunk * CHUNK + i);
        functions[_i].f64(CHUNK, x, y);
        for (size_t i = 0; i < CHUNK; i++) {
            long double exact = functions[_i].witness64((long double)x[i]);
            if (isnan(exact))
                ck_assert_double_nan(y[i]);
            else if (fabsl(exact) > (long double)DBL_MAX)
                ck_assert(y[i] == (double)exact || fabs(y[i]) == DBL_MAX);
            else if (fabsl(exact) >= (long double)DBL_MIN)
                worst = fmax(worst, ulps64(y[i], exact));
            else
                worst_tiny = fmax(worst_tiny, ulps64(y[i], exact));
        }
    }
    ck_assert_msg(worst <= functions[_i].ulps64 && worst_tiny <= 1.1, "%s: %.4f and %.4f ulp",
                  functions[_i].name, worst, worst_tiny);
    if (getenv("SOFTGATE_REPORT"))
        printf("%s: %.4f ulp, subnormal %.4f\n", functions[_i].name, worst, worst_tiny);
}
END_TEST

START_TEST(special_values)
{
    const double x[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0, -1.0, 1.0, 0x1p-1074, 709.79, -746};
    enum { N = sizeof x / sizeof *x };
    double e[N], l[N], s[N];
    float xf[N], ef[N], lf[N], sf[N];
    for (size_t i = 0; i < N; i++)
        xf[i] = (float)x[i];
    xf[7] = 0x1p-149f;
    sg_vec_exp(N, x, e);
    sg_vec_log(N, x, l);
    sg_vec_sigmoid(N, x, s);
    sg_vec_expf(N, xf, ef);
    sg_vec_logf(N, xf, lf);
    sg_vec_sigmoidf(N, xf, sf);
    const double exp_is[] = {NAN, INFINITY, 0, 1, 1, exp(-1), exp(1), 1, INFINITY, 0};
    const double log_is[] = {NAN, INFINITY,       NAN,         -INFINITY, -INFINITY, NAN,
                             0,   -1074 * log(2), log(709.79), NAN};
    const double sigmoid_is[] = {NAN, 1, 0, .5, .5, 1 / (1 + exp(1)), 1 / (1 + exp(-1)), .5, 1, 0};
    for (size_t i = 0; i < N; i++) {
        const double got[] = {e[i], l[i], s[i]};
        const double expected[] = {exp_is[i], log_is[i], sigmoid_is[i]};
        for (size_t k = 0; k < 3; k++)
            if (isnan(expected[k]))
                ck_assert_double_nan(got[k]);
            else if (isinf(expected[k]) || expected[k] == 0)
                ck_assert_double_eq(got[k], expected[k]);
            else
                ck_assert_double_eq_tol(got[k] / expected[k], 1, 4e-16);
    }
    ck_assert_float_nan(ef[0]);
    ck_assert(isinf(ef[1]) && ef[2] == 0 && ef[3] == 1);
    ck_assert(isnan(lf[2]) && isnan(lf[5]) && isinf(lf[3]) && lf[3] < 0 && lf[6] == 0);
    ck_assert_float_eq_tol(lf[7], -149 * 0.693147181f, 1e-5f);
    ck_assert(sf[1] == 1 && sf[2] == 0 && isnan(sf[0]));
}
END_TEST

START_TEST(arrays_may_be_changed_in_place)
{
    float x[37], y[37];
    for (size_t i = 0; i < 37; i++)
        x[i] = (float)i * 0.25f - 3;
    sg_vec_expf(37, x, y);
    sg_vec_expf(37, x, x);
    ck_assert_mem_eq(x, y, sizeof x);
}
END_TEST

/* Equal bits, NaN apart: a NaN has many. */
START_TEST(instruction_sets_agree)
{
    enum { N = 1 << 16 };
    float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y), *z = malloc(N * sizeof *z);
    double *u = malloc(N * sizeof *u), *v = malloc(N * sizeof *v), *w = malloc(N * sizeof *w);
    for (uint32_t i = 0; i < N; i++) {
        x[i] = sg_float_of_bits(i * 65537u);
        u[i] = argument64(i);
    }
    functions[_i].f32(N - 3, x, y);
    functions[_i].f64(N - 3, u, v);
    const char *const isas[] = {"portable", "avx2"};
    for (size_t k = 0; k < 2; k++) {
        setenv("SOFTGATE_ISA", isas[k], 1);
        functions[_i].f32(N - 3, x, z);
        functions[_i].f64(N - 3, u, w);
        unsetenv("SOFTGATE_ISA");
        for (size_t i = 0; i < N - 3; i++) {
            ck_assert(isnan(y[i]) ? isnan(z[i]) : memcmp(&y[i], &z[i], sizeof *y) == 0);
            ck_assert(isnan(v[i]) ? isnan(w[i]) : memcmp(&v[i], &w[i], sizeof *v) == 0);
        }
    }
    free(x);
    free(y);
    free(z);
    free(u);
    free(v);
    free(w);
}
END_TEST

Suite *vec_suite(void);
Suite *vec_suite(void)
{
    Suite *suite = suite_create("vec");
    TCase *tests = tcase_create("vector maths");
    tcase_set_timeout(tests, getenv("SOFTGATE_EXHAUSTIVE") ? 3600 : 30);
    tcase_add_loop_test(tests, single_precision_stays_within_its_bound, 0, FUNCTIONS);
    tcase_add_loop_test(tests, double_precision_stays_within_its_bound, 0, FUNCTIONS);
    tcase_add_test(tests, special_values);
    tcase_add_test(tests, arrays_may_be_changed_in_place);
    tcase_add_loop_test(tests, instruction_sets_agree, 0, FUNCTIONS);
    suite_add_tcase(suite, tests);
    return suite;
}
