/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What one SGD update does to a softmax policy, by algebra: I1 to I8, I10 and I11 of the theory, at
 * vocabularies up to 10^6. (I9, through a linear head, is in check_net.c.) c is the signed strength of one sample (step size times push); C = sum pi^2. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "backend/backend.h"
#include "core/rng.h"
#include "objective/objective.h"
#include "policy/sampler.h"

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
    } cases[] = {{1, {0}, {-0.1}},
                 {1, {25}, {-0.1}},
                 {4, {0, 5, 30, 5}, {0.2, -0.3, 0.15, 0.1}},
                 {3, {0, 5, 30}, {0.25, -0.375, 0.125}}}; /* centred: B = 0 */
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
        if (B == 0) /* unsampled logits stay to the bit */
            for (size_t v = 1; v < vocabulary; v++)
                ck_assert(v == 5 || v == 30 || after[v] == before[v]);
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

/* I2 and I5 as signs: pushed down, y lifts v only where pi_v + pi_y > C, and among the others the
 * richer grows richer. */
START_TEST(a_negative_push_feeds_the_rich)
{
    size_t vocabulary = vocabularies[_i];
    double *pi = make_policy(vocabulary), C = collision(vocabulary, pi);
    const int32_t chosen[] = {0, 2, 5, (int32_t)vocabulary - 1};
    int lifted = 0, lowered = 0;
    for (size_t k = 0; k < 4; k++) {
        double before[HEAD + 1], change[HEAD + 1];
        sg_rows *rows = make_rows(vocabulary, pi);
        for (int32_t v = 0; v <= HEAD; v++)
            before[v] = log_prob(rows, v);
        push(rows, chosen[k], -1e-5);
        for (int32_t v = 0; v <= HEAD; v++) {
            change[v] = log_prob(rows, v) - before[v];
            if (v == chosen[k])
                continue;
            bool gains = pi[v] + pi[chosen[k]] > C;
            ck_assert_msg((change[v] > 0) == gains, "y %d, v %d: %g", chosen[k], v, change[v]);
            *(gains ? &lifted : &lowered) += 1;
            if (v > 0 && v - 1 != chosen[k])
                ck_assert_double_gt(change[v - 1], change[v]);
        }
        sg_rows_free(rows);
    }
    ck_assert_int_gt(lifted, 10);
    ck_assert_int_gt(lowered, 10);
    free(pi);
}
END_TEST

/* I7: the mean over y ~ pi of dz_v is lr pi_v (A_v - Abar). Tail tokens share their probability and
 * their advantage, so one of them stands for all and the sum over y stays exact at any V. */
START_TEST(mean_drift_is_the_policy_gradient)
{
    size_t vocabulary = vocabularies[_i / 2], tail = vocabulary - HEAD;
    double *pi = make_policy(vocabulary), advantage[HEAD + 1], mean = 0;
    double *drift = calloc(vocabulary, sizeof *drift);
    double *before = malloc(vocabulary * sizeof *before), *after = malloc(vocabulary * sizeof *pi);
    for (uint32_t k = 0; k <= HEAD; k++) {
        double pair[2];
        sg_rng_normal_pair((sg_address){3, SG_STREAM_SYNTHETIC, 0, 0, 0, k}, pair);
        advantage[k] = _i % 2 == 0 ? pair[0] : 0.7; /* constant A: zero drift */
        mean += (k < HEAD ? pi[k] : pi[HEAD] * (double)tail) * advantage[k];
    }
    sg_rows *start = make_rows(vocabulary, pi), *rows = make_rows(vocabulary, pi);
    sg_rows_get_logits(start, 0, before);
    for (int32_t y = 0; y <= HEAD; y++) {
        sg_rows_copy(rows, start);
        push(rows, y, 0.1 * advantage[y]);
        sg_rows_get_logits(rows, 0, after);
        for (size_t v = 0; v < HEAD; v++)
            drift[v] += (y < HEAD ? pi[y] : pi[y] * (double)tail) * (after[v] - before[v]);
        /* a tail token is itself drawn once and another tail token tail - 1 times */
        double own = after[HEAD] - before[HEAD], other = after[HEAD + 1] - before[HEAD + 1];
        drift[HEAD] += pi[y] * (y < HEAD ? own : own + (double)(tail - 1) * other);
    }
    double worst = 0, size = 0;
    for (size_t v = 0; v <= HEAD; v++) {
        double expected = 0.1 * pi[v] * (advantage[v] - mean);
        worst = fmax(worst, fabs(drift[v] - expected));
        size = fmax(size, fabs(expected));
    }
    ck_assert_double_lt(worst, 1e-12);
    ck_assert(_i % 2 == 0 ? size > 1e-3 : size < 1e-15);
    sg_rows_free(start);
    sg_rows_free(rows);
    free(drift);
    free(before);
    free(after);
    free(pi);
}
END_TEST

