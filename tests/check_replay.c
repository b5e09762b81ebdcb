/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Replay: gradients against finite differences, aggregation, masks, overflow, sequence laws. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "objective/advantage.h"
#include "objective/kl.h"
#include "objective/replay.h"
#include "objective/sequence.h"

static sg_objective parse(const char *spec)
{
    sg_objective objective;
    sg_error error;
    if (sg_objective_parse(&objective, spec, &error) != SG_OK)
        ck_abort_msg("%s: %s", spec, error.message);
    return objective;
}

static double *reals(size_t n)
{
    double *cells = calloc(n, sizeof *cells);
    ck_assert_ptr_nonnull(cells);
    return cells;
}

enum { TOKENS = 14 };

/* Rows of 5, 1, 7 live tokens, one masked token full of garbage; token-level advantages of both signs. */
static sg_batch *small_batch(double width)
{
    static const int rows[TOKENS] = {0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 2};
    sg_batch *batch;
    ck_assert_int_eq(sg_batch_alloc(&batch, TOKENS, NULL), SG_OK);
    batch->logp_ref = reals(TOKENS);
    batch->weight = reals(TOKENS);
    for (uint32_t i = 0; i < TOKENS; i++) {
        double x[2], y[2];
        sg_rng_normal_pair((sg_address){7, SG_STREAM_SYNTHETIC, 0, 0, 0, i}, x);
        sg_rng_normal_pair((sg_address){7, SG_STREAM_SYNTHETIC, 0, 0, 1, i}, y);
        batch->sequence[i] = rows[i];
        batch->position[i] = i;
        batch->mask[i] = i != 3;
        batch->logp_old[i] = -1 - fabs(x[0]);
        batch->logp_new[i] = batch->logp_old[i] + width * x[1];
        batch->logp_ref[i] = batch->logp_old[i] + 0.1 * y[0];
        batch->advantage[i] = y[1];
        batch->weight[i] = 0.5 + 0.1 * i;
    }
    batch->advantage[9] = 0;
    batch->logp_new[3] = INFINITY;
    batch->logp_old[3] = -INFINITY;
    batch->advantage[3] = NAN;
    ck_assert_int_eq(sg_batch_group(batch, 4, NULL), SG_OK);
    return batch;
}

static double loss_of(const sg_batch *batch, const sg_objective *objective,
                      const sg_replay_options *options)
{
    sg_replay_summary summary;
    ck_assert_int_eq(sg_replay(batch, objective, options, NULL, &summary, NULL), SG_OK);
    return summary.loss;
}

/* Objectives whose printed loss is an antiderivative of their gradient. */
static const char *const differentiable[] = {
    "sapo",      "sapo:level=sequence",      "grpo:eps_low=0.5,eps_high=0.6", "gspo:epsilon=0.3",
    "dual-clip", "luspo:epsilon=0.3",        "gmpo",                          "gate-erf:tau_pos=1",
    "spo",       "gate-arctan:tau_pos=2",    "gate-softsign:tau_pos=1",       "unclipped",
    "reinforce", "unclipped:level=sequence", "dro:beta=0.7",                 "bapo:target=0.8",
    "kl-cov:share=0.4,beta=0.6",             "clip-cov:epsilon=0.5,share=0.3,cov_low=0",
};
enum { DIFFERENTIABLE = sizeof differentiable / sizeof *differentiable };

START_TEST(gradient_is_the_finite_difference_of_the_loss)
{
    sg_objective objective = parse(differentiable[_i / 5]);
    sg_replay_options options = {.aggregate = (sg_aggregate_mode)(_i % 5),
                                 .empty = _i % 2 ? SG_EMPTY_COUNT : SG_EMPTY_SKIP,
                                 .kl_beta = 0.03,
                                 .kl = SG_KL_K3};
    sg_batch *batch = small_batch(0.4);
    sg_replay_token tokens[TOKENS];
    sg_replay_summary summary;
    ck_assert_int_eq(sg_replay(batch, &objective, &options, tokens, &summary, NULL), SG_OK);
    double total = 0;
    for (size_t i = 0; i < TOKENS; i++) {
        double here = batch->logp_new[i], step = 1e-6;
        total += tokens[i].loss;
        if (!batch->mask[i]) {
            ck_assert_double_eq(tokens[i].dloss_dlogp, 0);
            continue;
        }
        batch->logp_new[i] = here + step;
        double up = loss_of(batch, &objective, &options);
        batch->logp_new[i] = here - step;
        double down = loss_of(batch, &objective, &options);
        batch->logp_new[i] = here;
        double difference = (up - down) / (2 * step);
        ck_assert_msg(fabs(difference - tokens[i].dloss_dlogp) <=
                          1e-8 * fmax(1, fabs(difference)),
                      "%s, mode %d, token %zu: %.12g, difference %.12g", differentiable[_i / 5],
                      _i % 5, i, tokens[i].dloss_dlogp, difference);
    }
    ck_assert_double_eq_tol(total, summary.loss, 1e-14);
    sg_batch_free(batch);
}
END_TEST

