/* SPDX-License-Identifier: GPL-3.0-or-later */
/* R4, R5 and R6: toy counterparts of Figures 4, 5 and 6 of the SAPO paper; R8: of Figure 3 of the
 * GSPO paper. */
#include <math.h>
#include <stdio.h>

#include "plots/recipes/training.h"

#define REWARD                                                                                     \
    {                                                                                              \
        SG_TRAINING_LEVEL, "Training Reward",                                                      \
        {                                                                                          \
            "reward"                                                                               \
        }                                                                                          \
    }
#define GREEDY                                                                                     \
    {                                                                                              \
        SG_TRAINING_SCORE, "Greedy Score",                                                         \
        {                                                                                          \
            "greedy"                                                                               \
        }                                                                                          \
    }
#define SAMPLED                                                                                    \
    {                                                                                              \
        SG_TRAINING_SCORE, "Mean of 16 Samples",                                                   \
        {                                                                                          \
            "mean16"                                                                               \
        }                                                                                          \
    }
#define HARD                                                                                       \
    {                                                                                              \
        SG_TRAINING_SCORE, "Hard Subset",                                                          \
        {                                                                                          \
            "hard"                                                                                 \
        }                                                                                          \
    }

#define LINES                                                                                      \
    "Lines: median over seeds; bands: 10-90 % of them; a run that has diverged counts as 0 from "  \
    "there on. Crosses mark collapses and circles divergences of single runs, at their own "       \
    "values. "
#define SCORES                                                                                     \
    "training reward, greedy score, mean score of 16 samples, and the same for the quarter of "    \
    "the prompts that was hardest at the start; dots: evaluations. "

/* ---- R4 ---- */

static const sg_training_layout r4 = {
    .name = "R4",
    .rows = 2,
    .columns = 2,
    .aspect = 0.62,
    .panels = {REWARD, GREEDY, SAMPLED, HARD},
};

static sg_status build_r4(sg_drawing *drawing, sg_error *error)
{
    return sg_training_draw(drawing, &r4, error);
}

const sg_recipe sg_recipe_r4 = {
    .name = "R4",
    .title = "Methods in training, after Figure 4 of the SAPO paper",
    .caption = "Training runs: " SCORES LINES
               "Reader: in Figure 4 of the SAPO paper the three methods are close before step 1300 "
               "and the gap is made by collapses. So look at survival, with seeds, not at the last "
               "point.",
    .training = true,
    .build = build_r4,
};

/* ---- R5 ---- */

/* Temperatures of one method: colours and names by their order. */
static void dress_temperatures(sg_arm *arms, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        sg_arm *a = &arms[i];
        double negative = a->parsed.parameter.tau_neg, positive = a->parsed.parameter.tau_pos;
        if (!a->known || a->parsed.gate != SG_GATE_SAPO)
            continue;
        bool above = negative > positive, below = negative < positive;
        a->pen.colour = above ? SG_COLOUR_SAPO : below ? SG_COLOUR_GRPO : SG_COLOUR_GSPO;
        a->pen.marker = above ? SG_CIRCLE : below ? SG_TRIANGLE : SG_SQUARE;
        a->pen.dash = SG_SOLID;
        snprintf(a->label, sizeof a->label, "τ_{neg} %s τ_{pos} (%g / %g)%s%.40s",
                 above   ? ">"
                 : below ? "<"
                         : "=",
                 negative, positive, a->controls[0] != '\0' ? ", " : "", a->controls);
    }
    double width[SG_ARMS_DRAWN];
    for (size_t i = 0; i < count; i++)
        width[i] = arms[i].pen.width;
    sg_arms_tell_apart(arms, count); /* two arms of one order */
    for (size_t i = 0; i < count; i++)
        arms[i].pen.width = width[i];
}

static const sg_training_layout r5 = {
    .name = "R5",
    .rows = 2,
    .columns = 3,
    .aspect = 0.78,
    .panels = {REWARD,
               GREEDY,
               {SG_TRAINING_ALIVE, "Share of Runs Alive", {NULL}},
               SAMPLED,
               HARD,
               {SG_TRAINING_GAIN, "Paired Gain in J", {"J", "reward"}}},
    .dress = dress_temperatures,
};

