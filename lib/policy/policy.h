/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_POLICY_H
#define SG_POLICY_H

#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "core/status.h"
#include "policy/reward.h"
#include "policy/sampler.h"

/* What the simulator trains: anything that answers prompts with tokens, knows how likely its
 * answers are, and follows a gradient. A policy is a struct that begins with an sg_policy; its
 * methods stand in one table. Every method is deterministic and independent of the number of
 * threads; a policy belongs to one thread at a time (it has room to work in).
 *
 * A state is what the next token depends on: prompt and position in a table, prompt and prefix in a
 * tree or a network. Log-probabilities are in nats. */

/* `count` responses; response i answers prompt[i] with length[i] <= room tokens, which are
 * tokens[i * room + t]. Arrays that go with them, such as log-probabilities and pushes, have the
 * same shape [count][room]; what stands behind a response's end is not read and not written. */
typedef struct sg_responses {
    size_t count, room;
    const uint32_t *prompt; /* [count] */
    const uint32_t
        *sample;      /* [count]: its number among the answers to that prompt; for draws only */
    uint32_t *length; /* [count] */
    int32_t *tokens;  /* [count][room] */
} sg_responses;

/* Random numbers of draws: uniform t of response i has the address (seed; stream, step, prompt[i],
 * sample[i], t). */
typedef struct sg_policy_draw {
    uint64_t seed;
    uint32_t stream, step;
    sg_sampler sampler;
} sg_policy_draw;

/* What is done about the diffuse push B, the sum of a state's pushes, by which its unsampled logits
 * move: g = sum_i c_i e_{y_i} - B pi. */
typedef enum sg_projection {
    SG_PROJECTION_NONE,
    SG_PROJECTION_P1,    /* g + B pi: sampled tokens keep their push, the others get none */
    SG_PROJECTION_P2,    /* c_i - B/n for the n samples of the state: another baseline */
    SG_PROJECTION_P_HEAD /* P1 for the gradient of the output layer only; features see all of g */
} sg_projection;

/* P2 for one state, in place. What rounding leaves of equal pushes is not a push. */
static inline void sg_policy_recentre(double *pushes, size_t n)
{
    double net = 0, gross = 0;
    for (size_t i = 0; i < n; i++) {
        net += pushes[i];
        gross += pushes[i] < 0 ? -pushes[i] : pushes[i];
    }
    for (size_t i = 0; i < n; i++) {
        double left = pushes[i] - net / (double)n;
        double size = left < 0 ? -left : left;
        pushes[i] = size <= 0x1p-44 * gross ? 0 : left;
    }
}

/* One gradient step. */
typedef struct sg_policy_step {
    sg_optimizer optimizer; /* with the learning rate of this step */
    uint64_t time;          /* number of this step, from 1 */
    double clip_norm;       /* the gradient is shortened to this 2-norm; 0: as it is */
    sg_projection projection;
} sg_policy_step;

/* What a step did. Means are over the states that the responses visit, each as often as it is
 * visited. */
typedef struct sg_policy_change {
    double kl_old_new, kl_new_old; /* exact sums over the vocabulary, means over states */
    double grad_norm;              /* 2-norm of the gradient by all parameters, before the clip */
    double clip_factor;            /* what the gradient was multiplied by, in (0, 1] */
    double delta_norm;             /* 2-norm of the change of all parameters */
    double diffuse_push;       /* B = sum of a state's pushes, before projection and clip: mean */
    double diffuse_share;      /* B / sum of their sizes: mean */
    double upward_push;        /* total upward gradient on a state's unsampled tokens: mean */
    double max_unsampled_push; /* largest rise of an unsampled logit over the visited states */
    /* Of nets only; h are the features that the output layer W h + b sees. */
    double diffuse_features; /* 2-norm of the sum of B h over visited states */
    double output_share;     /* of the squared gradient norm that is in W and b */
    double mean_row_drift;   /* 2-norm of the mean change of W's rows */
} sg_policy_change;

/* What a policy looks like. Means weigh a state by how often a response of this policy visits it
 * (exactly, where states can be enumerated); extremes are over all states. NaN: not known. */