START_TEST(aggregation_has_its_reference_values)
{
    /* Token losses (1, 3), (), (2, 4, 9) with T = 4: reinforce with logp = -loss, A = 1. */
    static const double want[5][2] = {
        {3.8, 3.8}, {19, 19}, {3.5, 7.0 / 3}, {9.5, 19.0 / 3}, {2.375, 19.0 / 12}};
    static const double losses[] = {1, 3, 2, 4, 9};
    sg_batch *batch;
    ck_assert_int_eq(sg_batch_alloc(&batch, 5, NULL), SG_OK);
    for (size_t i = 0; i < 5; i++) {
        batch->sequence[i] = i < 2 ? 10 : 30;
        batch->position[i] = (int64_t)i;
        batch->mask[i] = 1;
        batch->advantage[i] = 1;
        batch->logp_new[i] = batch->logp_old[i] = -losses[i];
    }
    ck_assert_int_eq(sg_batch_group(batch, 3, NULL), SG_OK);
    sg_objective objective = parse("reinforce");
    for (int mode = 0; mode < 5; mode++) {
        for (int empty = 0; empty < 2; empty++) {
            sg_replay_options options = {.aggregate = (sg_aggregate_mode)mode,
                                         .empty = (sg_empty_rows)empty,
                                         .norm_length = 4};
            ck_assert_double_eq_tol(loss_of(batch, &objective, &options), want[mode][empty], 1e-14);
        }
    }
    sg_batch_free(batch);
}
END_TEST

START_TEST(gspo_of_one_token_is_grpo)
{
    sg_batch *batch = small_batch(0.4);
    for (size_t i = 0; i < TOKENS; i++)
        batch->sequence[i] = (int64_t)i;
    ck_assert_int_eq(sg_batch_group(batch, 0, NULL), SG_OK);
    sg_objective gspo = parse("gspo:epsilon=0.2"), grpo = parse("grpo");
    sg_replay_options options = {.aggregate = SG_TOKEN_MEAN};
    sg_replay_token a[TOKENS], b[TOKENS];
    sg_replay_summary summary;
    ck_assert_int_eq(sg_replay(batch, &gspo, &options, a, &summary, NULL), SG_OK);
    ck_assert_int_eq(sg_replay(batch, &grpo, &options, b, &summary, NULL), SG_OK);
    for (size_t i = 0; i < TOKENS; i++) {
        ck_assert_double_eq_tol(a[i].dloss_dlogp, b[i].dloss_dlogp, 1e-16);
        ck_assert_double_eq_tol(a[i].loss, b[i].loss, 1e-16);
    }
    sg_batch_free(batch);
}
END_TEST

START_TEST(masked_garbage_never_counts)
{
    static const double garbage[] = {NAN, INFINITY, -INFINITY, 1e308, -1e308, 0};
    sg_objective objective = parse("unclipped");
    sg_replay_options options = {.natural_aggregate = true, .kl_beta = 1, .kl = SG_KL_K3};
    sg_batch *batch = small_batch(0.4);
    double want = loss_of(batch, &objective, &options);
    ck_assert(isfinite(want));
    for (size_t g = 0; g < sizeof garbage / sizeof *garbage; g++) {
        batch->logp_new[3] = batch->logp_old[3] = batch->logp_ref[3] = garbage[g];
        batch->advantage[3] = batch->weight[3] = garbage[g];
        ck_assert_double_eq(loss_of(batch, &objective, &options), want);
    }
    sg_batch_free(batch);
}
END_TEST

