/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The exact expected reward of a table, from the masses of the tokens that decide. They are asked for
 * all at once, since each question waits for a device. */
#include <stdlib.h>
#include <string.h>

#include "policy/state_rows.h"

/* Positions that count one by one are independent: their masses multiply, or add. mass: [length], of
 * the right tokens. */
static double expect_positions(const sg_reward *reward, size_t length, const double *mass)
{
    double product = 1, sum = 0;
    for (size_t t = 0; t < length; t++) {
        product *= mass[t];
        sum += mass[t];
    }
    return reward->share ? sum / (double)length : product;
}

/* Otherwise: the distribution over the states of the reward, position by position. Tail tokens
 * lose. mass: [length][head]. */
static double expect_states(const sg_reward *reward, size_t prompt, size_t length, size_t head,
                            const double *mass)
{
    double here[SG_REWARD_STATES] = {1}, next[SG_REWARD_STATES], expected = 0;
    for (size_t t = 0; t < length; t++, mass += head) {
        memset(next, 0, (size_t)reward->states * sizeof *next);
        for (int32_t token = 0; token < (int32_t)head; token++) {
            for (int32_t s = 0; s < reward->states; s++) {
                int32_t to = here[s] != 0 ? reward->next(reward->context, prompt, t, s, token)
                                          : SG_REWARD_LOST;
                if (to != SG_REWARD_LOST)
                    next[to] += here[s] * mass[token];
            }
        }
        memcpy(here, next, (size_t)reward->states * sizeof *here);
    }
    for (int32_t s = 0; s < reward->states; s++)
        expected += here[s] != 0 ? here[s] * reward->value(reward->context, prompt, s) : 0;
    return expected;
}

/* Sets of tokens, as sg_rows_masses takes them. */
typedef struct token_sets {
    size_t count, tokens;
    size_t *state, *start; /* [count], [count + 1] */
    int32_t *token;        /* [tokens]; NULL while they are counted */
    double *mass;          /* [count] */
} token_sets;

static void begin_set(token_sets *sets, size_t state)
{
    sets->state[sets->count] = state;
    sets->start[sets->count++] = sets->tokens;
}

static void add_token(token_sets *sets, int32_t token)
{
    if (sets->token != NULL)
        sets->token[sets->tokens] = token;
    sets->tokens++;
}

/* Of each state the right tokens, or every head token by itself. */
static void list_sets(token_sets *sets, const sg_reward *reward, size_t states, size_t length,
                      size_t head)
{
    sets->count = sets->tokens = 0;
    for (size_t s = 0; s < states; s++) {
        size_t count = 0;
        if (reward->right != NULL) {
            const int32_t *right = reward->right(reward->context, s / length, s % length, &count);
            begin_set(sets, s);
            for (size_t j = 0; j < count; j++)
                add_token(sets, right[j]);
        }
        for (size_t token = 0; token < head && reward->right == NULL; token++) {
            begin_set(sets, s);
            add_token(sets, (int32_t)token);
        }
    }
    sets->start[sets->count] = sets->tokens;
}

sg_status sg_state_rows_expected_reward(const sg_state_rows *rows, size_t prompts, size_t length,
                                        size_t head, const sg_reward *reward, double *expected,
                                        sg_error *error)
{
    size_t of_prompt = length * (reward->right != NULL ? 1 : head), count = prompts * of_prompt;
    token_sets sets = {.state = malloc(count * sizeof *sets.state),
                       .start = malloc((count + 1) * sizeof *sets.start),
                       .mass = malloc(count * sizeof *sets.mass)};
    bool fits = sets.state != NULL && sets.start != NULL && sets.mass != NULL;
    if (fits) {
        list_sets(&sets, reward, prompts * length, length, head);
        sets.token = malloc((sets.tokens + 1) * sizeof *sets.token);
        fits = sets.token != NULL;
    }
    sg_status status = SG_OK;
    if (fits) {
        list_sets(&sets, reward, prompts * length, length, head);
        sg_state_rows_masses(rows, sets.count, sets.state, sets.start, sets.token, sets.mass);
        status = sg_state_rows_status(rows, error);
    } else {
        status = sg_fail(error, SG_ENOMEM, "not enough memory for the right tokens of %zu states",
                         prompts * length);
    }
    for (size_t p = 0; p < prompts && status == SG_OK; p++) {
        const double *mass = sets.mass + p * of_prompt;
        expected[p] = reward->right != NULL ? expect_positions(reward, length, mass)
                                            : expect_states(reward, p, length, head, mass);
    }
    free(sets.state);
    free(sets.start);
    free(sets.mass);
    free(sets.token);
    return status;
}
