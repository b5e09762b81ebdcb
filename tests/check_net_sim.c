/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The neural policy in the training loop: against a table, against its own parts, and with the
 * experts of a rollout replayed. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiment.h"
#include "files.h"
#include "net_twin.h"
#include "policy/net_policy.h"
#include "whole_run.h"

/* A mixture of experts that copies, in double precision. */
static void small(sg_config *config)
{
    sg_config_init(config);
    set(config, "policy.kind=net");
    set(config, "policy.vocabulary=300");
    set(config, "policy.head=6");
    set(config, "policy.precision=fp64");
    set(config, "policy.width=12");
    set(config, "policy.hidden=8");
    set(config, "policy.experts=8");
    set(config, "task.kind=copy");
    set(config, "task.classes=3");
    set(config, "task.prompts=3");
    set(config, "task.length=3");
    set(config, "optimizer.lr=0.03");
    set(config, "rollout.group=12");
    set(config, "run.steps=24");
    set(config, "run.threads=1");
}

/* Steps first..last, from 1. */
static void advance(sg_run *run, size_t first, size_t last)
{
    size_t parts = (size_t)run->config->update.minibatches;
    size_t each = parts * (size_t)run->config->update.epochs;
    bool alive = true;
    for (size_t step = first; step <= last; step++) {
        size_t rollout = (step - 1) / each, at = (step - 1) % each;
        if (at == 0)
            ck_assert_int_eq(sg_run_rollout(run, rollout, NULL), SG_OK);
        if (at % parts == 0)
            sg_run_shuffle(run, rollout, at / parts);
        run->step = step;
        ck_assert_int_eq(sg_run_step(run, rollout, step, at % parts, &alive, NULL), SG_OK);
        ck_assert(alive);
    }
}

/* ---- against a table ---- */

/* One state whose frozen feature is 1 or -1: W h is then a table, to rounding. */
START_TEST(one_frozen_feature_is_a_table)
{
    static const char *const variants[][4] = {
        {"optimizer.kind=sgd", "optimizer.lr=2"},
        {"optimizer.kind=momentum", "optimizer.lr=0.5", "optimizer.clip_norm=0.05"},
        {"optimizer.kind=adam", "optimizer.lr=0.05", "rollout.lag=2", "update.kl_beta=0.1"},
        {"optimizer.kind=adam", "optimizer.schedule=cosine", "rollout.temperature=1.3",
         "rollout.top_p=0.9"},
        {"optimizer.kind=coupled-adam", "optimizer.lr=0.005", "rollout.top_k=30"},
    };
    static sg_config config;
    sg_config_init(&config);
    set(&config, "policy.vocabulary=1000");
    set(&config, "policy.precision=fp64");
    set(&config, "task.correct_mass=0.1");
    set(&config, "run.steps=40");
    set(&config, "run.evaluate_every=8");
    set(&config, "start.success=0.2");
    set(&config, "update.objectives=[sapo,gspo,grpo:match=l2,grpo:match=kl,grpo:match=mass,"
                 "grpo:projection=p1,grpo:projection=p2]");
    for (size_t i = 0; i < 4 && variants[_i][i] != NULL; i++)
        set(&config, "%s", variants[_i][i]);
    sg_table *table = simulate(&config);
    set(&config, "policy.kind=net");
    set(&config, "policy.features=frozen");
    set(&config, "policy.blocks=0");
    set(&config, "policy.width=1");
    set(&config, "policy.head_std=0");
    set(&config, "policy.tail_std=0");
    set(&config, "policy.bias=frozen");
    sg_table *net = simulate(&config);
    double risen = 0;
    ck_assert_uint_eq(sg_table_rows(table), sg_table_rows(net));
    for (size_t i = 0; i < sg_table_rows(table); i++) {
        risen += cell(net, "max_unsampled_push", i) > 0;
        bool own = false; /* columns of nets only */
        for (size_t c = 2; c < sg_table_columns(table); c++) {
            const char *name = sg_table_column_name(table, c);
            double a = sg_table_get_number(table, c, i), b = sg_table_get_number(net, c, i);
            own = own || strcmp(name, "diffuse_push_features") == 0;
            own = own && strcmp(name, "flip_rate") != 0;
            ck_assert(!own || (isnan(a) && !isnan(b)));
            if (own || strncmp(name, "tail_mass_", 10) == 0 || strncmp(name, "losers", 6) == 0)
                continue; /* a table does not know prefixes */
            ck_assert_msg(isnan(a) ? isnan(b) : fabs(a - b) <= 1e-8 * (1 + fabs(a)),
                          "%s in row %zu: table %.17g, net %.17g", name, i, a, b);
        }
    }
    ck_assert_double_gt(risen, 3);
    sg_table_free(table);
    sg_table_free(net);
}
END_TEST

