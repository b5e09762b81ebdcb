/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Small runs against a naive twin: stored logits, probabilities in long double, one arm at a time.
 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "backend/bandits.h"
#include "core/rng.h"
#include "run_suites.h"

static double uniform(uint32_t step, uint32_t sample, uint32_t token)
{
    return sg_rng_uniform((sg_address){31, SG_STREAM_SYNTHETIC, step, 0, sample, token});
}

static sg_objective objective_of(const char *spec)
{
    sg_objective objective;
    sg_error error;
    ck_assert_msg(sg_objective_parse(&objective, spec, &error) == SG_OK, "%s", error.message);
    return objective;
}

static void run(const sg_bandits *bandits, double *value, double *logits)
{
    sg_error error;
    sg_bandits here = *bandits;
    here.backend = backend_under_test();
    ck_assert_msg(sg_bandits_run(&here, value, logits, &error) == SG_OK, "%s", error.message);
}

static double twin_softmax(const double *z, size_t n, const double *reward, double *pi)
{
    long double max = -INFINITY, sum = 0, value = 0;
    for (size_t v = 0; v < n; v++)
        max = z[v] > max ? z[v] : max;
    for (size_t v = 0; v < n; v++)
        sum += expl(z[v] - max);
    for (size_t v = 0; v < n; v++) {
        pi[v] = (double)(expl(z[v] - max) / sum);
        value += expl(z[v] - max) / sum * reward[v];
    }
    return (double)value;
}

static void twin_advantages(const sg_bandits *b, double *a)
{
    double mean = 0, variance = 0;
    size_t n = b->samples;
    for (size_t j = 0; j < n; j++)
        mean += a[j] / (double)n;
    for (size_t j = 0; j < n; j++)
        variance += (a[j] - mean) * (a[j] - mean) / (double)(n - 1);
    for (size_t j = 0; j < n; j++) {
        a[j] -= mean;
        if (b->advantage == SG_ADVANTAGE_GRPO)
            a[j] /= sqrt(variance) + b->eps;
        if (b->advantage == SG_ADVANTAGE_RLOO)
            a[j] *= (double)n / (double)(n - 1);
    }
}

/* Logits z move in place. */
static void twin_run(const sg_bandits *b, const sg_bandit *bandit, double *value, double *z)
{
    size_t n = b->arms, samples = b->samples, *arm = malloc(samples * sizeof *arm);
    double *pi = malloc(n * sizeof *pi), *a = malloc(3 * samples * sizeof *a);
    double *old = a + samples, *push = old + samples;
    for (size_t v = 0; v < n; v++)
        z[v] = b->logits ? b->logits[v] : 0;
    value[0] = twin_softmax(z, n, b->reward, pi);
    for (size_t t = 0; t < b->steps; t++) {
        for (size_t j = 0; j < samples; j++) {
            double u = sg_rng_uniform((sg_address){b->seed, SG_STREAM_ROLLOUT, (uint32_t)t,
                                                   bandit->replicate, (uint32_t)j, 0});
            arm[j] = (size_t)sg_rng_categorical(pi, n, u);
            a[j] = b->reward[arm[j]];
            old[j] = log(pi[arm[j]]);
        }
        twin_advantages(b, a);
        for (size_t k = 0; k < b->updates; k++) {
            double sum = 0;
            for (size_t j = 0; j < samples; j++) {
                double d = log(pi[arm[j]]) - old[j];
                double c = sg_objective_eval(&bandit->objective, d, a[j], old[j]).coefficient;
                push[j] = bandit->lr / (double)samples * c * a[j];
                sum += push[j];
            }
            for (size_t v = 0; v < n; v++)
                z[v] -= sum * pi[v];
            for (size_t j = 0; j < samples; j++)
                z[arm[j]] += push[j];
            value[t + 1] = twin_softmax(z, n, b->reward, pi);
        }
    }
    free(arm);
    free(pi);
    free(a);
}

