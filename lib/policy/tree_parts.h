/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TREE_PARTS_H
#define SG_TREE_PARTS_H

#include <math.h>

#include "backend/tree_rows.h"
#include "policy/tree.h"

/* What the parts of the tree share; not for others. */

/* fp32 moments are kept multiplied by this, so that the square of a small gradient does not
 * underflow. */
#define SG_TREE_MOMENT_SCALE 0x1p40

typedef struct sg_tree {
    sg_policy base;
    sg_tree_shape shape;
    sg_tree_paths paths;
    size_t width;       /* states of the widest position, dead end not counted */
    size_t states;      /* of all prompts */
    size_t *first;      /* [length + 1]: that of paths */
    sg_tree_rows *rows; /* of all states, and of the bias */

    /* The responses at hand, sorted by state. */
    size_t capacity;    /* tokens for which there is room */
    size_t *state_of;   /* [capacity] */
    size_t *order;      /* [capacity]: places in the responses' arrays, sorted by state */
    size_t *start;      /* [states + 1]: into order */
    double *visits;     /* [states] */
    sg_tree_look *look; /* [states] */
    sg_row_observation *observation; /* [states] */
} sg_tree;

static inline sg_tree *sg_tree_of(const sg_policy *policy)
{
    return (sg_tree *)(uintptr_t)policy;
}

/* Fills state_of, order and start. */
sg_status sg_tree_arrange(sg_tree *tree, const sg_responses *responses, sg_error *error);

sg_status sg_tree_draw(sg_policy *policy, const sg_policy_draw *draw, const sg_responses *responses,
                       double *log_prob, sg_error *error);
sg_status sg_tree_log_prob(sg_policy *policy, const sg_responses *responses, double *log_prob,
                           sg_error *error);
sg_status sg_tree_update(sg_policy *policy, const sg_policy_step *step,
                         const sg_responses *responses, const double *pushes,
                         sg_policy_change *change, sg_error *error);
sg_status sg_tree_observe(sg_policy *policy, const sg_reward *reward,
                          sg_policy_observation *observation, sg_error *error);
sg_status sg_tree_expected_reward(sg_policy *policy, const sg_reward *reward, double *expected,
                                  sg_error *error);

/* Most log-probabilities of head tokens that are asked for at once, unless a prompt has more. */
enum { SG_TREE_HEAD_ROOM = 1 << 22 };

#endif