/* ---- routing ---- */

static const char *const routings[] = {"free", "r2", "r3"};
static const char *const samplers[][3] = {
    {"rollout.lag=0"},
    {"rollout.lag=2"},
    {"rollout.lag=1", "rollout.weight_noise=0.02"},
    {"rollout.precision=bf16", "rollout.top_p=0.9", "rollout.noise=0.1"}};
enum { ROUTINGS = COUNT(routings), SAMPLERS = COUNT(samplers) };

static void set_sampler(sg_config *config, int which)
{
    for (size_t i = 0; i < COUNT(samplers[0]) && samplers[which][i] != NULL; i++)
        set(config, "%s", samplers[which][i]);
}

/* One minibatch: whatever the sampler is, new and old policy are the same and so are their
 * experts. */
START_TEST(on_policy_ratios_are_one_under_every_routing)
{
    static sg_config config;
    small(&config);
    set_sampler(&config, _i % SAMPLERS);
    set(&config, "control.routing=%s", routings[_i / SAMPLERS]);
    set(&config, "update.objectives=[grpo,sapo,gspo]");
    set(&config, "update.aggregate=token-mean");
    set(&config, "update.minibatches=1");
    sg_table *table = simulate(&config);
    for (size_t i = 0; i < sg_table_rows(table); i++) {
        ck_assert_double_eq(cell(table, "ratio_min", i), 1);
        ck_assert_double_eq(cell(table, "ratio_max", i), 1);
        ck_assert_double_eq(cell(table, "J", i), cell(table, "J", i % 24));
    }
    ck_assert_double_ne(cell(table, "J", 23), cell(table, "J", 0));
    sg_table_free(table);
}
END_TEST

/* In the first minibatch of a rollout nothing has moved; later something has. */
START_TEST(replayed_ratios_start_at_one_and_leave_it)
{
    static sg_config config;
    small(&config);
    set(&config, "rollout.weight_noise=0.02");
    set(&config, "control.routing=%s", routings[_i]);
    sg_table *table = simulate(&config);
    double moved = 0, flips = 0, first_flips = 0, gap = 0, sampler = 0;
    for (size_t i = 0; i < sg_table_rows(table); i++) {
        bool first = i % 4 == 0;
        if (first)
            ck_assert(cell(table, "ratio_min", i) == 1 && cell(table, "ratio_max", i) == 1);
        moved += !first && cell(table, "ratio_max", i) > 1.001;
        flips += !first && cell(table, "flip_rate", i) > 0;
        first_flips += first ? cell(table, "flip_rate", i) : 0;
        gap += fabs(cell(table, "J_routing_gap", i));
        sampler += cell(table, "flip_rate_sampler", i);
        ck_assert_double_ge(cell(table, "flip_rate_token", i), cell(table, "flip_rate", i));
        ck_assert(cell(table, "gate_entropy", i) > 0 && cell(table, "gate_entropy", i) < log(2));
    }
    ck_assert_double_gt(moved, 6);
    ck_assert_double_gt(flips, 4);
    ck_assert_double_gt(sampler, 0);
    /* The trainer's own experts have not changed yet; the sampler's were others. */
    ck_assert(_i == 2 ? first_flips > 0 : first_flips == 0);
    ck_assert(_i == 0 ? isnan(gap) : gap > 0);
    sg_table_free(table);
}
END_TEST

