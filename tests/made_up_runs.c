/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "made_up_runs.h"

#include <math.h>

const char *const made_up_methods[MADE_UP_ARMS][2] = {
    {"sapo", "tau_pos=1,tau_neg=1.05"},
    {"gspo", "eps_low=0.0003,eps_high=0.0004"},
    {"grpo", "eps_low=0.2,eps_high=0.27,routing=r2"}};

const char *const made_up_temperatures[MADE_UP_ARMS][2] = {{"sapo", "tau_pos=1,tau_neg=1.05"},
                                                           {"sapo", "tau_pos=1,tau_neg=1"},
                                                           {"sapo", "tau_pos=1,tau_neg=0.95"}};

double made_up_score(int arm, int seed, int step)
{
    return arm == 2 && seed <= 3 && step >= 60 ? 0 : 0.1 + 0.01 * arm + 0.005 * step + 0.02 * seed;
}

sg_table *made_up_runs(const char *const arms[MADE_UP_ARMS][2])
{
    static const char *const reals[] = {
        "reward",      "J",      "entropy", "tail_mass", "tail_entropy_share",
        "logit_range", "greedy", "mean16",  "hard"};
    enum { REALS = sizeof reals / sizeof *reals };
    sg_table *table = sg_table_alloc();
    sg_table_add_column(table, "objective", SG_COLUMN_TEXT, NULL);
    sg_table_add_column(table, "params", SG_COLUMN_TEXT, NULL);
    sg_table_add_column(table, "seed", SG_COLUMN_INTEGER, NULL);
    sg_table_add_column(table, "step", SG_COLUMN_INTEGER, NULL);
    for (size_t c = 0; c < REALS; c++)
        sg_table_add_column(table, reals[c], SG_COLUMN_REAL, NULL);
    sg_table_set_meta(table, "run.steps", "100", NULL);
    sg_table_set_meta(table, "run.evaluate_every", "10", NULL);
    sg_table_set_meta(table, "policy.vocabulary", "1000", NULL);
    sg_table_set_meta(table, "policy.kind", "tabular", NULL);
    sg_table_set_meta(table, "update.minibatches", "16", NULL);
    sg_table_add_rows(table, (size_t)MADE_UP_ARMS * MADE_UP_SEEDS * MADE_UP_STEPS, NULL);
    for (int i = 0; i < MADE_UP_ARMS * MADE_UP_SEEDS * MADE_UP_STEPS; i++) {
        int arm = i / (MADE_UP_SEEDS * MADE_UP_STEPS), seed = i / MADE_UP_STEPS % MADE_UP_SEEDS + 1;
        int step = i % MADE_UP_STEPS + 1;
        size_t row = (size_t)i;
        double score = made_up_score(arm, seed, step);
        double tail = arm == 2 && seed == 4 && step >= 80 ? 0.6 : 0.01;
        double known = step % 10 == 1 || step == MADE_UP_STEPS ? 0 : NAN;
        const double values[REALS] = {score,
                                      score,
                                      2 - 0.01 * step,
                                      tail,
                                      0.1,
                                      5,
                                      known + score + 0.05,
                                      known + score,
                                      known + score / 2};
        sg_table_set_text(table, 0, row, arms[arm][0], NULL);
        sg_table_set_text(table, 1, row, arms[arm][1], NULL);
        sg_table_set_integer(table, 2, row, seed);
        sg_table_set_integer(table, 3, row, step);
        for (size_t c = 0; c < REALS; c++)
            sg_table_set_real(table, 4 + c, row, values[c]);
    }
    return table;
}
