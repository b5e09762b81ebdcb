/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What one SGD update does to a softmax policy, by algebra: I1 to I8 of the theory, at vocabularies
 * up to 10^6. c is the signed strength of one sample (step size times push); C = sum pi^2. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "backend/backend.h"
#include "core/rng.h"

enum { HEAD = 20 };
static const double HEAD_RATIO = 0.6, TAIL_MASS = 0.01;
static const size_t vocabularies[] = {1000, 10000, 100000, 1000000};
enum { VOCABULARIES = sizeof vocabularies / sizeof *vocabularies };
static const sg_optimizer sgd = {.kind = SG_SGD, .lr = 1};

/* Geometric head, uniform tail. */
static double *make_policy(size_t vocabulary)
{
    double *pi = malloc(vocabulary * sizeof *pi);
    double first = (1 - TAIL_MASS) * (1 - HEAD_RATIO) / (1 - pow(HEAD_RATIO, HEAD));
    for (size_t v = 0; v < vocabulary; v++)
        pi[v] =
            v < HEAD ? first * pow(HEAD_RATIO, (double)v) : TAIL_MASS / (double)(vocabulary - HEAD);
    return pi;
}

static sg_rows *make_rows(size_t vocabulary, const double *pi)
{
    sg_rows_config config = {1, vocabulary, HEAD, SG_FP64, SG_SGD};
    sg_rows *rows;
    ck_assert_int_eq(sg_rows_alloc(&rows, SG_BACKEND_CPU, &config, NULL), SG_OK);
    double *z = malloc(vocabulary * sizeof *z);
    for (size_t v = 0; v < vocabulary; v++)
        z[v] = log(pi[v]);
    ck_assert_int_eq(sg_rows_set_logits(rows, 0, z, NULL), SG_OK);
    free(z);
    return rows;
}

static sg_row_change push(sg_rows *rows, int32_t token, double c)
{
    sg_row_change change;
    sg_rows_update(rows, &sgd, 1, 0, 1, 1, &token, &c, &change);
    return change;
}

static double log_prob(const sg_rows *rows, int32_t token)
{
    double value;
    sg_rows_log_prob(rows, 0, 1, 1, &token, &value);
    return value;
}

static double collision(size_t vocabulary, const double *pi)
{
    long double sum = 0;
    for (size_t v = 0; v < vocabulary; v++)
        sum += pi[v] * pi[v];
    return (double)sum;
}

static double entropy(size_t vocabulary, const double *pi)
{
    long double sum = 0;
    for (size_t v = 0; v < vocabulary; v++)
        sum -= pi[v] * log(pi[v]);
    return (double)sum;
}

/* The tail without y, as a list of tokens. */
static size_t tail_without(size_t vocabulary, int32_t y, int32_t *tokens)
{
    size_t n = 0;
    for (size_t v = HEAD; v < vocabulary; v++)
        if ((int32_t)v != y)
            tokens[n++] = (int32_t)v;
    return n;
}

static double tail_change_by_algebra(size_t n, const int32_t *tail, const double *pi, double pi_y,
                                     double C, double c)
{
    long double mass = 0, square = 0;
    for (size_t i = 0; i < n; i++) {
        mass += pi[tail[i]];
        square += pi[tail[i]] * pi[tail[i]];
    }
    return (double)(-c * (square + mass * (pi_y - C)));
}

static double entropy_change_by_algebra(size_t vocabulary, const double *pi, int32_t y, double c)
{
    double H = entropy(vocabulary, pi);
    long double mean = 0;
    for (size_t v = 0; v < vocabulary; v++)
        mean += pi[v] * pi[v] * (log(pi[v]) + H);
    return (double)(-c * (pi[y] * (log(pi[y]) + H) - mean));
}