/* A sampler that is the trainer: R2 and R3 are the same run. Where nothing flips, so is free. */
START_TEST(r3_of_an_undistorted_sampler_is_r2)
{
    static sg_config config;
    small(&config);
    set(&config, "update.objectives=[grpo:routing=r2,grpo:routing=r3,grpo]");
    sg_table *table = simulate(&config);
    size_t rows = sg_table_rows(table) / 3, apart = 0;
    for (size_t i = 0; i < rows; i++) {
        ck_assert_double_eq(cell(table, "flip_rate_sampler", i), 0);
        ck_assert_double_eq(cell(table, "mismatch_max", i), 0);
        for (size_t c = 2; c < sg_table_columns(table); c++) {
            double a = sg_table_get_number(table, c, i);
            double b = sg_table_get_number(table, c, i + rows);
            ck_assert(isnan(a) ? isnan(b) : a == b);
        }
        apart += cell(table, "J", i) != cell(table, "J", i + 2 * rows);
    }
    ck_assert_uint_gt(apart, 3);
    ck_assert_double_eq(cell(table, "J", 0), cell(table, "J", 2 * rows));
    sg_table_free(table);
}
END_TEST

/* Experts of every token of minibatch k by the textbook, block by block. */
static void twin_routes(const sg_run *run, const sg_net *net, const uint32_t *lengths,
                        const uint32_t *prompt, const int32_t *tokens, size_t count, uint64_t *to)
{
    const sg_net_config *c = &net->config;
    double *log_prob = malloc(c->prior.vocabulary * sizeof *log_prob);
    int32_t context[16];
    for (size_t i = 0; i < count; i++)
        for (size_t t = 0; t < lengths[i]; t++) {
            for (size_t s = 0; s < c->prompt_length; s++)
                context[s] = sg_task_prompt_token(run->task, prompt[i], s);
            for (size_t s = 0; s < c->window; s++)
                context[c->prompt_length + s] = s < t ? tokens[i * run->length + t - 1 - s] : -1;
            net_twin_log_probs(net, (int32_t)t, context, NULL, NULL,
                               to + (i * run->length + t) * c->blocks, log_prob);
        }
    free(log_prob);
}

START_TEST(flips_are_those_of_the_textbook)
{
    static sg_config config;
    enum { BLOCKS = 2, TOKENS = 9 * 3 };
    small(&config);
    set(&config, "control.routing=%s", routings[_i]);
    whole_run w;
    open_run(&w, &config);
    sg_run *run = &w.run;
    sg_policy *old;
    static uint64_t then[TOKENS * BLOCKS], now[TOKENS * BLOCKS];
    size_t found = 0;
    for (size_t step = 1; step <= 20; step++) {
        if (step % 4 == 1)
            ck_assert_int_eq(run->policy->methods->clone(run->policy, &old, NULL), SG_OK);
        sg_policy *before;
        ck_assert_int_eq(run->policy->methods->clone(run->policy, &before, NULL), SG_OK);
        advance(run, step, step);
        const sg_observables *o = &run->records[step - 1].value;
        ck_assert_uint_eq(run->minibatch.count * run->length, TOKENS);
        twin_routes(run, sg_net_policy_net(old), run->part_lengths, run->part_prompt,
                    run->part_tokens, run->minibatch.count, then);
        twin_routes(run, sg_net_policy_net(before), run->part_lengths, run->part_prompt,
                    run->part_tokens, run->minibatch.count, now);
        double blocks = 0, tokens = 0, sum[2] = {0};
        for (size_t i = 0; i < TOKENS; i++) {
            int flips = (then[2 * i] != now[2 * i]) + (then[2 * i + 1] != now[2 * i + 1]);
            blocks += flips;
            tokens += flips > 0;
            sum[flips > 0] += fabs(run->batch->logp_new[i] - run->batch->logp_old[i]);
        }
        found += (size_t)blocks;
        ck_assert_double_eq_tol(o->flip_rate, blocks / (TOKENS * BLOCKS), 1e-15);
        ck_assert_double_eq_tol(o->flip_rate_token, tokens / TOKENS, 1e-15);
        ck_assert_double_eq_tol(o->log_ratio_no_flip, sum[0] / (TOKENS - tokens), 1e-14);
        if (tokens > 0)
            ck_assert_double_eq_tol(o->log_ratio_flip, sum[1] / tokens, 1e-14);
        else
            ck_assert(isnan(o->log_ratio_flip));
        sg_policy_free(before);
        if (step % 4 == 0)
            sg_policy_free(old);
    }
    ck_assert_uint_gt(found, 5);
    close_run(&w);
}
END_TEST

