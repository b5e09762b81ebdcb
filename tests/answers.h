/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef ANSWERS_H
#define ANSWERS_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "policy/policy.h"

/* What the suites of policies have in common: responses to draw into with a push for each token, and what a
 * policy saves. */

enum { ANSWERS_MOST = 24, ANSWER_TOKENS_MOST = 72 };

typedef struct answers {
    sg_responses responses; /* these arrays */
    uint32_t prompt[ANSWERS_MOST], sample[ANSWERS_MOST], length[ANSWERS_MOST];
    int32_t tokens[ANSWER_TOKENS_MOST]; /* [count][room] */
    double log_prob[ANSWER_TOKENS_MOST], push[ANSWER_TOKENS_MOST];
} answers;

/* Nothing drawn yet; prompts take turns, so that they are not sorted. The address must stay. */
static inline void answers_init(answers *a, size_t count, size_t room, size_t prompts)
{
    ck_assert(count <= ANSWERS_MOST && count * room <= ANSWER_TOKENS_MOST);
    memset(a, 0, sizeof *a);
    for (size_t i = 0; i < count; i++) {
        a->prompt[i] = (uint32_t)(i % prompts);
        a->sample[i] = (uint32_t)(i / prompts);
    }
    a->responses = (sg_responses){count, room, a->prompt, a->sample, a->length, a->tokens};
}

/* Pushes of both signs that do not cancel, from -0.4 to 0.6. */
static inline void answers_push(answers *a)
{
    for (uint32_t i = 0; i < a->responses.count; i++)
        for (uint32_t t = 0; t < a->responses.room; t++)
            a->push[i * a->responses.room + t] =
                sg_rng_uniform((sg_address){1, SG_STREAM_SYNTHETIC, 0, 0, i, t}) - 0.4;
}

/* Draw them from the policy itself. */
static inline void answers_draw(answers *a, sg_policy *policy, uint64_t seed, uint32_t step)
{
    sg_policy_draw how = {seed, SG_STREAM_ROLLOUT, step, SG_SAMPLER_PLAIN};
    sg_error error = {0};
    ck_assert_msg(!policy->methods->draw(policy, &how, &a->responses, a->log_prob, &error), "%s",
                  error.message);
}

/* The bytes that a policy saves, to be freed. */
static inline char *saved(const sg_policy *policy, size_t *size)
{
    *size = policy->methods->save(policy, NULL);
    char *bytes = malloc(*size);
    ck_assert_uint_eq(policy->methods->save(policy, bytes), *size);
    return bytes;
}

#endif
