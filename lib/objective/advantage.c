/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "objective/advantage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
#define SG_ADVANTAGE_NAME(id, name) [id] = name,
    SG_ADVANTAGE_LIST(SG_ADVANTAGE_NAME)
#undef SG_ADVANTAGE_NAME
};

const char *sg_advantage_name(sg_advantage_kind kind)
{
    return names[kind];
}

bool sg_advantage_from_name(const char *name, sg_advantage_kind *kind)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            *kind = (sg_advantage_kind)i;
            return true;
        }
    }
    return false;
}

typedef struct member {
    int64_t group;
    size_t index;
} member;

static int by_group(const void *a, const void *b)
{
    const member *x = a, *y = b;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

typedef struct moments {
    double n, mean, deviation; /* standard deviation with n - 1; 0 for n < 2 */
    bool equal;                /* all values are the same */
} moments;

/* Plain moments of the rewards of some members. Equal rewards give exactly their value and 0. */
static moments moments_of(const sg_rewards *rewards, const member *members, size_t n)
{
    double first = rewards->reward[members[0].index], sum = 0, squares = 0;
    bool equal = true;
    for (size_t i = 0; i < n; i++) {
        double reward = rewards->reward[members[i].index];
        equal = equal && reward == first;
        sum += reward;
    }
    double mean = equal ? first : sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        double distance = rewards->reward[members[i].index] - mean;
        squares += distance * distance;
    }
    double deviation = n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
    return (moments){(double)n, mean, deviation, equal};
}

static double length_weighted_mean(const sg_rewards *rewards, const member *members, size_t n)
{
    double sum = 0, lengths = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k = members[i].index;
        sum += rewards->length[k] * rewards->reward[k];
        lengths += rewards->length[k];
    }
    return sum / lengths;
}

static void best_of_group(const sg_rewards *rewards, const member *members, size_t n, double scale,
                          double *advantage)
{
    size_t best = members[0].index;
    double second = -HUGE_VAL;
    for (size_t i = 1; i < n; i++) {
        size_t k = members[i].index;
        if (rewards->reward[k] > rewards->reward[best]) {
            second = rewards->reward[best];
            best = k;
        } else if (rewards->reward[k] > second) {
            second = rewards->reward[k];
        }
    }
    for (size_t i = 0; i < n; i++)
        advantage[members[i].index] = 0;
    advantage[best] = (rewards->reward[best] - second) * scale;
}

/* One response of a group of several. */
static double centred(sg_advantage_kind kind, double reward, moments group, double batch_deviation,
                      double alpha, const sg_advantage_options *options)
{
    double distance = reward - group.mean;
    switch (kind) {
    case SG_ADVANTAGE_GRPO:
        return group.equal ? 0 : distance / (group.deviation + options->eps);
    case SG_ADVANTAGE_GRPO_BATCH:
        return group.equal ? 0 : distance / (batch_deviation + options->eps);
    case SG_ADVANTAGE_RLOO:
        return distance * group.n / (group.n - 1);
    case SG_ADVANTAGE_GPG:
        return alpha * distance;
    case SG_ADVANTAGE_ASYMRE:
        return distance - options->value_shift;
    default:
        return distance;
    }
}

/* A group of one has no baseline: verl keeps the raw reward (with mean 0 and std 1). */
static double alone(sg_advantage_kind kind, double reward, double batch_deviation, double alpha,
                    const sg_advantage_options *options)
{
    if (options->singleton_zero)
        return 0;
    switch (kind) {
    case SG_ADVANTAGE_GRPO:
        return reward / (1 + options->eps);
    case SG_ADVANTAGE_GRPO_BATCH:
        return reward / (batch_deviation + options->eps);
    case SG_ADVANTAGE_GPG:
        return alpha * reward;
    case SG_ADVANTAGE_ASYMRE:
        return -options->value_shift;
    default:
        return reward;
    }
}

static void estimate_group(sg_advantage_kind kind, const sg_rewards *rewards, const member *members,
                           size_t n, double batch_deviation, double alpha,
                           const sg_advantage_options *options, double *advantage)
{
    moments group = moments_of(rewards, members, n);
    if (kind == SG_ADVANTAGE_GRPO_PASSK) {
        best_of_group(rewards, members, n, 1 / (group.deviation + options->eps), advantage);
        return;
    }
    if (kind == SG_ADVANTAGE_OPO && !group.equal)
        group.mean = length_weighted_mean(rewards, members, n);
    for (size_t i = 0; i < n; i++) {
        size_t k = members[i].index;
        advantage[k] =
            n == 1 ? alone(kind, rewards->reward[k], batch_deviation, alpha, options)
                   : centred(kind, rewards->reward[k], group, batch_deviation, alpha, options);
    }
}

