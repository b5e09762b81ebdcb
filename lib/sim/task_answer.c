/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/rng.h"
#include "sim/task.h"

/* One of first, first + stride, ... below end, in proportion to the head's probabilities. */
static int32_t pick(const double *head, int32_t first, int32_t stride, int32_t end, double u)
{
    double total = 0, sum = 0;
    for (int32_t k = first; k < end; k += stride)
        total += head[k];
    int32_t token = first;
    for (int32_t k = first; k < end; k += stride) {
        if (head[k] > 0 && sum <= u * total)
            token = k;
        sum += head[k];
    }
    return token;
}

void sg_task_right_answer(const sg_task *task, const double *head, sg_address at, size_t prompt,
                          int32_t *tokens)
{
    int32_t sum = 0;
    for (size_t t = 0; t < task->length; t++) {
        at.token = (uint32_t)t;
        double u = sg_rng_uniform(at);
        if (task->kind == SG_TASK_MODULAR_SUM) {
            bool last = t + 1 == task->length;
            int32_t missing = (task->answer[prompt] - sum + task->classes) % task->classes;
            tokens[t] = last ? pick(head, missing, task->classes, task->head, u)
                             : pick(head, 0, 1, task->head, u);
            sum = (sum + tokens[t]) % task->classes;
        } else {
            size_t count;
            const int32_t *set = sg_task_right_tokens(task, prompt, t, &count);
            tokens[t] = pick(head, set[0], 1, set[0] + (int32_t)count, u);
        }
    }
}

size_t sg_task_prompt_length(const sg_task *task)
{
    return task->kind == SG_TASK_COPY || task->kind == SG_TASK_REVERSE ? task->length : 1;
}

int32_t sg_task_prompt_token(const sg_task *task, size_t prompt, size_t i)
{
    if (task->answer == NULL)
        return (int32_t)prompt;
    return task->answer[prompt * sg_task_prompt_length(task) + i];
}