/* I1, I6, I8: dz = sum c_i e_{y_i} - B pi. */
START_TEST(logits_move_by_pushes_less_diffuse_part)
{
    size_t vocabulary = vocabularies[_i];
    double *pi = make_policy(vocabulary);
    double *before = malloc(vocabulary * sizeof *pi), *after = malloc(vocabulary * sizeof *pi);
    double C = collision(vocabulary, pi);
    static const struct {
        size_t n;
        int32_t tokens[4];
        double c[4];
    } cases[] = {{1, {0}, {-0.1}}, {1, {25}, {-0.1}}, {4, {0, 5, 30, 5}, {0.2, -0.3, 0.15, 0.1}}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        sg_rows *rows = make_rows(vocabulary, pi);
        double B = 0, worst = 0, sum = 0;
        sg_row_change change;
        sg_rows_get_logits(rows, 0, before);
        sg_rows_update(rows, &sgd, 1, 0, 1, cases[k].n, cases[k].tokens, cases[k].c, &change);
        sg_rows_get_logits(rows, 0, after);
        for (size_t j = 0; j < cases[k].n; j++)
            B += cases[k].c[j];
        for (size_t v = 0; v < vocabulary; v++) {
            double expected = -B * pi[v];
            for (size_t j = 0; j < cases[k].n; j++)
                expected += cases[k].tokens[j] == (int32_t)v ? cases[k].c[j] : 0;
            worst = fmax(worst, fabs(after[v] - before[v] - expected));
            sum += after[v] - before[v];
        }
        ck_assert_double_lt(worst, 0.1 * 1e-12); /* relative to the push */
        /* A logit read back is rounded at 1e-15, and the tokens of a uniform tail all alike. */
        ck_assert_double_lt(fabs(sum), 4e-15 * (double)vocabulary);
        if (cases[k].n == 1) {
            double pi_y = pi[cases[k].tokens[0]], c = -0.1;
            ck_assert_double_eq_tol(change.upward_push / (0.1 * (1 - pi_y)), 1, 1e-12);
            ck_assert_double_eq_tol(change.grad_norm2 / (c * c * (1 - 2 * pi_y + C)), 1, 1e-12);
            ck_assert_double_eq_tol(change.delta_norm2 / change.grad_norm2, 1, 1e-12);
            double most = pi[cases[k].tokens[0] == 0 ? 1 : 0];
            ck_assert_double_eq_tol(change.max_unsampled_push / (0.1 * most), 1, 1e-12);
        }
        sg_rows_free(rows);
    }
    free(before);
    free(after);
    free(pi);
}
END_TEST

/* Least-squares slope of log |error| over log |c|. */
static void assert_second_order(const double *c, const double *error, size_t n, const char *what)
{
    double sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (size_t i = 0; i < n; i++) {
        double x = log(fabs(c[i])), y = log(fabs(error[i]));
        sx += x;
        sy += y;
        sxx += x * x;
        sxy += x * y;
    }
    double slope = ((double)n * sxy - sx * sy) / ((double)n * sxx - sx * sx);
    ck_assert_msg(fabs(slope - 2) <= 0.1, "%s: the error grows as c^%.3f", what, slope);
}

/* I2, I3, I4 hold to first order: their errors fall as c^2. I5 is exact. */
START_TEST(first_order_laws_fail_by_c_squared)
{
    size_t vocabulary = vocabularies[_i];
    double *pi = make_policy(vocabulary), C = collision(vocabulary, pi);
    int32_t *tail = malloc(vocabulary * sizeof *tail);
    const int32_t chosen[] = {0, 5, (int32_t)vocabulary - 1};
    for (size_t k = 0; k < 3; k++) {
        int32_t y = chosen[k];
        size_t n = tail_without(vocabulary, y, tail);
        double c[4], log_error[4], mass_error[4], entropy_error[4];
        for (size_t i = 0; i < 4; i++) {
            c[i] = -pow(10, -1.0 - (double)i);
            sg_rows *rows = make_rows(vocabulary, pi);
            sg_row_observation before, after;
            double mass = sg_rows_mass(rows, 0, tail, n), peer = log_prob(rows, 1);
            double other = log_prob(rows, 2);
            sg_rows_observe(rows, 0, 1, &before);
            push(rows, y, c[i]);
            sg_rows_observe(rows, 0, 1, &after);
            log_error[i] = log_prob(rows, 1) - peer - c[i] * (C - pi[1] - pi[y]);
            mass_error[i] = sg_rows_mass(rows, 0, tail, n) - mass -
                            tail_change_by_algebra(n, tail, pi, pi[y], C, c[i]);
            entropy_error[i] =
                after.entropy - before.entropy - entropy_change_by_algebra(vocabulary, pi, y, c[i]);
            double ratio_change = log_prob(rows, 1) - log_prob(rows, 2) - (peer - other);
            ck_assert_double_eq_tol(ratio_change, -c[i] * (pi[1] - pi[2]), 1e-14);
            sg_rows_free(rows);
        }
        assert_second_order(c, log_error, 4, "I2");
        assert_second_order(c, mass_error, 4, "I3");
        assert_second_order(c, entropy_error, 4, "I4");
    }
    free(tail);
    free(pi);
}
END_TEST