static sg_status build_r5(sg_drawing *drawing, sg_error *error)
{
    return sg_training_draw(drawing, &r5, error);
}

const sg_recipe sg_recipe_r5 = {
    .name = "R5",
    .title = "Temperature asymmetry in training, after Figure 5 of the SAPO paper",
    .caption =
        "SAPO with tau_neg above, equal to and below tau_pos (neg / pos). The panels of R4: " SCORES
        "To the right the share of runs that have neither collapsed nor diverged (Kaplan-Meier; "
        "intervals in R5-survival.csv) and the gain in the exact score J over the first arm, seed "
        "by seed. " LINES
        "Reader: in Figure 5 of the SAPO paper early learning speed is ordered the other way round "
        "(0.95 fastest), and most of the extra life comes with a 5 % asymmetry, from one seed "
        "each: this figure needs repetition more than any other.",
    .training = true,
    .build = build_r5,
};

/* ---- R6 ---- */

static const sg_training_layout r6 = {
    .name = "R6",
    .rows = 1,
    .columns = 2,
    .aspect = 0.72,
    .panels = {REWARD, {SG_TRAINING_SCORE, "Aggregated Validation Score", {"score", "mean16"}}},
};

static sg_status build_r6(sg_drawing *drawing, sg_error *error)
{
    return sg_training_draw(drawing, &r6, error);
}

const sg_recipe sg_recipe_r6 = {
    .name = "R6",
    .title = "Mixed tasks, after Figure 6 of the SAPO paper",
    .caption =
        "Training runs on several families of tasks with two minibatches a rollout: training "
        "reward, and the mean of the families' scores (16 samples of each "
        "prompt; dots: evaluations). " LINES
        "Reader: in Figure 6 of the SAPO paper, a short and mildly off-policy run, nothing "
        "collapses; the gain of SAPO is small but steady, 0.009 in score at step 500.",
    .training = true,
    .build = build_r6,
};

/* ---- R8 ---- */

enum { PURPLE = 0x7B4FB5, ORANGE = 0xE8801A };

/* The colours and marks of the paper, if the arms differ in this. */
static void dress_replay(sg_arm *arms, size_t count)
{
    size_t with = 0;
    for (size_t i = 0; i < count; i++)
        with += arms[i].routing[0] != '\0';
    if (with == 0 || with == count)
        return;
    for (size_t i = 0; i < count; i++) {
        bool replayed = arms[i].routing[0] != '\0';
        arms[i].pen = (sg_pen){.colour = replayed ? PURPLE : ORANGE,
                               .marker = replayed ? SG_CIRCLE : SG_SQUARE,
                               .width = 1};
        if (count > 2)
            continue;
        char method[SG_LABEL_SIZE];
        snprintf(method, sizeof method, "%.60s", arms[i].objective);
        for (char *c = method; *c >= 'a' && *c <= 'z'; c++)
            *c = (char)(*c - 'a' + 'A');
        snprintf(arms[i].label, sizeof arms[i].label, "%.60s %s Routing Replay", method,
                 replayed ? "with" : "without");
    }
    if (count > 2)
        sg_arms_tell_apart(arms, count);
}

static const sg_training_layout r8 = {
    .name = "R8",
    .rows = 1,
    .columns = 1,
    .aspect = 0.62,
    .width = 0.62,
    .panels = {REWARD},
    .markers = 24,
    .dress = dress_replay,
};

static sg_status build_r8(sg_drawing *drawing, sg_error *error)
{
    return sg_training_draw(drawing, &r8, error);
}

const sg_recipe sg_recipe_r8 = {
    .name = "R8",
    .title = "Routing replay, after Figure 3 of the GSPO paper",
    .caption =
        "Training runs of a mixture of experts by GRPO, with the experts that the trainer chose at "
        "the rollout replayed in its updates (R2) and with routes chosen anew: training "
        "reward. " LINES
        "Reader: in Figure 3 of the GSPO paper the reward goes from .41 to .58 with replay and "
        "falls to about .25 without. Switching experts puts noise into the ratio that has nothing "
        "to do with the change of the policy; replay removes it at the price of a biased target. "
        "On-policy it brings nothing; the staler the data, the more it matters "
        "(arXiv 2512.01374).",
    .training = true,
    .build = build_r8,
};