/* Probing steps replay too: an arm that is its own reference steps exactly like it. */
START_TEST(a_matched_arm_that_is_its_reference_is_not_scaled)
{
    static sg_config config;
    small(&config);
    set(&config, "rollout.weight_noise=0.02");
    set(&config, "control.routing=%s", routings[_i]);
    set(&config, "control.reference=grpo");
    set(&config, "update.objectives=[grpo,grpo:match=l2,grpo:match=kl,grpo:match=mass]");
    sg_table *table = simulate(&config);
    size_t rows = sg_table_rows(table) / 4;
    for (size_t i = 0; i < 4 * rows; i++) {
        ck_assert(cell(table, "match_factor", i) == 1 || cell(table, "delta_norm", i) == 0);
        ck_assert_double_eq(cell(table, "J", i), cell(table, "J", i % rows));
    }
    sg_table_free(table);
}
END_TEST

/* ---- the sampler ---- */

START_TEST(a_coarser_engine_disagrees_more)
{
    static const char *const formats[] = {"same", "fp32", "fp16", "bf16"};
    static sg_config config;
    double gap[4];
    for (int k = 0; k < 4; k++) {
        small(&config);
        set(&config, "rollout.precision=%s", formats[k]);
        sg_table *table = simulate(&config);
        gap[k] = cell(table, "mismatch_max", 0);
        ck_assert(k == 0 ? cell(table, "mismatch_ess", 0) == 1
                         : cell(table, "mismatch_ess", 0) < 1);
        sg_table_free(table);
    }
    ck_assert_double_eq(gap[0], 0);
    ck_assert(gap[1] > 0 && gap[1] < 1e-5);
    ck_assert_double_gt(gap[2], 10 * gap[1]);
    ck_assert_double_gt(gap[3], 2 * gap[2]);
}
END_TEST

/* ---- the same bits ---- */

/* Saved after any step, in the middle of a rollout too, and loaded into a new run. */
START_TEST(a_run_saved_after_any_step_continues_bit_for_bit)
{
    enum { STEPS = 12 };
    static sg_config config;
    small(&config);
    set_sampler(&config, _i % SAMPLERS);
    set(&config, "update.objectives=[sapo:routing=%s,match=l2]", routings[_i / SAMPLERS]);
    set(&config, "update.epochs=2");
    set(&config, "update.kl_beta=0.1");
    set(&config, "optimizer.kind=coupled-adam");
    whole_run whole, part;
    open_run(&whole, &config);
    advance(&whole.run, 1, STEPS);
    for (size_t stop = 1; stop < STEPS; stop++) {
        open_run(&part, &config);
        advance(&part.run, 1, stop);
        size_t size = sg_run_save(&part.run, NULL);
        void *bytes = malloc(size);
        sg_run_save(&part.run, bytes);
        close_run(&part);
        open_run(&part, &config);
        ck_assert_int_eq(sg_run_load(&part.run, bytes, size, NULL), SG_OK);
        advance(&part.run, stop + 1, STEPS);
        ck_assert_uint_eq(part.run.record_count, whole.run.record_count);
        ck_assert_mem_eq(part.run.records, whole.run.records, STEPS * sizeof *part.run.records);
        free(bytes);
        close_run(&part);
    }
    close_run(&whole);
}
END_TEST

START_TEST(threads_and_repetition_change_no_bit)
{
    static const char *const threads[] = {"1", "2", "3"};
    static sg_config config;
    small(&config);
    set(&config, "policy.precision=%s", _i == 0 ? "fp32" : "fp64");
    set(&config, "policy.tied=%s", _i == 0 ? "yes" : "no");
    set(&config, "rollout.weight_noise=0.01");
    set(&config, "update.objectives=[grpo:routing=r3]");
    set(&config, "optimizer.kind=adamw");
    sg_table *first = simulate(&config);
    for (size_t k = 0; k < COUNT(threads); k++) {
        set(&config, "run.threads=%s", threads[k]); /* inside the one run */
        sg_table *again = simulate(&config);
        assert_equal_tables(first, again);
        sg_table_free(again);
    }
    sg_table_free(first);
}
END_TEST

/* ---- its reward, its start, its end ---- */