typedef struct trial {
    size_t arms, samples, steps, updates;
    sg_advantage_kind advantage;
    double lr;
    bool starts_uniform;
} trial;

static const trial trials[] = {
    {2, 2, 10, 1, SG_ADVANTAGE_DR_GRPO, 1, true},
    {3, 5, 20, 2, SG_ADVANTAGE_GRPO, 0.5, true},
    {16, 16, 20, 2, SG_ADVANTAGE_RLOO, 0.5, false},
    {17, 16, 20, 2, SG_ADVANTAGE_GRPO, 0.5, false},
    {100, 20, 20, 3, SG_ADVANTAGE_GRPO, 0.5, false},
    {256, 16, 20, 2, SG_ADVANTAGE_GRPO, 0.5, true},
    {1000, 33, 15, 4, SG_ADVANTAGE_GRPO, 5, false},
    {4097, 64, 10, 2, SG_ADVANTAGE_RLOO, 30, false},
    {64, 16, 12, 3, SG_ADVANTAGE_GRPO, 80, false}, /* beyond exp(32) in one update */
};
enum { TRIALS = sizeof trials / sizeof *trials, MOST_ARMS = 4097 };

static void compare_with_twin(const trial *t, sg_precision precision, const char *spec,
                              double tolerance)
{
    double reward[MOST_ARMS], start[MOST_ARMS], mine[2 * MOST_ARMS], theirs[MOST_ARMS];
    double value[2 * 32], expected[32];
    for (size_t v = 0; v < t->arms; v++) {
        reward[v] = uniform(0, 0, (uint32_t)v);
        start[v] = 3 * uniform(0, 1, (uint32_t)v);
    }
    sg_bandit bandit[2] = {{objective_of(spec), t->lr, 0}, {objective_of(spec), t->lr / 2, 3}};
    sg_bandits bandits = {.runs = 2,
                          .run = bandit,
                          .arms = t->arms,
                          .reward = reward,
                          .logits = t->starts_uniform ? NULL : start,
                          .samples = t->samples,
                          .steps = t->steps,
                          .updates = t->updates,
                          .advantage = t->advantage,
                          .eps = 1e-6,
                          .seed = 77,
                          .precision = precision};
    run(&bandits, value, mine);
    for (size_t r = 0; r < 2; r++) {
        twin_run(&bandits, &bandit[r], expected, theirs);
        for (size_t s = 0; s <= t->steps; s++)
            ck_assert_msg(fabs(value[r * (t->steps + 1) + s] - expected[s]) <= tolerance,
                          "%s, %zu arms, run %zu, step %zu: J = %.17g is not %.17g", spec, t->arms,
                          r, s, value[r * (t->steps + 1) + s], expected[s]);
        double constant = mine[r * t->arms] - theirs[0];
        for (size_t v = 0; v < t->arms; v++)
            ck_assert_msg(fabs(mine[r * t->arms + v] - theirs[v] - constant) <= 100 * tolerance,
                          "%s, %zu arms, arm %zu: %.17g is not %.17g", spec, t->arms, v,
                          mine[r * t->arms + v] - constant, theirs[v]);
    }
}

START_TEST(doubles_agree_with_the_twin)
{
    compare_with_twin(&trials[_i], SG_FP64, "sapo:tau_pos=1,tau_neg=1.05", 1e-11);
    if (trials[_i].lr < 10) /* hard edges decide on the last bit when steps are wild */
        compare_with_twin(&trials[_i], SG_FP64, "grpo", 1e-11);
}
END_TEST

START_TEST(singles_agree_with_the_twin)
{
    compare_with_twin(&trials[_i], SG_FP32, "sapo:tau_pos=1,tau_neg=1.05", 2e-5);
}
END_TEST

START_TEST(every_gate_agrees_with_the_twin)
{
    const sg_method *method = sg_method_at((size_t)_i);
    if (objective_of(method->name).level != SG_LEVEL_TOKEN || method->rule != SG_RULE_NONE)
        return;
    compare_with_twin(&trials[4], SG_FP64, method->name, 1e-11);
    compare_with_twin(&trials[4], SG_FP32, method->name, 2e-5);
}
END_TEST

