/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_NET_POLICY_PARTS_H
#define SG_NET_POLICY_PARTS_H

#include "policy/net_policy.h"

/* What the parts of the neural policy share; not for others. */

/* Positions of responses as the net wants them. */
typedef struct sg_net_positions {
    size_t count, capacity;
    int32_t *position, *context, *token;
    size_t *place; /* in the responses' arrays */
    uint64_t *routes;
    double *value, *push;
} sg_net_positions;

typedef struct sg_net_policy {
    sg_policy base;
    sg_net_policy_shape shape;
    char backend[32]; /* "cpu/avx512", "cuda/sm_90" */
    int32_t *symbols; /* [prompts + heldout][prompt_length] */
    sg_net *net, *gradient;
    sg_net *old; /* what `net` was before a step that is described; NULL before the first one */
    sg_tensor_optimizer *optimizer;
    sg_net_pass *pass, *after;
    sg_net_positions now, replayed; /* replayed: contexts with their routes */
    uint32_t *table; /* of the replayed contexts: place + 1, 0: free; NULL: none is replayed */
    size_t table_size;
} sg_net_policy;

static inline sg_net_policy *sg_net_policy_of(const sg_policy *policy)
{
    return (sg_net_policy *)(uintptr_t)policy;
}

void sg_net_positions_free(sg_net_positions *u);
/* Room for n positions; what was there is lost if it has to grow. */
sg_status sg_net_positions_reserve(sg_net_positions *u, const sg_net_config *c, size_t n,
                                   sg_error *error);
sg_net_batch sg_net_positions_batch(sg_net_positions *u);

/* The context of token t after tokens[0..t-1]. */
void sg_net_policy_context(const sg_net_policy *self, size_t prompt, const int32_t *tokens,
                           size_t t, int32_t *context);
/* All positions of the responses, response by response. */
sg_status sg_net_policy_unroll(const sg_net_policy *self, sg_net_positions *u,
                               const sg_responses *responses, sg_error *error);

/* `replay`: routes of the replayed contexts where there are such, free choices elsewhere; else all
 * are free. */
sg_status sg_net_policy_forward(sg_net_policy *self, sg_net_positions *u, bool replay,
                                double *log_prob, sg_error *error);

sg_status sg_net_policy_draw(sg_policy *policy, const sg_policy_draw *how,
                             const sg_responses *responses, double *log_prob, sg_error *error);
sg_status sg_net_policy_update(sg_policy *policy, const sg_policy_step *step,
                               const sg_responses *responses, const double *pushes,
                               sg_policy_change *change, sg_error *error);
sg_status sg_net_policy_observe(sg_policy *policy, const sg_reward *reward,
                                sg_policy_observation *o, sg_error *error);
sg_status sg_net_policy_expected_reward(sg_policy *policy, const sg_reward *reward,
                                        double *expected, sg_error *error);

#endif