START_TEST(live_nonfinite_tokens_are_left_out_and_counted)
{
    sg_objective objective = parse("sapo");
    sg_replay_options options = {.natural_aggregate = true};
    sg_batch *batch = small_batch(0.4);
    batch->logp_new[5] = NAN;
    batch->advantage[8] = INFINITY;
    sg_replay_token tokens[TOKENS];
    sg_replay_summary summary;
    ck_assert_int_eq(sg_replay(batch, &objective, &options, tokens, &summary, NULL), SG_OK);
    ck_assert_uint_eq(summary.nonfinite, 2);
    ck_assert_uint_eq(summary.nonfinite_row[0], 5);
    ck_assert_uint_eq(summary.nonfinite_row[1], 8);
    ck_assert_uint_eq(summary.tokens, TOKENS - 3);
    ck_assert(isfinite(summary.loss));
    ck_assert_double_eq(tokens[5].dloss_dlogp, 0);
    batch->mask[5] = batch->mask[8] = 0;
    ck_assert_double_eq(loss_of(batch, &objective, &options), summary.loss);
    sg_batch_free(batch);
}
END_TEST

START_TEST(extreme_ratios_give_documented_results)
{
    /* A > 0 and A < 0 at d = 800, beyond exp in fp64: SAPO has let go, clips have their limits. */
    sg_batch *batch;
    ck_assert_int_eq(sg_batch_alloc(&batch, 2, NULL), SG_OK);
    for (size_t i = 0; i < 2; i++) {
        batch->sequence[i] = (int64_t)i;
        batch->mask[i] = 1;
        batch->advantage[i] = i == 0 ? 1 : -1;
        batch->logp_old[i] = -800;
    }
    ck_assert_int_eq(sg_batch_group(batch, 0, NULL), SG_OK);
    sg_objective sapo = parse("sapo"), grpo = parse("grpo"), dual = parse("dual-clip");
    sg_replay_options options = {.aggregate = SG_TOKEN_SUM};
    sg_replay_token t[2];
    sg_replay_summary s;
    ck_assert_int_eq(sg_replay(batch, &sapo, &options, t, &s, NULL), SG_OK);
    ck_assert_double_eq_tol(s.loss, -4 + 4 / 1.05, 1e-15);
    ck_assert_double_eq(t[0].dloss_dlogp, 0);
    ck_assert_double_eq(t[1].dloss_dlogp, 0);
    ck_assert_double_eq(s.beyond_20, 1);
    ck_assert_double_eq(s.beyond_88, 1);
    ck_assert_double_eq(s.hidden_neg, 1);
    ck_assert_int_eq(sg_replay(batch, &dual, &options, t, &s, NULL), SG_OK);
    ck_assert_double_eq_tol(s.loss, -1.2 + 3, 1e-15);
    ck_assert_int_eq(sg_replay(batch, &grpo, &options, t, &s, NULL), SG_OK);
    ck_assert_double_infinite(s.loss);
    ck_assert(!isnan(s.loss));
    options.clamp = SG_CLAMP_ZERO;
    options.clamp_limit = 20;
    ck_assert_int_eq(sg_replay(batch, &grpo, &options, t, &s, NULL), SG_OK);
    ck_assert_double_eq_tol(s.loss, -1.2 + exp(20), 1e-6);
    ck_assert_double_eq(t[1].dloss_dlogp, 0);
    ck_assert_double_eq(s.clamped, 1);
    ck_assert_double_eq(s.log_ratio_max, 800);
    options.clamp = SG_CLAMP_CAP;
    ck_assert_int_eq(sg_replay(batch, &grpo, &options, t, &s, NULL), SG_OK);
    ck_assert_double_eq_tol(t[1].dloss_dlogp / exp(20), 1, 1e-15);
    sg_batch_free(batch);
}
END_TEST

