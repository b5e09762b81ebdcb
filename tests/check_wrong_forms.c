/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Wrong forms of the gates that circulate in code and write-ups. Each test states what the wrong
 * form would do and that the library does not. c(r, A) multiplies A grad log pi. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "objective/batch.h"
#include "objective/replay.h"

static sg_gate_value eval(const char *spec, double ratio, double advantage)
{
    sg_objective objective;
    sg_error error;
    if (sg_objective_parse(&objective, spec, &error) != SG_OK)
        ck_abort_msg("%s: %s", spec, error.message);
    return sg_objective_eval(&objective, log(ratio), advantage, -1);
}

static double sapo(double ratio, double advantage)
{
    return eval("sapo", ratio, advantage).coefficient;
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static const double temperatures[] = {0.5, 1, 1.05, 3};

/* f = sigmoid(tau (r - 1)) without 4/tau: on policy the gradient would be tau/4 of what it is. */
START_TEST(sigmoid_without_its_scale)
{
    for (size_t i = 0; i < 4; i++) {
        double tau = temperatures[i], p = sigmoid(0), wrong = tau * p * (1 - p);
        char spec[64];
        snprintf(spec, sizeof spec, "sapo:tau_pos=%g,tau_neg=%g", tau, tau);
        ck_assert_double_eq_tol(wrong, tau / 4, 1e-15);
        ck_assert_double_eq(eval(spec, 1, 1).coefficient, 1);
        ck_assert_double_eq(eval(spec, 1, -1).coefficient, 1);
        ck_assert_double_gt(fabs(wrong - 1), 0.2);
    }
}
END_TEST

/* The value f as a detached weight of log pi: 2/tau on policy, rising to 4/tau, never falling. */
START_TEST(value_as_detached_weight)
{
    for (size_t i = 0; i < 4; i++) {
        double tau = temperatures[i], before = 0;
        char spec[64];
        snprintf(spec, sizeof spec, "sapo:tau_pos=%g,tau_neg=%g", tau, tau);
        for (double r = 0.25; r < 100; r *= 2) {
            double wrong = eval(spec, r, 1).surrogate;
            ck_assert_double_ge(wrong, before);
            before = wrong;
        }
        ck_assert_double_eq_tol(eval(spec, 1, 1).surrogate, 2 / tau, 1e-12);
        ck_assert_double_eq_tol(before, 4 / tau, 1e-6);
        ck_assert_double_eq(eval(spec, 1, 1).coefficient, 1);
        ck_assert_double_lt(eval(spec, 100, 1).coefficient, 1e-6); /* large ratios fade */
    }
}
END_TEST

/* Without the factor A winners and losers would be pushed the same way, by the same amount. */
START_TEST(advantage_dropped)
{
    static const double advantage[] = {1, -1, -3};
    sg_batch *batch;
    sg_objective objective;
    sg_replay_summary summary;
    sg_replay_token token[3];
    sg_error error;
    ck_assert_int_eq(sg_batch_alloc(&batch, 3, &error), SG_OK);
    for (int i = 0; i < 3; i++) {
        batch->sequence[i] = i;
        batch->mask[i] = 1;
        batch->advantage[i] = advantage[i];
        batch->logp_old[i] = -1;
        batch->logp_new[i] = -1;
    }
    ck_assert_int_eq(sg_batch_group(batch, 0, &error), SG_OK);
    ck_assert_int_eq(sg_objective_parse(&objective, "sapo", &error), SG_OK);
    const sg_replay_options options = {.natural_aggregate = true};
    ck_assert_int_eq(sg_replay(batch, &objective, &options, token, &summary, &error), SG_OK);
    for (int i = 0; i < 3; i++)
        ck_assert_double_eq_tol(token[i].dloss_dlogp, -advantage[i] / 3, 1e-15);
    sg_batch_free(batch);
}
END_TEST

/* r f instead of f: (2/tau + 1) times the gradient on policy. */
START_TEST(extra_factor_of_the_ratio)
{
    double worst = 0;
    for (int sign = -1; sign <= 1; sign += 2) {
        for (double r = 0.1; r < 5; r += 0.1) {
            sg_gate_value v = eval("sapo", r, sign);
            worst = fmax(worst, fabs(r * (v.surrogate + r * v.weight) - v.coefficient));
        }
        sg_gate_value v = eval("sapo", 1, sign);
        ck_assert_double_gt(v.surrogate + v.weight, 2.9);
        ck_assert_double_eq(v.coefficient, 1);
    }
    ck_assert_double_gt(worst, 0.5);
}
END_TEST

/* sigmoid((r - 1) / tau): a larger temperature would fade later; ours fades earlier. */
START_TEST(temperature_as_a_divisor)
{
    double wrong[2], ours[2];
    for (int i = 0; i < 2; i++) {
        double tau = i == 0 ? 1 : 3, p = sigmoid(1 / tau);
        wrong[i] = 4 * p * (1 - p); /* weight at r = 2 with slope 1 at r = 1 */
        ours[i] = eval(i == 0 ? "sapo:tau=1" : "sapo:tau=3", 2, 1).weight;
    }
    ck_assert_double_gt(wrong[1], wrong[0]);
    ck_assert_double_lt(ours[1], ours[0]);
    ck_assert_double_eq_tol(ours[1], pow(cosh(1.5), -2), 1e-14);
}
END_TEST

/* A clip on both sides whatever the sign of A would stop what corrects the policy. */
START_TEST(hard_clip_on_both_sides)
{
    static const struct {
        double ratio, advantage, c;
    } cases[] = {{0.5, 1, 0.5}, {2, -1, 2}, {5, -1, 5}, {2, 1, 0}, {0.5, -1, 0}, {1.1, 1, 1.1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double r = cases[i].ratio, wrong = r >= 0.8 && r <= 1.2 ? r : 0;
        double c = eval("grpo", r, cases[i].advantage).coefficient;
        ck_assert_double_eq_tol(c, cases[i].c, 1e-14);
        ck_assert(i >= 3 || wrong == 0);
    }
    ck_assert_double_eq_tol(eval("dual-clip:dual_clip=3", 2, -1).coefficient, 2, 1e-14);
    ck_assert_double_eq(eval("dual-clip:dual_clip=3", 5, -1).coefficient, 0); /* I10 */
    double worst = 0;
    for (double r = 0.1; r < 5; r += 0.1)
        worst = fmax(worst, fabs((r >= 0.8 && r <= 1.2 ? r : 0) - sapo(r, 1)));
    ck_assert_double_gt(worst, 0.4);
}
END_TEST

/* tau_pos 0.1, tau_neg 1 as defaults: winners would hardly fade, and ten times less than losers. */
START_TEST(inverted_default_temperatures)
{
    sg_objective objective;
    sg_error error;
    ck_assert_int_eq(sg_objective_parse(&objective, "sapo", &error), SG_OK);
    ck_assert_double_eq(objective.parameter.tau_pos, 1);
    ck_assert_double_eq(objective.parameter.tau_neg, 1.05);
    ck_assert_double_eq_tol(eval("sapo", 3, 1).weight, pow(cosh(1), -2), 1e-14);
    ck_assert_double_eq_tol(eval("sapo", 3, -1).weight, pow(cosh(1.05), -2), 1e-14);
    ck_assert_double_gt(eval("sapo:tau_pos=0.1,tau_neg=1", 3, 1).weight, 0.99);
}
END_TEST

START_TEST(swapped_temperatures)
{
    for (double r = 1.5; r < 5; r += 0.25) {
        ck_assert_double_gt(eval("sapo", r, 1).weight, eval("sapo", r, -1).weight);
        sg_gate_value swapped = eval("sapo:tau_pos=1.05,tau_neg=1", r, 1);
        ck_assert_double_eq(swapped.weight, eval("sapo:tau=1.05", r, 1).weight);
        ck_assert_double_lt(swapped.weight, eval("sapo", r, 1).weight);
    }
}
END_TEST

/* The gate mirrored for A < 0, so that c would change its sign: A has it already. */
START_TEST(mirrored_negatives)
{
    for (double r = 0.1; r < 5; r += 0.1) {
        ck_assert_double_gt(sapo(r, -1), 0);
        ck_assert_double_gt(sapo(r, 1), 0);
    }
}
END_TEST

Suite *wrong_forms_suite(void);
Suite *wrong_forms_suite(void)
{
    Suite *suite = suite_create("wrong_forms");
    TCase *tests = tcase_create("what the gates are not");
    tcase_add_test(tests, sigmoid_without_its_scale);
    tcase_add_test(tests, value_as_detached_weight);
    tcase_add_test(tests, advantage_dropped);
    tcase_add_test(tests, extra_factor_of_the_ratio);
    tcase_add_test(tests, temperature_as_a_divisor);
    tcase_add_test(tests, hard_clip_on_both_sides);
    tcase_add_test(tests, inverted_default_temperatures);
    tcase_add_test(tests, swapped_temperatures);
    tcase_add_test(tests, mirrored_negatives);
    suite_add_tcase(suite, tests);
    return suite;
}
