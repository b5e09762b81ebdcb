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
    size_t depth;       /* positions that branch: length, or shape.branching */
    size_t width;       /* states of the widest position, dead end not counted */
    size_t per_prompt;  /* states of a prompt */
    size_t states;      /* of all prompts */
    size_t *first;      /* [length]: first state of a position, within a prompt */
    sg_tree_rows *rows; /* of all states, and of the bias */
    double *second;     /* [states + 1]: coupled-adam's v, one for a row; NULL otherwise */

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

/* Where token `token` leads from local state `local` of position t; the root is (0, 0). */
size_t sg_tree_next(const sg_tree *tree, size_t local, size_t t, int32_t token);
static inline size_t sg_tree_dead(const sg_tree *tree, size_t t)
{
    return tree->per_prompt - tree->shape.length + t; /* t in 1..length-1 */
}

static inline bool sg_tree_ends(const sg_tree *tree, int32_t token)
{
    return tree->shape.may_end && token == tree->shape.end_token;
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