START_TEST(statistics_of_a_batch_by_hand)
{
    /* r = 1, 1.5, 0.5 with A = 1, 1, -1 under grpo: the last two are clipped. */
    sg_batch *batch;
    ck_assert_int_eq(sg_batch_alloc(&batch, 3, NULL), SG_OK);
    static const double r[] = {1, 1.5, 0.5}, a[] = {1, 1, -1};
    for (size_t i = 0; i < 3; i++) {
        batch->sequence[i] = (int64_t)i;
        batch->mask[i] = 1;
        batch->advantage[i] = a[i];
        batch->logp_old[i] = -2;
        batch->logp_new[i] = -2 + log(r[i]);
    }
    ck_assert_int_eq(sg_batch_group(batch, 0, NULL), SG_OK);
    sg_objective grpo = parse("grpo");
    sg_replay_options options = {.aggregate = SG_TOKEN_MEAN};
    sg_replay_summary s;
    ck_assert_int_eq(sg_replay(batch, &grpo, &options, NULL, &s, NULL), SG_OK);
    ck_assert_double_eq_tol(s.effective_update_ratio, 1.0 / 3, 1e-15);
    ck_assert_double_eq_tol(s.clipped_fraction, 2.0 / 3, 1e-15);
    ck_assert_double_eq_tol(s.clipped_fraction_pos, 0.5, 1e-15);
    ck_assert_double_eq_tol(s.clipped_fraction_neg, 1, 1e-15);
    ck_assert_double_eq_tol(s.loss, -(1 + 1.2 - 0.8) / 3, 1e-15);
    ck_assert_double_eq_tol(s.diffuse_push, 1.0 / 3, 1e-15);
    ck_assert_double_eq_tol(s.ratio_mean, 1, 1e-15);
    ck_assert_double_eq_tol(s.ess, 9 / (3 * 3.5), 1e-15);
    ck_assert_double_eq_tol(s.kl_k1, -(log(1.5) + log(0.5)) / 3, 1e-15);
    ck_assert_double_eq_tol(s.kl_k3, (0.5 - log(1.5) - 0.5 - log(0.5)) / 3, 1e-15);
    ck_assert_double_eq(s.coefficient_share_neg, 0);
    ck_assert(!s.on_policy);
    sg_batch_free(batch);
}
END_TEST

START_TEST(row_objectives_have_their_reference_values)
{
    /* d = (0.3, -0.1, 0.5): gspo, gmpo, vespo and topr of one row. */
    static const double d[] = {0.3, -0.1, 0.5};
    static const struct {
        const char *spec;
        double pos, neg; /* c, the same for every token */
    } rows[] = {
        {"gspo:epsilon=0.2", 0, 1.262802}, {"gspo", 0, 1.262802},
        {"vespo", 0.1937361, 1.075187},    {"topr", 1, 1},
    };
    for (int sign = -1; sign <= 1; sign += 2) {
        sg_batch *batch;
        ck_assert_int_eq(sg_batch_alloc(&batch, 3, NULL), SG_OK);
        for (size_t i = 0; i < 3; i++) {
            batch->position[i] = (int64_t)i;
            batch->mask[i] = 1;
            batch->advantage[i] = sign;
            batch->logp_old[i] = -1;
            batch->logp_new[i] = -1 + d[i];
        }
        ck_assert_int_eq(sg_batch_group(batch, 0, NULL), SG_OK);
        sg_replay_options options = {.aggregate = SG_SEQ_MEAN_TOKEN_MEAN};
        sg_replay_token t[3];
        sg_replay_summary s;
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
            sg_objective objective = parse(rows[k].spec);
            ck_assert_int_eq(sg_replay(batch, &objective, &options, t, &s, NULL), SG_OK);
            for (size_t i = 0; i < 3; i++) {
                ck_assert_double_eq_tol(t[i].coefficient, sign > 0 ? rows[k].pos : rows[k].neg,
                                        1e-6);
                ck_assert_double_eq_tol(t[i].dloss_dlogp, -sign * t[i].coefficient / 3, 1e-15);
            }
        }
        sg_objective gmpo = parse("gmpo");
        ck_assert_int_eq(sg_replay(batch, &gmpo, &options, t, &s, NULL), SG_OK);
        ck_assert_double_eq_tol(s.loss, -sign * (sign > 0 ? 1.221403 : 1.262802), 1e-6);
        ck_assert_double_eq(t[2].coefficient == 0, sign > 0);
        sg_batch_free(batch);
    }
}
END_TEST

START_TEST(log_form_bound_holds_and_the_real_gate_breaks_it)
{
    static const double d[] = {0.3, -0.1, 0.5};
    sg_sequence_gate row = sg_sequence_gate_of(d, 3, 1);
    ck_assert_double_eq_tol(row.variance, 0.06222222, 1e-8);
    ck_assert_double_eq_tol(row.deviation, 0.01472737, 1e-8);
    ck_assert_double_eq_tol(row.bound, 0.01555556, 1e-8);
    ck_assert_double_eq_tol(row.deviation_true, 0.03000969, 1e-8);

    static const double taus[] = {0.3, 1, 1.05, 3, 12};
    for (uint32_t k = 0; k < 5000; k++) {
        double x[40];
        size_t n = 2 + k % 39;
        for (uint32_t t = 0; t < n; t++) {
            double z[2];
            sg_rng_normal_pair((sg_address){1, SG_STREAM_SYNTHETIC, k, 0, 0, t}, z);
            x[t] = z[0] * exp(z[1]) * (k % 7 == 0 ? 3 : 0.2); /* heavy tails too */
        }
        row = sg_sequence_gate_of(x, n, taus[k % 5]);
        ck_assert_double_le(row.deviation, row.bound + 1e-15);
    }

    const double outlier[] = {log(1.02), log(1.01), log(0.99), log(2.5)};
    row = sg_sequence_gate_of(outlier, 4, 1);
    ck_assert_double_eq_tol(row.bound, 0.038822, 1e-6);
    ck_assert_double_eq_tol(row.deviation, 0.032391, 1e-6);
    ck_assert_double_eq_tol(row.deviation_true, 0.087326, 1e-6);
    ck_assert_double_gt(row.deviation_true, row.bound);
}
END_TEST