/* 17^3 = 4913 prefixes: an estimate. It is near the sum over all of them. */
START_TEST(beyond_4096_prefixes_samples_take_their_place)
{
    static sg_config config;
    small(&config);
    set(&config, "policy.vocabulary=40");
    set(&config, "policy.head=17");
    set(&config, "task.kind=modular-sum");
    set(&config, "task.prompts=1");
    set(&config, "task.length=4");
    whole_run w;
    open_run(&w, &config);
    sg_run *run = &w.run;
    double estimate, again, exact;
    ck_assert(!run->policy->exact_reward);
    ck_assert_double_eq(sg_task_prefixes(run->task), 4913);
    ck_assert_int_eq(sg_run_expected_reward(run, &estimate, NULL), SG_OK);
    ck_assert_int_eq(sg_run_expected_reward(run, &again, NULL), SG_OK);
    ck_assert_double_eq(estimate, again);
    run->policy->exact_reward = true;
    ck_assert_int_eq(sg_run_expected_reward(run, &exact, NULL), SG_OK);
    ck_assert_double_eq_tol(estimate, exact, 4 * sqrt(exact * (1 - exact) / 4096));
    ck_assert(exact > 0.2 && exact < 0.45); /* 3 targets */
    close_run(&w);
}
END_TEST

/* Texts that can be copied in one way only are enumerated at any length. */
START_TEST(only_prefixes_that_can_win_are_counted)
{
    static const struct {
        const char *task, *reward;
        double prefixes;
        int overrun; /* with an end token: room for so many more */
    } cases[] = {{"copy", "all", 3, 0},
                 {"reverse", "all", 3, 0},
                 {"copy", "fraction", 3 * 36, 0},
                 {"modular-sum", "all", 3 * 36, 0},
                 {"modular-sum", "fraction", 3 * 36, 0},
                 {"path", "all", 3 * 6 * 2, 0},
                 {"correct-set", "all", 3 * 4, 0},
                 {"mixed", "all", 36 + 1 + 1, 0}, /* a sum and two texts */
                 {"copy", "all", 3, 1},
                 {"modular-sum", "all", 3 * 216, 1}};
    static sg_config config;
    small(&config);
    set(&config, "task.kind=%s", cases[_i].task);
    set(&config, "task.reward=%s", cases[_i].reward);
    set(&config, "task.correct_size=2");
    set(&config, "task.families=modular-sum+copy+reverse");
    set(&config, "task.overrun=%d", cases[_i].overrun);
    set(&config, "task.overrun_max=1");
    whole_run w;
    open_run(&w, &config);
    ck_assert(w.run.policy->exact_reward);
    ck_assert_double_eq(sg_task_prefixes(w.run.task), cases[_i].prefixes);
    /* All 6^3 responses of head tokens, one by one; where answers end, those of 3 and the end. */
    bool ends = w.task.end >= 0;
    double sum = 0, expected;
    for (int32_t k = 0; k < 3 * 216; k++) {
        uint32_t prompt = (uint32_t)k / 216, length = ends ? 4 : 3;
        int32_t tokens[5] = {k % 6, k / 6 % 6, k / 36 % 6, w.task.end, -1};
        double log_prob[5] = {0};
        sg_responses one = {1, 5, &prompt, NULL, &length, tokens};
        ck_assert_int_eq(w.run.policy->methods->log_prob(w.run.policy, &one, log_prob, NULL),
                         SG_OK);
        sum += sg_task_clean_score(w.run.task, prompt, tokens) *
               exp(log_prob[0] + log_prob[1] + log_prob[2] + log_prob[3]) / 3;
    }
    ck_assert_int_eq(sg_run_expected_reward(&w.run, &expected, NULL), SG_OK);
    ck_assert_double_eq_tol(expected, sum, 1e-13);
    ck_assert_double_gt(sum, 1e-4);
    close_run(&w);
}
END_TEST

START_TEST(a_net_warms_up_or_says_that_it_cannot)
{
    static sg_config config;
    small(&config);
    set(&config, "start.success=0.5");
    set(&config, "start.lr=0.02");
    set(&config, "update.kl_beta=0.01");
    set(&config, "update.objectives=[sapo,grpo:routing=r2]");
    sg_table *table = simulate(&config);
    ck_assert_double_ge(cell(table, "J", 0), 0.5);
    ck_assert_double_eq(cell(table, "J", 24), cell(table, "J", 0));
    ck_assert_double_eq(cell(table, "kl_ref", 0), 0);
    ck_assert_double_gt(cell(table, "kl_ref", 20), 0);
    sg_table_free(table);
    sg_error error = {0};
    set(&config, "start.steps=2");
    ck_assert_int_eq(sg_simulate(&config, NULL, &table, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "in 2 steps, not to start.success 0.5"));
}
END_TEST

/* Prompts that nobody trained on are read, not remembered: their scores are those of their own
 * texts. */
