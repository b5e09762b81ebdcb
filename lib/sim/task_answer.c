/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Answers: what they earn, what a verifier says about them, and right ones. */
#include "core/rng.h"
#include "sim/task.h"

/* ---- the reward, token by token ---- */

const int32_t *sg_task_right_tokens(const sg_task *task, size_t prompt, size_t position,
                                    size_t *count)
{
    sg_task_kind kind = sg_task_family(task, prompt);
    *count = 1;
    if (kind == SG_TASK_COPY)
        return task->answer + prompt * task->length + position;
    if (kind == SG_TASK_REVERSE)
        return task->answer + (prompt + 1) * task->length - 1 - position;
    if (kind == SG_TASK_PATH && position != task->decisive) {
        *count = (size_t)task->head;
        return task->free_head;
    }
    *count = task->size;
    return task->correct + prompt * task->size;
}

static const int32_t *right_tokens(const void *context, size_t prompt, size_t position,
                                   size_t *count)
{
    return sg_task_right_tokens(context, prompt, position, count);
}

static bool is_right(const sg_task *task, size_t prompt, size_t position, int32_t token)
{
    size_t count;
    const int32_t *set = sg_task_right_tokens(task, prompt, position, &count); /* neighbours */
    return token >= set[0] && token <= set[count - 1];
}

/* The state is the sum so far. Head tokens stand for every class, so the target can be reached as
 * long as a token is left. */
static int32_t next_sum(const sg_task *task, size_t prompt, size_t position, int32_t state,
                        int32_t token)
{
    if (token < 0 || token >= task->head)
        return SG_REWARD_LOST;
    int32_t sum = (state + sg_task_class(task, token)) % task->classes;
    bool last = position + 1 == task->length && task->reward == SG_REWARD_ALL;
    return last && sum != task->answer[prompt * task->length] ? SG_REWARD_LOST : sum;
}

/* The state is the number of right tokens. */
static int32_t next_share(const sg_task *task, size_t prompt, size_t position, int32_t state,
                          int32_t token)
{
    if (task->tail_fails && token >= task->head)
        return SG_REWARD_LOST;
    return state + is_right(task, prompt, position, token);
}

static int32_t next(const void *context, size_t prompt, size_t position, int32_t state,
                    int32_t token)
{
    const sg_task *task = context;
    if (task->end >= 0 && (token == task->end || position >= task->length))
        return token == task->end && position == task->length ? state : SG_REWARD_LOST;
    if (sg_task_family(task, prompt) == SG_TASK_MODULAR_SUM)
        return next_sum(task, prompt, position, state, token);
    if (task->reward == SG_REWARD_FRACTION)
        return next_share(task, prompt, position, state, token);
    return is_right(task, prompt, position, token) ? state : SG_REWARD_LOST;
}

int64_t sg_task_unit(const sg_task *task, size_t prompt)
{
    if (task->reward == SG_REWARD_ALL)
        return 1;
    if (sg_task_family(task, prompt) != SG_TASK_MODULAR_SUM)
        return (int64_t)task->length;
    return task->classes > 1 ? task->classes / 2 : 1;
}

/* Units that a state after the last token is worth. */
static int64_t earned(const sg_task *task, size_t prompt, int32_t state)
{
    if (task->reward == SG_REWARD_ALL)
        return 1;
    if (sg_task_family(task, prompt) != SG_TASK_MODULAR_SUM)
        return state;
    int32_t apart = state - task->answer[prompt * task->length];
    apart = apart < 0 ? -apart : apart;
    apart = apart > task->classes - apart ? task->classes - apart : apart;
    return sg_task_unit(task, prompt) - apart;
}

static double value(const void *context, size_t prompt, int32_t state)
{
    return (double)earned(context, prompt, state) / (double)sg_task_unit(context, prompt);
}

sg_reward sg_task_reward(const sg_task *task)
{
    bool share = task->reward == SG_REWARD_FRACTION, sums = task->has[SG_TASK_MODULAR_SUM];
    int32_t shares = share ? (int32_t)task->length + 1 : 1, residues = sums ? task->classes : 1;
    bool one_by_one = !sums && task->end < 0 && !(share && task->tail_fails);
    return (sg_reward){.context = task,
                       .states = shares > residues ? shares : residues,
                       .next = next,
                       .value = value,
                       .right = one_by_one ? right_tokens : NULL,
                       .share = share};
}