/* I7: the mean over y ~ pi of dz_v is lr pi_v (A_v - Abar). */
START_TEST(mean_drift_is_the_policy_gradient)
{
    enum { V = 1000 };
    double *pi = make_policy(V), advantage[V], mean = 0, drift[V] = {0}, before[V], after[V];
    for (size_t v = 0; v < V; v++) {
        double pair[2];
        sg_rng_normal_pair((sg_address){3, SG_STREAM_SYNTHETIC, 0, 0, 0, (uint32_t)v}, pair);
        advantage[v] = 0.1 * pair[0];
        mean += pi[v] * advantage[v];
    }
    sg_rows *start = make_rows(V, pi), *rows = make_rows(V, pi);
    sg_rows_get_logits(start, 0, before);
    for (int32_t y = 0; y < V; y++) {
        sg_rows_copy(rows, start);
        push(rows, y, advantage[y]);
        sg_rows_get_logits(rows, 0, after);
        for (size_t v = 0; v < V; v++)
            drift[v] += pi[y] * (after[v] - before[v]);
    }
    for (size_t v = 0; v < V; v++)
        ck_assert_double_eq_tol(drift[v], pi[v] * (advantage[v] - mean), 1e-14);
    sg_rows_free(start);
    sg_rows_free(rows);
    free(pi);
}
END_TEST

/* Finite steps with c = -0.1, computed elsewhere in another language. */
START_TEST(finite_steps_match_published_values)
{
    static const struct {
        size_t vocabulary;
        int32_t y; /* -1: a tail token */
        double pi_y, entropy, upward, mass_law, mass, entropy_law, entropy_step;
    } golden[] = {
        {1000, 0, 3.960145e-1, 1.79017, .603986, 1.50982e-4, 1.45116e-4, 2.00831e-2, 1.90477e-2},
        {1000, 5, 3.079409e-2, 1.79017, .969206, -2.14239e-4, -2.14925e-4, -1.93324e-2,
         -1.92645e-2},
        {1000, -1, 1.020408e-5, 1.79017, .999990, -2.44773e-4, -2.42732e-4, -1.41373e-2,
         -1.41721e-2},
        {1000000, 0, 3.960145e-1, 1.85945, .603986, 1.50972e-4, 1.45105e-4, 2.11290e-2, 2.00529e-2},
        {1000000, 5, 3.079409e-2, 1.85945, .969206, -2.14249e-4, -2.14935e-4, -2.08168e-2,
         -2.07536e-2},
        {1000000, -1, 1.000020e-8, 1.85945, 1.000000, -2.45043e-4, -2.42999e-4, -1.58251e-2,
         -1.58465e-2},
    };
    for (size_t k = 0; k < sizeof golden / sizeof *golden; k++) {
        size_t vocabulary = golden[k].vocabulary;
        int32_t y = golden[k].y < 0 ? (int32_t)vocabulary - 1 : golden[k].y;
        double *pi = make_policy(vocabulary), C = collision(vocabulary, pi);
        int32_t *tail = malloc(vocabulary * sizeof *tail);
        size_t n = tail_without(vocabulary, y, tail);
        sg_rows *rows = make_rows(vocabulary, pi);
        sg_row_observation before, after;
        sg_rows_observe(rows, 0, 1, &before);
        double mass = sg_rows_mass(rows, 0, tail, n);
        sg_row_change change = push(rows, y, -0.1);
        sg_rows_observe(rows, 0, 1, &after);
        const double near = 6e-6; /* six digits are printed */
        ck_assert_double_eq_tol(pi[y] / golden[k].pi_y, 1, near);
        ck_assert_double_eq_tol(before.collision / .245043, 1, near);
        ck_assert_double_eq_tol(before.entropy / golden[k].entropy, 1, near);
        ck_assert_double_eq_tol(change.upward_push / 0.1 / golden[k].upward, 1, near);
        ck_assert_double_eq_tol(
            tail_change_by_algebra(n, tail, pi, pi[y], C, -0.1) / golden[k].mass_law, 1, near);
        ck_assert_double_eq_tol((sg_rows_mass(rows, 0, tail, n) - mass) / golden[k].mass, 1, near);
        ck_assert_double_eq_tol(
            entropy_change_by_algebra(vocabulary, pi, y, -0.1) / golden[k].entropy_law, 1, near);
        ck_assert_double_eq_tol((after.entropy - before.entropy) / golden[k].entropy_step, 1, near);
        sg_rows_free(rows);
        free(tail);
        free(pi);
    }
}
END_TEST

Suite *identities_suite(void);
Suite *identities_suite(void)
{
    Suite *suite = suite_create("identities");
    TCase *tests = tcase_create("one update of a softmax policy");
    tcase_set_timeout(tests, 30);
    tcase_add_loop_test(tests, logits_move_by_pushes_less_diffuse_part, 0, VOCABULARIES);
    tcase_add_loop_test(tests, first_order_laws_fail_by_c_squared, 0, VOCABULARIES);
    tcase_add_test(tests, mean_drift_is_the_policy_gradient);
    tcase_add_test(tests, finite_steps_match_published_values);
    suite_add_tcase(suite, tests);
    return suite;
}