START_TEST(kl_estimators_and_their_derivatives)
{
    ck_assert_double_eq_tol(sg_kl_at(SG_KL_K2, 0.3).value, 0.045, 1e-15);
    ck_assert_double_eq_tol(sg_kl_at(SG_KL_K3, 0.3).value, 0.0408182, 1e-7);
    ck_assert_double_eq_tol(sg_kl_at(SG_KL_K3, 0.3).derivative, 0.2591818, 1e-7);
    for (int kind = SG_KL_K1; kind <= SG_KL_K3; kind++) {
        for (double e = -2.05; e < 2; e += 0.1) {
            double slope = (sg_kl_at((sg_kl_kind)kind, e + 1e-6).value -
                            sg_kl_at((sg_kl_kind)kind, e - 1e-6).value) /
                           2e-6;
            ck_assert_double_eq_tol(sg_kl_at((sg_kl_kind)kind, e).derivative, slope, 1e-8);
        }
        sg_kl_kind again;
        ck_assert(sg_kl_from_name(sg_kl_name((sg_kl_kind)kind), &again));
        ck_assert_int_eq(again, kind);
    }
}
END_TEST

START_TEST(advantages_by_hand)
{
    static const double reward[] = {1, 0, 0, 1, 1}, length[] = {10, 20, 30, 40, 50};
    static const int64_t group[] = {5, 5, 5, 5, 5};
    static const double greedy[] = {0.5, 0.5, 0.5, 0.5, 0.5};
    static const struct {
        sg_advantage_kind kind;
        double right, wrong;
    } want[] = {
        {SG_ADVANTAGE_GRPO, 0.7302954, -1.0954431}, {SG_ADVANTAGE_DR_GRPO, 0.4, -0.6},
        {SG_ADVANTAGE_RLOO, 0.5, -0.75},            {SG_ADVANTAGE_OPO, 0.3333333, -0.6666667},
        {SG_ADVANTAGE_REMAX, 0.5, -0.5},            {SG_ADVANTAGE_ASYMRE, 0.5, -0.5},
    };
    sg_rewards rewards = {5, reward, group, length, greedy};
    sg_advantage_options options = {.eps = 1e-6, .value_shift = -0.1};
    double a[5];
    sg_advantage_report report;
    for (size_t k = 0; k < sizeof want / sizeof *want; k++) {
        ck_assert_int_eq(
            sg_advantage_estimate(want[k].kind, &rewards, &options, a, &report, NULL), SG_OK);
        for (size_t i = 0; i < 5; i++)
            ck_assert_double_eq_tol(a[i], reward[i] == 1 ? want[k].right : want[k].wrong, 1e-7);
        ck_assert_uint_eq(report.groups, 1);
        ck_assert_uint_eq(report.zero_variance, 0);
    }
    static const double equal[] = {0.1, 0.1, 0.1, 0.1, 0.1};
    rewards.reward = equal;
    ck_assert_int_eq(
        sg_advantage_estimate(SG_ADVANTAGE_GRPO, &rewards, &options, a, &report, NULL), SG_OK);
    for (size_t i = 0; i < 5; i++)
        ck_assert_double_eq(a[i], 0);
    ck_assert_uint_eq(report.zero_variance, 1);
    rewards.length = NULL;
    ck_assert_int_eq(sg_advantage_estimate(SG_ADVANTAGE_OPO, &rewards, &options, a, NULL, NULL),
                     SG_EARGUMENT);
    static const double bad[] = {1, NAN, 0, 0, 0};
    rewards.reward = bad;
    ck_assert_int_eq(sg_advantage_estimate(SG_ADVANTAGE_GRPO, &rewards, &options, a, NULL, NULL),
                     SG_EARGUMENT);
}
END_TEST