START_TEST(value_by_hand)
{
    double reward[] = {0, 1}, value[2], logits[2];
    sg_bandit bandit = {objective_of("reinforce"), 1, 0};
    sg_bandits bandits = {.runs = 1,
                          .run = &bandit,
                          .arms = 2,
                          .reward = reward,
                          .samples = 2,
                          .steps = 1,
                          .updates = 1,
                          .advantage = SG_ADVANTAGE_DR_GRPO,
                          .precision = SG_FP64};
    double expected = 1 / (1 + exp(-0.5));
    for (bandits.seed = 0; bandits.seed < 64; bandits.seed++) {
        run(&bandits, value, logits);
        ck_assert_double_eq(value[0], 0.5);
        if (value[1] != 0.5)
            break;
    }
    ck_assert_double_eq_tol(value[1], expected, 1e-15);
    ck_assert_double_eq_tol(logits[1] - logits[0], 0.5, 1e-15);
}
END_TEST

/* Rewards of a run that was given some runs beside it, threads and an instruction set. */
static double *bits(size_t runs, sg_precision precision)
{
    enum { ARMS = 200, STEPS = 10 };
    static double reward[ARMS];
    for (size_t v = 0; v < ARMS; v++)
        reward[v] = uniform(0, 2, (uint32_t)v);
    const char *specs[] = {"sapo", "grpo", "vespo:level=token", "dppo-kl", "dppo-tv", "cispo"};
    sg_bandit *bandit = malloc(runs * sizeof *bandit);
    for (size_t r = 0; r < runs; r++) {
        sg_objective objective;
        if (sg_objective_parse(&objective, specs[r % 6], NULL) != SG_OK)
            objective = objective_of("sapo");
        bandit[r] = (sg_bandit){objective, 0.5 + 0.01 * (double)(r % 6), (uint32_t)(r / 6 % 2)};
    }
    sg_bandits bandits = {.runs = runs,
                          .run = bandit,
                          .arms = ARMS,
                          .reward = reward,
                          .samples = 12,
                          .steps = STEPS,
                          .updates = 2,
                          .advantage = SG_ADVANTAGE_GRPO,
                          .eps = 1e-6,
                          .seed = 5,
                          .precision = precision};
    double *value = malloc(runs * (STEPS + 1 + ARMS) * sizeof *value);
    run(&bandits, value, value + runs * (STEPS + 1));
    free(bandit);
    return value;
}

START_TEST(threads_and_instructions_do_not_matter)
{
    enum { RUNS = 300, WORDS = RUNS * (11 + 200) };
    const char *isas[] = {"portable", "avx2", "avx512"};
    for (int precision = SG_FP32; precision <= SG_FP64; precision++) {
        double *reference = bits(RUNS, precision);
        for (size_t i = 0; i < 3; i++) {
            setenv("SOFTGATE_ISA", isas[i], 1);
#ifdef _OPENMP
            omp_set_num_threads(i == 0 ? 1 : (int)i + 2);
#endif
            double *again = bits(RUNS, precision);
            ck_assert_mem_eq(again, reference, WORDS * sizeof *again);
            free(again);
        }
        unsetenv("SOFTGATE_ISA");
        /* Random numbers belong to the replicate: runs 0 and 12 are the same, 0 and 6 are not. */
        ck_assert_mem_eq(reference, reference + 12 * 11, 11 * sizeof *reference);
        ck_assert_mem_ne(reference, reference + 6 * 11, 11 * sizeof *reference);
        double *alone = bits(1, precision); /* nor do the runs beside it matter */
        ck_assert_mem_eq(alone, reference, 11 * sizeof *alone);
        free(alone);
        free(reference);
    }
}
END_TEST