/* I10: the multiplier k(r, A) of SAPO and of the hard clip, and what the latter leaves unbounded. */
START_TEST(effective_multipliers)
{
    sg_objective soft, hard;
    ck_assert_int_eq(sg_objective_parse(&soft, "sapo:tau_pos=1,tau_neg=1.05", NULL), SG_OK);
    ck_assert_int_eq(sg_objective_parse(&hard, "grpo:eps_low=0.2,eps_high=0.28", NULL), SG_OK);
    for (double r = 0.01; r < 40; r *= 1.05) {
        for (int sign = -1; sign <= 1; sign += 2) {
            double tau = sign > 0 ? 1 : 1.05, k = r * pow(cosh(tau * (r - 1) / 2), -2);
            bool stopped = sign > 0 ? r > 1.28 : r < 0.8;
            ck_assert_double_eq_tol(sg_objective_eval(&soft, log(r), sign, -1).coefficient, k,
                                    1e-13 * (1 + k));
            ck_assert_double_eq_tol(sg_objective_eval(&hard, log(r), sign, -1).coefficient,
                                    stopped ? 0 : r, 1e-13 * r);
        }
    }
}
END_TEST

/* I11, first half: drawing from mu = softmax(z/T) and training log softmax(z), even a constant A
 * moves the policy in the mean, by lr A (mu - pi); at T = 1 it does not. */
START_TEST(a_hot_sampler_drifts)
{
    enum { V = 1000 };
    static const double temperatures[] = {1, 1.5, 0.7};
    double *pi = make_policy(V), mu[V], z[V], cumulated[V], drift[V] = {0}, before[V], after[V];
    const double A = 0.1, T = temperatures[_i];
    sg_sampler sampler = {.temperature = T, .top_p = 1};
    sg_sampler_row row = {.n = V, .logits = z, .cumulated = cumulated};
    double total = 0, worst = 0, largest = 0;
    for (size_t v = 0; v < V; v++)
        z[v] = log(pi[v]);
    sg_sampler_prepare(&row, &sampler, (sg_address){0});
    for (size_t v = 0; v < V; v++)
        total += pow(pi[v], 1 / T);
    for (size_t v = 0; v < V; v++) { /* what the sampler says about a draw in the middle of v */
        double low = v > 0 ? cumulated[v - 1] : 0;
        double u = (low + cumulated[v]) / 2 / cumulated[V - 1];
        ck_assert_int_eq(sg_sampler_draw(&row, &sampler, u, &mu[v]), (int)v);
        mu[v] = exp(mu[v]);
        ck_assert_double_eq_tol(mu[v], pow(pi[v], 1 / T) / total, 1e-13);
    }
    sg_rows *start = make_rows(V, pi), *rows = make_rows(V, pi);
    sg_rows_get_logits(start, 0, before);
    for (int32_t y = 0; y < V; y++) {
        sg_rows_copy(rows, start);
        push(rows, y, A);
        sg_rows_get_logits(rows, 0, after);
        for (size_t v = 0; v < V; v++)
            drift[v] += mu[y] * (after[v] - before[v]);
    }
    for (size_t v = 0; v < V; v++) {
        worst = fmax(worst, fabs(drift[v] - A * (mu[v] - pi[v])));
        largest = fmax(largest, fabs(drift[v]));
    }
    ck_assert_double_lt(worst, 1e-12);
    ck_assert(_i == 0 ? largest < 1e-12 : largest > 1e-3);
    sg_rows_free(start);
    sg_rows_free(rows);
    free(pi);
}
END_TEST

/* I11, second half: with z/T on both sides, d log mu_y / dz_v = (1[v=y] - mu_v) / T. Rows hold z/T,
 * so what they move by is the gradient by z/T; central differences by z give the factor. */
START_TEST(a_temperature_on_both_sides_divides_the_gradient)
{
    enum { V = 1000 };
    const double T = 1.6, h = 1e-4;
    double *pi = make_policy(V), z[V], mu[V], before[V], after[V];
    double total = 0;
    for (size_t v = 0; v < V; v++) {
        z[v] = log(pi[v]);
        total += mu[v] = exp(z[v] / T);
    }
    for (size_t v = 0; v < V; v++)
        mu[v] /= total;
    sg_rows *rows = make_rows(V, mu);
    const int32_t y = 3;
    sg_rows_get_logits(rows, 0, before);
    push(rows, y, 1);
    sg_rows_get_logits(rows, 0, after);
    for (int32_t v = 0; v < HEAD; v++) {
        double log_mu[2];
        for (int side = 0; side < 2; side++) {
            double sum = 0, moved = z[v] + (side == 0 ? h : -h);
            for (int32_t u = 0; u < V; u++)
                sum += exp((u == v ? moved : z[u]) / T);
            log_mu[side] = (y == v ? moved : z[y]) / T - log(sum);
        }
        double by_z = (log_mu[0] - log_mu[1]) / (2 * h);
        ck_assert_double_eq_tol(by_z, (after[v] - before[v]) / T, 1e-9);
        ck_assert_double_eq_tol(after[v] - before[v], (v == y) - mu[v], 1e-13);
    }
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
    tcase_add_loop_test(tests, a_negative_push_feeds_the_rich, 0, VOCABULARIES);
    tcase_add_loop_test(tests, mean_drift_is_the_policy_gradient, 0, 2 * VOCABULARIES);
    tcase_add_test(tests, effective_multipliers);
    tcase_add_loop_test(tests, a_hot_sampler_drifts, 0, 3);
    tcase_add_test(tests, a_temperature_on_both_sides_divides_the_gradient);
    tcase_add_test(tests, finite_steps_match_published_values);
    suite_add_tcase(suite, tests);
    return suite;
}
