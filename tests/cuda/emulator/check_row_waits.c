/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How often a table on a device makes its host wait: once for each answer that a step cannot go on without. */
#include <check.h>
#include <stdlib.h>

#include "answers.h"
#include "backend/light_rows.h"
#include "emulator.h"
#include "experiment.h"
#include "policy/tabular.h"

enum { PROMPTS = 3, LENGTH = 2, GROUP = 4, COUNT = PROMPTS * GROUP, VOCABULARY = 900 };

typedef struct step_kind {
    int minibatches;
    bool observed;
    double waits;
} step_kind;

/* Waits of one gradient step, the mean over ten of them. */
static double waits_of_step(const step_kind *kind, const char *rows)
{
    size_t waits[2];
    for (int k = 0; k < 2; k++) {
        sg_config config;
        sg_config_init(&config);
        set(&config, "policy.rows=%s", rows);
        set(&config, "policy.vocabulary=%d", VOCABULARY);
        set(&config, "policy.head=6");
        set(&config, "task.prompts=%d", PROMPTS);
        set(&config, "task.length=%d", LENGTH);
        set(&config, "rollout.group=%d", GROUP);
        set(&config, "update.minibatches=%d", kind->minibatches);
        set(&config, "optimizer.kind=sgd");
        set(&config, "run.backend=cuda");
        set(&config, "run.threads=1");
        set(&config, "run.seeds=1");
        set(&config, "run.observe_every=%d", kind->observed ? 1 : 1000);
        set(&config, "run.steps=%d", k == 0 ? 4 : 14);
        size_t before = sg_emulator_waits();
        sg_table_free(simulate(&config));
        waits[k] = sg_emulator_waits() - before;
    }
    return (double)(waits[1] - waits[0]) / 10;
}

/* A rollout waits for its tokens, and every further minibatch for the log-probabilities of its own. Who looks
 * waits for the expected reward, the observation, the change and the log-probabilities after it. */