START_TEST(edges)
{
    enum { ARMS = 40, STEPS = 6 };
    double reward[ARMS], start[ARMS], value[STEPS + 1], logits[ARMS];
    for (size_t v = 0; v < ARMS; v++) {
        reward[v] = 0.1;
        start[v] = v % 2 ? -INFINITY : 0;
    }
    sg_bandit bandit = {objective_of("sapo"), 0.5, 0};
    sg_bandits bandits = {.runs = 1,
                          .run = &bandit,
                          .arms = ARMS,
                          .reward = reward,
                          .logits = start,
                          .samples = 16,
                          .steps = STEPS,
                          .updates = 2,
                          .advantage = SG_ADVANTAGE_GRPO,
                          .seed = 1};
    for (int precision = SG_FP32; precision <= SG_FP64; precision++) {
        bandits.precision = precision;
        bandit.lr = 0.5;
        run(&bandits, value, logits); /* equal rewards: nothing moves, though eps is 0 */
        for (size_t v = 0; v < ARMS; v++)
            ck_assert_double_eq(logits[v], start[v]);
        double kept = reward[0];
        reward[0] = 1;
        bandit.lr = 1e30; /* wild, but neither a trap nor a hang */
        run(&bandits, value, logits);
        ck_assert(value[STEPS] >= 0.0999 || isnan(value[STEPS]));
        for (size_t v = 1; v < ARMS; v += 2) /* never drawn */
            ck_assert(logits[v] == -INFINITY || isnan(logits[v]));
        reward[0] = kept;
    }
}
END_TEST

START_TEST(bad_arguments_are_named)
{
    double reward[] = {0, 1, 0.5}, value[8];
    sg_bandit bandit = {objective_of("sapo"), 0.5, 0};
    sg_bandits good = {.runs = 1,
                       .run = &bandit,
                       .arms = 3,
                       .reward = reward,
                       .samples = 4,
                       .steps = 2,
                       .updates = 1,
                       .advantage = SG_ADVANTAGE_GRPO,
                       .eps = 1e-6,
                       .backend = backend_under_test()};
    sg_error error;
    sg_bandits bad[] = {good, good, good, good, good, good};
    bad[0].runs = 0;
    bad[1].arms = 1;
    bad[2].samples = 1;
    bad[3].advantage = SG_ADVANTAGE_REMAX;
    bad[4].eps = -1;
    bad[5].arms = 100000;
    for (size_t i = 0; i < 6; i++)
        ck_assert_int_eq(sg_bandits_run(&bad[i], value, NULL, &error),
                         i == 3 ? SG_EUNSUPPORTED : SG_EARGUMENT);
    bandit.objective = objective_of("gspo");
    ck_assert_int_eq(sg_bandits_run(&good, value, NULL, &error), SG_EUNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(error.message, "sequence"));
    bandit.objective = objective_of("sapo");
    bandit.lr = 0;
    ck_assert_int_eq(sg_bandits_run(&good, value, NULL, &error), SG_EARGUMENT);
    bandit.lr = 1;
    reward[1] = NAN;
    ck_assert_int_eq(sg_bandits_run(&good, value, NULL, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "arm 1"));
}
END_TEST

Suite *bandits_suite(void);
Suite *bandits_suite(void)
{
    Suite *suite = suite_create("bandits");
    TCase *twin = tcase_create("twin");
    tcase_set_timeout(twin, 30);
    tcase_add_test(twin, value_by_hand);
    tcase_add_loop_test(twin, doubles_agree_with_the_twin, 0, TRIALS);
    tcase_add_loop_test(twin, singles_agree_with_the_twin, 0, TRIALS);
    tcase_add_loop_test(twin, every_gate_agrees_with_the_twin, 0, (int)sg_method_count());
    suite_add_tcase(suite, twin);
    TCase *behaviour = tcase_create("behaviour");
    tcase_set_timeout(behaviour, 30);
    tcase_add_test(behaviour, threads_and_instructions_do_not_matter);
    tcase_add_test(behaviour, edges);
    tcase_add_test(behaviour, bad_arguments_are_named);
    suite_add_tcase(suite, behaviour);
    return suite;
}