START_TEST(held_out_prompts_are_answered)
{
    static sg_config config;
    small(&config);
    set(&config, "task.heldout=4");
    set(&config, "task.length=2");
    set(&config, "task.prompts=5");
    set(&config, "run.evaluate_every=1");
    whole_run w;
    open_run(&w, &config);
    sg_run *run = &w.run;
    sg_observables o = {0};
    ck_assert_int_eq(sg_run_evaluate(run, 7, &o, NULL), SG_OK);
    double sum = 0;
    for (uint32_t i = 0; i < 4 * 16; i++) {
        uint32_t prompt = 5 + i / 16, sample = i % 16, length;
        int32_t tokens[2];
        double log_prob[2];
        sg_policy_draw how = {9, SG_STREAM_EVALUATE, 7, SG_SAMPLER_PLAIN};
        sg_responses one = {1, 2, &prompt, &sample, &length, tokens};
        ck_assert_int_eq(run->policy->methods->draw(run->policy, &how, &one, log_prob, NULL),
                         SG_OK);
        sum += tokens[0] == w.task.answer[prompt * 2] && tokens[1] == w.task.answer[prompt * 2 + 1];
    }
    ck_assert_double_eq_tol(o.mean16, sum / 64, 1e-15);
    ck_assert_double_gt(sum, 0);
    close_run(&w);
}
END_TEST

START_TEST(a_net_that_stops_being_finite_ends_its_run)
{
    static sg_config config;
    small(&config);
    set(&config, "policy.precision=fp32");
    set(&config, "optimizer.kind=sgd");
    set(&config, "optimizer.lr=1e36");
    set(&config, "run.observe_every=%d", _i % 2 ? 5 : 1);
    set(&config, "rollout.noise=%s", _i / 2 ? "0.1" : "0");
    set(&config, "task.correct_mass=0.5");
    set(&config, "update.objectives=[grpo,grpo:routing=r2,grpo:routing=r3]");
    sg_table *table = simulate(&config);
    double early;
    ck_assert(sg_parse_real(sg_table_meta(table, "ended_early"), &early));
    ck_assert_double_eq(early, 3);
    size_t rows = sg_table_rows(table);
    ck_assert(isnan(cell(table, "J", rows - 1)) && cell(table, "step", rows - 1) < 24);
    sg_table_free(table);
}
END_TEST

Suite *net_sim_suite(void);
Suite *net_sim_suite(void)
{
    Suite *suite = suite_create("net_sim");
    TCase *table = tcase_create("table");
    tcase_set_timeout(table, 60);
    tcase_add_loop_test(table, one_frozen_feature_is_a_table, 0, 5);
    suite_add_tcase(suite, table);
    TCase *routing = tcase_create("routing");
    tcase_set_timeout(routing, 60);
    tcase_add_loop_test(routing, on_policy_ratios_are_one_under_every_routing, 0,
                        ROUTINGS * SAMPLERS);
    tcase_add_loop_test(routing, replayed_ratios_start_at_one_and_leave_it, 0, ROUTINGS);
    tcase_add_test(routing, r3_of_an_undistorted_sampler_is_r2);
    tcase_add_loop_test(routing, flips_are_those_of_the_textbook, 0, ROUTINGS);
    tcase_add_loop_test(routing, a_matched_arm_that_is_its_reference_is_not_scaled, 0, ROUTINGS);
    suite_add_tcase(suite, routing);
    TCase *loop = tcase_create("loop");
    tcase_set_timeout(loop, 60);
    tcase_add_test(loop, a_coarser_engine_disagrees_more);
    tcase_add_loop_test(loop, a_run_saved_after_any_step_continues_bit_for_bit, 0,
                        ROUTINGS * SAMPLERS);
    tcase_add_loop_test(loop, threads_and_repetition_change_no_bit, 0, 2);
    tcase_add_test(loop, beyond_4096_prefixes_samples_take_their_place);
    tcase_add_loop_test(loop, only_prefixes_that_can_win_are_counted, 0, 10);
    tcase_add_test(loop, a_net_warms_up_or_says_that_it_cannot);
    tcase_add_test(loop, held_out_prompts_are_answered);
    tcase_add_loop_test(loop, a_net_that_stops_being_finite_ends_its_run, 0, 4);
    suite_add_tcase(suite, loop);
    return suite;
}