START_TEST(a_step_waits_for_what_it_needs)
{
    static const step_kind kinds[] = {{1, false, 1}, {2, false, 1}, {1, true, 5}, {2, true, 5}};
    static const char *const rows[] = {"dense", "light"};
    for (int r = 0; r < 2; r++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            ck_assert_msg(waits_of_step(&kinds[k], rows[r]) == kinds[k].waits,
                          "%s rows, %d minibatches, %s: %g waits a step, not %g", rows[r],
                          kinds[k].minibatches, kinds[k].observed ? "observed" : "not observed",
                          waits_of_step(&kinds[k], rows[r]), kinds[k].waits);
}
END_TEST

static sg_policy *table_of(bool light)
{
    double *logits = calloc(VOCABULARY, sizeof *logits);
    sg_tabular_shape shape = {.prompts = PROMPTS,
                              .length = LENGTH,
                              .vocabulary = VOCABULARY,
                              .head = 6,
                              .precision = SG_FP64,
                              .optimizer = SG_SGD,
                              .light = light,
                              .backend = SG_BACKEND_CUDA};
    sg_policy *policy;
    sg_error error;
    ck_assert_msg(!sg_tabular_alloc(&policy, &shape, logits, &error), "%s", error.message);
    free(logits);
    return policy;
}

/* Each method alone, behind an update that nobody has waited for. */
START_TEST(a_method_waits_once_or_never)
{
    sg_policy *policy = table_of(_i == 1), *other;
    const sg_policy_methods *methods = policy->methods;
    sg_policy_step step = {.optimizer = {.kind = SG_SGD, .lr = 0.1}, .time = 1};
    sg_policy_change change;
    answers a;
    size_t before;
    answers_init(&a, COUNT, LENGTH, PROMPTS);
    answers_push(&a);
    ck_assert(!methods->clone(policy, &other, NULL));
    for (uint32_t t = 0; t < 4; t++) {
        before = sg_emulator_waits();
        answers_draw(&a, policy, 5, t);
        ck_assert_uint_eq(sg_emulator_waits(), before + 1);
        ck_assert(!methods->update(policy, &step, &a.responses, a.push, NULL, NULL));
        ck_assert_uint_eq(sg_emulator_waits(), before + 1);
        ck_assert(!methods->log_prob(policy, &a.responses, a.log_prob, NULL));
        ck_assert_uint_eq(sg_emulator_waits(), before + 2);
        ck_assert(!methods->update(policy, &step, &a.responses, a.push, &change, NULL));
        ck_assert_uint_eq(sg_emulator_waits(), before + 3);
        ck_assert(!methods->copy(other, policy, NULL));
        ck_assert_uint_eq(sg_emulator_waits(), before + 3);
    }
    sg_policy_free(policy);
    sg_policy_free(other);
}
END_TEST

static size_t waits_since(size_t *before)
{
    size_t waits = sg_emulator_waits() - *before;
    *before += waits;
    return waits;
}

/* The step that is measured, on all rows at once, and what else may be asked of rows. */
START_TEST(a_question_waits_once_and_updates_never)
{
    sg_rows_config config = {PROMPTS, VOCABULARY, 6, SG_FP32, SG_ADAM};
    sg_optimizer adam = {SG_ADAM, 1e-3, 0.9, 0.999, 1e-8, 0};
    sg_objective objective;
    sg_rows *rows;
    int32_t tokens[COUNT];
    double u[COUNT], old[COUNT], advantage[COUNT], numbers[PROMPTS];
    sg_row_observation look[PROMPTS];
    size_t states[] = {0, 2}, start[] = {0, 1, 4};
    ck_assert(!sg_objective_parse(&objective, "sapo", NULL));
    ck_assert(!sg_rows_alloc(&rows, SG_BACKEND_CUDA, &config, NULL));
    for (size_t j = 0; j < COUNT; j++) {
        u[j] = ((double)j + 0.5) / COUNT;
        advantage[j] = j % 2 ? 1 : -1;
    }
    size_t before = sg_emulator_waits();
    for (uint64_t time = 1; time < 9; time += 4) {
        sg_rows_draw(rows, 0, PROMPTS, GROUP, u, tokens, old);
        ck_assert_uint_eq(waits_since(&before), 1);
        sg_rows_observe(rows, 0, PROMPTS, look);
        ck_assert_uint_eq(waits_since(&before), 1);
        sg_rows_inner_updates(rows, &adam, time, 4, &objective, 0.25, 0, PROMPTS, GROUP, tokens,
                              old, advantage, NULL);
        ck_assert_uint_eq(waits_since(&before), 0);
        sg_rows_collision(rows, 0, PROMPTS, numbers);
        ck_assert_uint_eq(waits_since(&before), 1);
        sg_rows_masses(rows, 2, states, start, tokens, numbers);
        ck_assert_uint_eq(waits_since(&before), 1);
    }
    /* Two updates are ahead of the device, a third one waits for the first one's samples. */
    for (uint64_t time = 9; time < 13; time++)
        sg_rows_update(rows, &adam, time, 0, PROMPTS, GROUP, tokens, advantage, NULL);
    ck_assert_uint_le(waits_since(&before), 2);
    ck_assert(!sg_rows_status(rows, NULL));
    sg_rows_free(rows);
}
END_TEST

/* The same of light rows, until some of them fold and want bases of their own. */
START_TEST(a_question_to_light_rows_waits_once_and_updates_never)
{
    enum { STEPS = 40, MOST = 6 };
    sg_light_config config = {PROMPTS, 0, 24};
    sg_light_prior *prior;
    sg_light_rows *rows;
    sg_objective objective;
    int32_t tokens[COUNT];
    double u[COUNT], old[COUNT], advantage[COUNT], numbers[PROMPTS];
    double *logits = calloc(20 * VOCABULARY, sizeof *logits);
    sg_row_observation look[PROMPTS];
    size_t states[] = {0, 2}, start[] = {0, 1, 4}, more = 0;
    ck_assert(!sg_objective_parse(&objective, "sapo", NULL));
    ck_assert(!sg_light_prior_alloc(&prior, 20 * VOCABULARY, 6, logits, NULL));
    ck_assert(!sg_light_rows_alloc(&rows, SG_BACKEND_CUDA, &config, prior, NULL));
    size_t before = sg_emulator_waits();
    for (uint32_t step = 0; step < STEPS; step++) {
        for (uint32_t j = 0; j < COUNT; j++) {
            u[j] = sg_rng_uniform((sg_address){4, SG_STREAM_SYNTHETIC, step, 0, j, 0});
            advantage[j] = j % 2 ? 1 : -0.5;
        }
        sg_light_rows_draw(rows, 0, PROMPTS, GROUP, u, tokens, old);
        ck_assert_uint_eq(waits_since(&before), 1);
        ck_assert(!sg_light_rows_inner_updates(rows, 0.5, 2, &objective, 0.25, 0, PROMPTS, GROUP,
                                               tokens, old, advantage, NULL, NULL));
        ck_assert_uint_eq(waits_since(&before), 0);
        sg_light_rows_observe(rows, 0, PROMPTS, look);
        more += waits_since(&before) - 1; /* the first question behind it gives memory as well */
        sg_light_rows_collision(rows, 0, PROMPTS, numbers);
        ck_assert_uint_eq(waits_since(&before), 1);
        sg_light_rows_masses(rows, 2, states, start, tokens, numbers);
        ck_assert_uint_eq(waits_since(&before), 1);
    }
    ck_assert_uint_gt(sg_light_rows_report(rows, 0).folds, 2);
    ck_assert_uint_gt(more, 0);
    ck_assert_uint_le(more, MOST);
    sg_light_rows_free(rows);
    sg_light_prior_free(prior);
    free(logits);
}
END_TEST

Suite *row_waits_suite(void);
Suite *row_waits_suite(void)
{
    Suite *suite = suite_create("row_waits");
    TCase *tests = tcase_create("waits");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_step_waits_for_what_it_needs);
    tcase_add_test(tests, a_question_waits_once_and_updates_never);
    tcase_add_test(tests, a_question_to_light_rows_waits_once_and_updates_never);
    tcase_add_loop_test(tests, a_method_waits_once_or_never, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}