/* Over tokens: every response counts as often as it has tokens. */
static void whiten(const sg_rewards *rewards, double *advantage)
{
    double tokens = 0, sum = 0, squares = 0;
    for (size_t i = 0; i < rewards->n; i++) {
        tokens += rewards->length[i];
        sum += rewards->length[i] * advantage[i];
    }
    double mean = sum / tokens;
    for (size_t i = 0; i < rewards->n; i++)
        squares += rewards->length[i] * (advantage[i] - mean) * (advantage[i] - mean);
    double variance = tokens > 1 ? squares / (tokens - 1) : 0;
    for (size_t i = 0; i < rewards->n; i++)
        advantage[i] = (advantage[i] - mean) / sqrt(variance + 1e-8);
}

static sg_status check(sg_advantage_kind kind, const sg_rewards *rewards,
                       const sg_advantage_options *options, sg_error *error)
{
    bool whitened =
        kind == SG_ADVANTAGE_REINFORCE_PP || kind == SG_ADVANTAGE_REINFORCE_PP_BASELINE;
    if (!(options->eps >= 0) || !isfinite(options->value_shift))
        return sg_fail(error, SG_EARGUMENT, "the advantage's eps must be >= 0, not %g",
                       options->eps);
    if (rewards->length == NULL && (whitened || kind == SG_ADVANTAGE_OPO))
        return sg_fail(error, SG_EARGUMENT, "advantage %s needs the lengths of the responses",
                       names[kind]);
    if (rewards->greedy == NULL && kind == SG_ADVANTAGE_REMAX)
        return sg_fail(error, SG_EARGUMENT,
                       "advantage remax needs the reward of each prompt's greedy response");
    for (size_t i = 0; i < rewards->n; i++) {
        if (!isfinite(rewards->reward[i]))
            return sg_fail(error, SG_EARGUMENT, "the reward of response %zu is not finite", i + 1);
    }
    return SG_OK;
}

sg_status sg_advantage_estimate(sg_advantage_kind kind, const sg_rewards *rewards,
                                const sg_advantage_options *options, double *advantage,
                                sg_advantage_report *report, sg_error *error)
{
    sg_status status = check(kind, rewards, options, error);
    sg_advantage_report counts = {0};
    if (report != NULL)
        *report = counts;
    if (status != SG_OK || rewards->n == 0)
        return status;
    member *members = calloc(rewards->n, sizeof *members);
    if (members == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for %zu responses", rewards->n);
    double nonzero = 0;
    for (size_t i = 0; i < rewards->n; i++) {
        members[i] = (member){rewards->group[i], i};
        nonzero += rewards->reward[i] != 0;
    }
    double batch_deviation = moments_of(rewards, members, rewards->n).deviation;
    double alpha = (double)rewards->n / fmax(1, nonzero);
    qsort(members, rewards->n, sizeof *members, by_group);
    for (size_t begin = 0, end; begin < rewards->n; begin = end) {
        for (end = begin + 1; end < rewards->n && members[end].group == members[begin].group;)
            end++;
        size_t n = end - begin;
        counts.groups++;
        counts.singletons += n == 1;
        counts.zero_variance += n > 1 && moments_of(rewards, members + begin, n).equal;
        if (n == 1 && kind == SG_ADVANTAGE_GRPO_PASSK) {
            status = sg_fail(error, SG_EDATA,
                             "advantage grpo-passk needs at least 2 responses a prompt; group %lld "
                             "has 1",
                             (long long)members[begin].group);
            break;
        }
        estimate_group(kind, rewards, members + begin, n, batch_deviation, alpha, options,
                       advantage);
    }
    for (size_t i = 0; i < rewards->n && status == SG_OK; i++) {
        if (kind == SG_ADVANTAGE_REINFORCE_PP)
            advantage[i] = rewards->reward[i];
        else if (kind == SG_ADVANTAGE_REMAX)
            advantage[i] = rewards->reward[i] - rewards->greedy[i];
    }
    if (status == SG_OK &&
        (kind == SG_ADVANTAGE_REINFORCE_PP || kind == SG_ADVANTAGE_REINFORCE_PP_BASELINE))
        whiten(rewards, advantage);
    free(members);
    if (report != NULL)
        *report = counts;
    return status;
}
