/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_NET_POLICY_H
#define SG_NET_POLICY_H

#include "policy/net.h"
#include "policy/policy.h"
#include "policy/routing.h"

/* The neural policy (net.h) as one of those that the simulator trains. It owns parameters, a
 * gradient and an optimiser. The prompt's slots hold the symbols of its row in prompt_symbols, or
 * the prompt's own number when there is no such table and prompt_length is 1.
 *
 * A state is a context. What sums over states need is enumerated where responses have one token;
 * otherwise sg_policy_observation averages over the states that `observe_samples` responses to each
 * prompt visit (drawn at fixed addresses, stream SG_STREAM_EVALUATE). expected_reward enumerates
 * prefixes of head tokens while all prompts together have at most 4096 of them, and is NaN beyond;
 * tail tokens lose. max_unsampled_push of a change is NaN: unknown. */
typedef struct sg_net_policy_shape {
    sg_net_config net;
    sg_rule_config rule;           /* learning rate and clip come with each step instead */
    size_t prompts;                /* >= 1 */
    const int32_t *prompt_symbols; /* [prompts][net.prompt_length], copied; or NULL */
    int32_t end_token;             /* responses end after it; -1: they all have net.length tokens */
    size_t observe_samples;        /* >= 1 */
    uint64_t seed;                 /* of parameters and of evaluation */
} sg_net_policy_shape;

/* Memory in bytes, with the activations for `responses` responses of full length that share no
 * context. */
double sg_net_policy_bytes(const sg_net_policy_shape *shape, size_t responses);

/* SG_EARGUMENT names what is out of range; SG_ENOMEM. */
sg_status sg_net_policy_alloc(sg_policy **policy, const sg_net_policy_shape *shape,
                              sg_error *error);

sg_net *sg_net_policy_net(sg_policy *policy);

/* From now on, contexts of these responses use the experts that `source` chooses for them at its
 * present parameters: R2 with the trainer's own parameters of the rollout, R3 with the sampler's.
 * Other contexts route freely. responses NULL: all do again. `source` may be the policy itself.
 * SG_ENOMEM. */
sg_status sg_net_policy_replay(sg_policy *policy, sg_policy *source, const sg_responses *responses,
                               sg_error *error);

/* How many of these responses' tokens would use other experts in `other` than in `policy`, both
 * routing freely: by_block[blocks], and the number of tokens with any difference. SG_ENOMEM. */
sg_status sg_net_policy_flips(sg_policy *policy, sg_policy *other, const sg_responses *responses,
                              sg_route_flips *by_block, size_t *tokens, sg_error *error);

#endif