static sg_table *table_with(const char *const *names, size_t columns, size_t rows)
{
    sg_table *table = sg_table_alloc();
    for (size_t c = 0; c < columns; c++)
        ck_assert_int_eq(sg_table_add_column(table, names[c], SG_COLUMN_REAL, NULL), SG_OK);
    ck_assert_int_eq(sg_table_add_rows(table, rows, NULL), SG_OK);
    for (size_t c = 0; c < columns; c++) {
        for (size_t r = 0; r < rows; r++)
            sg_table_set_real(table, c, r, c == 1 ? (double)r : c == 2 ? 1 : 0);
    }
    return table;
}

START_TEST(batches_are_checked)
{
    static const char *const names[] = {"sequence",  "position", "mask",
                                        "advantage", "logp_old", "logp_new"};
    sg_batch *batch;
    sg_error error;
    for (size_t columns = 0; columns < 6; columns++) {
        sg_table *table = table_with(names, columns, 2);
        ck_assert_int_eq(sg_batch_from_table(&batch, table, 0, &error), SG_EDATA);
        ck_assert_ptr_nonnull(strstr(error.message, names[columns]));
        sg_table_free(table);
    }
    sg_table *table = table_with(names, 6, 3);
    ck_assert_int_eq(sg_batch_from_table(&batch, table, 5, &error), SG_OK);
    ck_assert_uint_eq(batch->sequences, 5);
    ck_assert_uint_eq(batch->responses, 1);
    sg_batch_free(batch);
    sg_table_set_real(table, 2, 1, 0.5);
    ck_assert_int_eq(sg_batch_from_table(&batch, table, 0, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "row 2"));
    sg_table_set_real(table, 2, 1, 1);
    sg_table_set_real(table, 1, 1, 0);
    ck_assert_int_eq(sg_batch_from_table(&batch, table, 0, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "only once"));
    sg_table_set_real(table, 1, 1, 1);
    sg_table_set_real(table, 0, 1, 7);
    ck_assert_int_eq(sg_batch_from_table(&batch, table, 1, &error), SG_EDATA);
    sg_table_free(table);
}
END_TEST

START_TEST(replay_of_several_objectives_is_one_table)
{
    sg_batch *batch = small_batch(0.2);
    sg_objective objectives[] = {parse("sapo"), parse("gspo")};
    sg_replay_options options = {.natural_aggregate = true};
    sg_replay_summary summaries[2];
    sg_table *table;
    ck_assert_int_eq(sg_replay_all(batch, objectives, 2, &options, &table, summaries, NULL), SG_OK);
    ck_assert_uint_eq(sg_table_rows(table), 2 * (TOKENS - 1));
    double loss = 0;
    for (size_t row = 0; row < TOKENS - 1; row++)
        loss += sg_table_get_real(table, 8, row);
    ck_assert_double_eq_tol(loss, summaries[0].loss, 1e-15);
    ck_assert_str_eq(sg_table_get_text(table, 0, TOKENS - 1), "gspo");
    sg_table_free(table);
    sg_batch_free(batch);
}
END_TEST

Suite *replay_suite(void);
Suite *replay_suite(void)
{
    Suite *suite = suite_create("replay");
    TCase *tests = tcase_create("replay");
    tcase_add_loop_test(tests, gradient_is_the_finite_difference_of_the_loss, 0,
                        5 * DIFFERENTIABLE);
    tcase_add_test(tests, aggregation_has_its_reference_values);
    tcase_add_test(tests, gspo_of_one_token_is_grpo);
    tcase_add_test(tests, masked_garbage_never_counts);
    tcase_add_test(tests, live_nonfinite_tokens_are_left_out_and_counted);
    tcase_add_test(tests, extreme_ratios_give_documented_results);
    tcase_add_test(tests, statistics_of_a_batch_by_hand);
    tcase_add_test(tests, row_objectives_have_their_reference_values);
    tcase_add_test(tests, log_form_bound_holds_and_the_real_gate_breaks_it);
    tcase_add_test(tests, kl_estimators_and_their_derivatives);
    tcase_add_test(tests, advantages_by_hand);
    tcase_add_test(tests, batches_are_checked);
    tcase_add_test(tests, replay_of_several_objectives_is_one_table);
    suite_add_tcase(suite, tests);
    return suite;
}