typedef struct sg_policy_observation {
    double entropy, head_entropy, tail_mass, tail_mass_max, tail_entropy_share;
    double collision, max_prob, logit_range, underflowed; /* as in sg_row_observation */
    double tail_mass_root;                                /* at the first token */
    double tail_mass_right;              /* at prefixes from which a reward is still possible */
    double tail_mass_losers;             /* at the others: only losers visit them */
    double losers_share;                 /* of the tokens that are said at the others */
    double row_norm_head, row_norm_tail; /* nets only: mean 2-norm of W's rows */
} sg_policy_observation;

typedef struct sg_policy sg_policy;

typedef struct sg_policy_methods {
    const char *(*backend)(const sg_policy *policy); /* what computes, "cpu/avx2" */
    void (*free)(sg_policy *policy);
    /* A new policy of the same shape, parameters and optimiser state included. */
    sg_status (*clone)(const sg_policy *policy, sg_policy **made, sg_error *error);
    sg_status (*copy)(sg_policy *policy, const sg_policy *source, sg_error *error); /* same shape */
    void (*forget)(sg_policy *policy); /* the optimiser state, not the parameters */
    /* Fills tokens, length and log_prob, the latter as the sampler sees it. */
    sg_status (*draw)(sg_policy *policy, const sg_policy_draw *draw, const sg_responses *responses,
                      double *log_prob, sg_error *error);
    sg_status (*log_prob)(sg_policy *policy, const sg_responses *responses, double *log_prob,
                          sg_error *error);
    /* A push is what multiplies grad log pi of its token; those of one state are summed. The update
     * ascends. `change` may be NULL (faster). */
    sg_status (*update)(sg_policy *policy, const sg_policy_step *step,
                        const sg_responses *responses, const double *pushes,
                        sg_policy_change *change, sg_error *error);
    sg_status (*observe)(sg_policy *policy, const sg_reward *reward,
                         sg_policy_observation *observation, sg_error *error);
    /* The exact expected reward of each prompt, [prompts]; NaN when parameters are not finite any
     * more. Not called when exact_reward is false. */
    sg_status (*expected_reward)(sg_policy *policy, const sg_reward *reward, double *expected,
                                 sg_error *error);
    /* All of its parameters and optimiser state, bit by bit, for a policy of the same shape. `to`
     * NULL: only the number of bytes, which may depend on what the policy went through. 0: a device
     * failed, as the next call that can say so will. */
    size_t (*save)(const sg_policy *policy, void *to);
    /* SG_EDATA when these are not the bytes that save gave. */
    sg_status (*load)(sg_policy *policy, const void *from, size_t size, sg_error *error);
    /* The parameters of `source`, of the same shape; the optimiser state stays. NULL: cannot. */
    sg_status (*adopt)(sg_policy *policy, const sg_policy *source, sg_error *error);
    /* For a close look at policies that keep a row of logits for every state; NULL: not this one.
     * The number of the state in which token t of a response is said, and what stands there: its
     * logits, up to a constant that updates keep, -inf where underflowed; and the mean square of the
     * gradient of adam and its kin, not corrected for its start; NaN with other optimisers. Both [vocabulary];
     * mean_square may be NULL. */
    size_t (*state_of)(const sg_policy *policy, size_t prompt, const int32_t *tokens, size_t t);
    void (*row)(const sg_policy *policy, size_t state, double *logits, double *mean_square);
} sg_policy_methods;

struct sg_policy {
    const sg_policy_methods *methods;
    size_t prompts;    /* that it can answer */
    size_t length;     /* most tokens of a response */
    size_t vocabulary; /* V */
    double bytes;      /* memory that it holds */
    bool exact_reward; /* expected_reward knows; otherwise only sampling can tell */
};

/* What load says about `size` bytes for a policy that has `wanted`. */
static inline sg_status sg_policy_check_size(size_t size, size_t wanted, sg_error *error)
{
    if (size == wanted)
        return SG_OK;
    return sg_fail(error, SG_EDATA,
                   "the saved policy has %zu bytes and this one %zu; it is of another shape", size,
                   wanted);
}

static inline void sg_policy_free(sg_policy *policy)
{
    if (policy != NULL)
        policy->methods->free(policy);
}

#endif