static double prefixes_of(const sg_task *task, size_t prompt)
{
    bool sum = sg_task_family(task, prompt) == SG_TASK_MODULAR_SUM;
    size_t count = (size_t)task->head, last = task->length - (task->end < 0);
    double alive = 1;
    for (size_t t = 0; t < last; t++) {
        if (!sum && task->reward == SG_REWARD_ALL)
            sg_task_right_tokens(task, prompt, t, &count);
        alive *= (double)count;
    }
    return alive;
}

double sg_task_prefixes(const sg_task *task)
{
    double all = 0;
    for (size_t p = 0; p < task->prompts; p++)
        all += prefixes_of(task, p);
    return all;
}

/* ---- whole answers ---- */

static int32_t last_state(const sg_task *task, size_t prompt, const int32_t *tokens)
{
    int32_t state = 0;
    for (size_t t = 0; t < task->room && state != SG_REWARD_LOST; t++) {
        state = next(task, prompt, t, state, tokens[t]);
        if (task->end >= 0 && tokens[t] == task->end)
            break;
    }
    return state;
}

double sg_task_clean_score(const sg_task *task, size_t prompt, const int32_t *tokens)
{
    int32_t state = last_state(task, prompt, tokens);
    return state == SG_REWARD_LOST ? 0 : value(task, prompt, state);
}

/* What the verifier says about something that is right or not. */
static bool verdict(const sg_task *task, bool right, sg_address at)
{
    double rate = right ? task->false_negative : task->false_positive;
    return rate > 0 && sg_rng_uniform(at) < rate ? !right : right;
}

int64_t sg_task_score(const sg_task *task, uint64_t seed, size_t rollout, size_t prompt,
                      size_t sample, const int32_t *tokens)
{
    sg_address at = {.seed = seed,
                     .stream = SG_STREAM_VERIFIER,
                     .step = (uint32_t)rollout,
                     .prompt = (uint32_t)prompt,
                     .sample = (uint32_t)sample};
    int32_t state = last_state(task, prompt, tokens);
    int64_t units = sg_task_unit(task, prompt), right = 0;
    int64_t whole = state != SG_REWARD_LOST ? earned(task, prompt, state) : 0;
    bool by_token = task->reward == SG_REWARD_FRACTION &&
                    sg_task_family(task, prompt) != SG_TASK_MODULAR_SUM && whole > 0;
    for (int64_t u = 0; u < units; u++) {
        at.token = (uint32_t)u;
        right +=
            verdict(task, by_token ? is_right(task, prompt, (size_t)u, tokens[u]) : u < whole, at);
    }
    return right;
}

/* ---- right answers ---- */

/* One token of first .. end-1 that does not end the answer and, unless it is negative, has this
 * class, in proportion to the head's probabilities. */
static int32_t pick(const sg_task *task, const double *head, int32_t first, int32_t end,
                    int32_t class, double u)
{
    double total = 0, sum = 0;
    int32_t token = -1;
    for (int pass = 0; pass < 2; pass++)
        for (int32_t k = first; k < end; k++) {
            if (k == task->end || (class >= 0 && sg_task_class(task, k) != class))
                continue;
            if (pass == 0) {
                total += head[k];
                continue;
            }
            if (token < 0 || (head[k] > 0 && sum <= u * total))
                token = k;
            sum += head[k];
        }
    return token;
}

size_t sg_task_right_answer(const sg_task *task, const double *head, sg_address at, size_t prompt,
                            int32_t *tokens)
{
    int32_t sum = 0;
    for (size_t t = 0; t < task->length; t++) {
        at.token = (uint32_t)t;
        double u = sg_rng_uniform(at);
        if (sg_task_family(task, prompt) == SG_TASK_MODULAR_SUM) {
            int32_t target = task->answer[prompt * task->length];
            int32_t missing = (target - sum + task->classes) % task->classes;
            tokens[t] = pick(task, head, 0, task->head, t + 1 == task->length ? missing : -1, u);
            sum = (sum + sg_task_class(task, tokens[t])) % task->classes;
        } else {
            size_t count;
            const int32_t *set = sg_task_right_tokens(task, prompt, t, &count);
            tokens[t] = pick(task, head, set[0], set[0] + (int32_t)count, -1, u);
        }
    }
    if (task->end < 0)
        return task->length;
    tokens[task->length] = task->end;
    return task->length + 1;
}
