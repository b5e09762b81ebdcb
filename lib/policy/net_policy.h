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
 * prefixes of head tokens that can still win while there are few of them, and is NaN beyond, with
 * exact_reward false; tail tokens lose. */
typedef struct sg_net_policy_shape {
    sg_net_config net;
    sg_rule_config rule;           /* learning rate and clip come with each step instead */
    size_t prompts;                /* >= 1 */
    size_t heldout;                /* more prompts, numbered after those, for draws only */
    const int32_t *prompt_symbols; /* [prompts + heldout][net.prompt_length], copied; or NULL */
    double prefixes;   /* most prefixes of one length that can win, over all prompts; 0: all of the
                      * head's tokens, prompts * head^(length - 1) */
    int32_t end_token; /* responses end after it; -1: they all have net.length tokens */
    size_t observe_samples;  /* >= 1 */
    sg_backend_kind backend; /* of parameters, moments and passes */
    sg_matmul matmul;        /* of the output layer: see sg_head_pass_matmul */
    uint64_t seed;           /* of parameters and of evaluation */
} sg_net_policy_shape;

/* Memory in bytes, with the activations for `responses` responses of full length that share no
 * context; and memory of the device, at most. */
double sg_net_policy_bytes(const sg_net_policy_shape *shape, size_t responses);
double sg_net_policy_device_bytes(const sg_net_policy_shape *shape, size_t responses);

/* SG_EARGUMENT names what is out of range; SG_ENOMEM; what the backend says. */
sg_status sg_net_policy_alloc(sg_policy **policy, const sg_net_policy_shape *shape,
                              sg_error *error);

/* Would expected_reward know? At most 4096 prefixes of one length, and 2^20 tokens after those of a
 * prompt. */
bool sg_net_policy_is_exact(const sg_net_policy_shape *shape);

/* Its parameters; sg_net_fetch before a look at numbers that are on a device. */
sg_net *sg_net_policy_net(sg_policy *policy);

/* The experts that the present parameters choose for the tokens of these responses, whatever is
 * replayed: routes[count][room][blocks], one bit an expert, and the mean entropy of the gates in
 * nats over tokens and blocks (may be NULL). SG_ENOMEM. */
sg_status sg_net_policy_routes(sg_policy *policy, const sg_responses *responses, uint64_t *routes,
                               double *gate_entropy, sg_error *error);

/* From now on log_prob and update use these routes, in the shape of sg_net_policy_routes, in the
 * contexts of these responses, and free choices in others: R2 with routes of the trainer's policy
 * at the rollout, R3 with the sampler's. Draws, observations and expected rewards stay free. Routes
 * NULL: all is free again. It stays as it is when parameters are copied, adopted or loaded.
 * SG_ENOMEM. */
sg_status sg_net_policy_replay(sg_policy *policy, const sg_responses *responses,
                               const uint64_t *routes, sg_error *error);

/* expected_reward with the replayed routes where there are such. SG_ENOMEM. */
sg_status sg_net_policy_replayed_reward(sg_policy *policy, const sg_reward *reward,
                                        double *expected, sg_error *error);

#endif
