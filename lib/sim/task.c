/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/task.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"

static bool is_set(sg_task_kind kind)
{
    return kind == SG_TASK_CORRECT_SET || kind == SG_TASK_PATH;
}

bool sg_task_generalises(sg_task_kind kind)
{
    return kind == SG_TASK_COPY || kind == SG_TASK_REVERSE;
}

size_t sg_task_room(const sg_config *config)
{
    size_t length = (size_t)config->task.length;
    return config->task.overrun > 0 ? length + 1 + (size_t)config->task.overrun_max : length;
}

int32_t sg_task_end(const sg_config *config, const double *logits)
{
    int32_t best = -1;
    double least = HUGE_VAL, target = 1 / (1 + config->task.overrun);
    for (int32_t k = 0; config->task.overrun > 0 && k < config->policy.head; k++) {
        double distance = fabs(exp(logits[k]) - target);
        if (distance < least) {
            least = distance;
            best = k;
        }
    }
    return best;
}

/* ---- prompts ---- */

/* Families take turns, among the held-out prompts those that generalise. */
static void deal_families(sg_task *task, const sg_config *config)
{
    const sg_task_mix *mix = &config->task.families;
    bool mixed = config->task.kind == SG_TASK_MIXED;
    size_t count = mixed ? (size_t)mix->count : 1, turn = 0;
    for (size_t p = 0; p < task->prompts + task->heldout; p++) {
        sg_task_kind kind;
        do
            kind = (sg_task_kind)(mixed ? mix->kind[turn++ % count] : config->task.kind);
        while (mixed && p >= task->prompts && !sg_task_generalises(kind));
        task->family[p] = (uint8_t)kind;
        task->has[kind] = true;
    }
    for (size_t p = 0; p < task->prompts + task->heldout; p++) {
        bool replaced = task->heldout > 0 && sg_task_generalises(sg_task_family(task, p));
        if (p >= task->prompts || !replaced)
            task->evaluated[task->evaluated_count++] = (uint32_t)p;
    }
}

/* First token of the set of `size` neighbours in the head, none of them the end, whose probability
 * is nearest to target; -1 when there is none. */
static int32_t nearest_set(const sg_task *task, const double *logits, double target)
{
    int32_t best = -1, size = (int32_t)task->size;
    double least = HUGE_VAL;
    for (int32_t first = 0; first + size <= task->head; first++) {
        double mass = 0;
        if (first <= task->end && task->end < first + size)
            continue;
        for (int32_t k = first; k < first + size; k++)
            mass += exp(logits[k]);
        double distance = fabs(mass - target);
        if (distance < least) {
            least = distance;
            best = first;
        }
    }
    return best;
}

/* Of prompts of one kind. */
static sg_status choose_sets(sg_task *task, const sg_config *config, sg_task_kind kind,
                             const double *logits, sg_error *error)
{
    size_t count = 0, number = 0;
    for (size_t p = 0; p < task->prompts; p++)
        count += sg_task_family(task, p) == kind;
    for (size_t p = 0; p < task->prompts; p++) {
        if (sg_task_family(task, p) != kind)
            continue;
        double place = count > 1 ? 2.0 * (double)number++ / (double)(count - 1) - 1 : 0;
        double target = config->task.correct_mass * pow(config->task.difficulty_spread, place);
        bool tail = config->task.correct_place != 0;
        int32_t first = tail ? task->head : nearest_set(task, logits, target);
        if (first < 0)
            return sg_fail(error, SG_EARGUMENT,
                           "task.correct_size: there are no %zu neighbours in the head of %d "
                           "tokens beside the end token, which is token %d; lower it, or raise "
                           "policy.head",
                           task->size, (int)task->head, (int)task->end);
        for (size_t k = 0; k < task->size; k++)
            task->correct[p * task->size + k] = first + (int32_t)k;
    }
    return SG_OK;
}

static bool is_repeated(const sg_task *task, size_t prompt)
{
    const int32_t *text = task->answer + prompt * task->length;
    for (size_t q = 0; q < prompt; q++)
        if (task->family[q] == task->family[prompt] &&
            memcmp(task->answer + q * task->length, text, task->length * sizeof *text) == 0)
            return true;
    return false;
}

/* Head token number `number` of those that do not end a response. */
static int32_t speak(const sg_task *task, int32_t number)
{
    return number + (task->end >= 0 && number >= task->end);
}

static int32_t number_of(const sg_task *task, int32_t token)
{
    return token - (task->end >= 0 && token > task->end);
}

/* Texts and targets. With held-out prompts all texts of a family differ. */
static sg_status choose_answers(sg_task *task, const sg_config *config, sg_error *error)
{
    size_t count = task->prompts + task->heldout;
    for (size_t p = 0; p < count; p++) {
        sg_address at = {
            .seed = (uint64_t)config->task.seed, .stream = SG_STREAM_PROMPT, .prompt = (uint32_t)p};
        sg_task_kind kind = sg_task_family(task, p);
        bool differ = task->heldout > 0 && sg_task_generalises(kind);
        size_t length = is_set(kind) ? 0 : kind == SG_TASK_MODULAR_SUM ? 1 : task->length;
        int tries = 1000;
        do {
            for (at.token = 0; at.token < length; at.token++) {
                int32_t number = (int32_t)(sg_rng_uniform(at) * (double)task->classes);
                task->answer[p * task->length + at.token] =
                    kind == SG_TASK_MODULAR_SUM ? number : speak(task, number);
            }
            at.sample++;
        } while (differ && is_repeated(task, p) && --tries > 0);
        if (tries == 0)
            return sg_fail(error, SG_EARGUMENT,
                           "task.heldout: %zu different prompts were not found among those of %zu "
                           "tokens out of %d; raise task.length or task.classes, or lower "
                           "task.prompts",
                           count, length, (int)task->classes);
    }
    return SG_OK;
}

static bool alloc_arrays(sg_task *task)
{
    bool sets = task->has[SG_TASK_CORRECT_SET] || task->has[SG_TASK_PATH], others = false;
    for (int kind = 0; kind < SG_TASKS; kind++)
        others = others || (task->has[kind] && !is_set((sg_task_kind)kind));
    size_t all = task->prompts + task->heldout;
    task->correct = calloc(sets ? task->prompts * task->size : 1, sizeof *task->correct);
    task->answer = calloc(others ? all * task->length : 1, sizeof *task->answer);
    task->free_head = calloc((size_t)task->head, sizeof *task->free_head);
    return task->correct && task->answer && task->free_head;
}

sg_status sg_task_init(sg_task *task, const sg_config *config, const double *logits,
                       sg_error *error)
{
    *task = (sg_task){
        .prompts = (size_t)config->task.prompts,
        .heldout = (size_t)config->task.heldout,
        .length = (size_t)config->task.length,
        .room = sg_task_room(config),
        .end = sg_task_end(config, logits),
        .size = (size_t)config->task.correct_size,
        .head = (int32_t)config->policy.head,
        .classes = (int32_t)config->task.classes,
        .reward = (sg_reward_kind)config->task.reward,
        .tail_fails =
            config->policy.kind != SG_POLICY_TABULAR || config->task.kind != SG_TASK_CORRECT_SET,
        .false_positive = config->task.false_positive,
        .false_negative = config->task.false_negative,
    };
    size_t all = task->prompts + task->heldout;
    task->family = calloc(all, sizeof *task->family);
    task->evaluated = calloc(all, sizeof *task->evaluated);
    if (task->family && task->evaluated)
        deal_families(task, config);
    if (!task->family || !task->evaluated || !alloc_arrays(task))
        return sg_fail(error, SG_ENOMEM, "not enough memory for %zu prompts", all);
    for (int32_t k = 0; k < task->head; k++)
        task->free_head[k] = k;
    task->decisive = (size_t)rint(config->task.shared_prefix * ((double)task->length - 1));
    sg_status status = choose_answers(task, config, error);
    for (int kind = 0; kind < SG_TASKS && status == SG_OK; kind++)
        if (task->has[kind] && is_set((sg_task_kind)kind))
            status = choose_sets(task, config, (sg_task_kind)kind, logits, error);
    return status;
}

void sg_task_clear(sg_task *task)
{
    free(task->family);
    free(task->evaluated);
    free(task->correct);
    free(task->answer);
    free(task->free_head);
    task->family = NULL;
    task->evaluated = NULL;
    task->correct = task->answer = task->free_head = NULL;
}

bool sg_task_is_right(const sg_task *task, size_t prompt, int32_t token)
{
    const int32_t *set = task->correct + prompt * task->size;
    return token >= set[0] && token <= set[task->size - 1];
}

int32_t sg_task_class(const sg_task *task, int32_t token)
{
    return number_of(task, token) % task->classes;
}

/* ---- what a policy is shown ---- */

static bool is_mixed(const sg_task *task)
{
    int kinds = 0;
    for (int kind = 0; kind < SG_TASKS; kind++)
        kinds += task->has[kind];
    return kinds > 1;
}

/* Mixed: the symbols of texts, the blank, those of families, and numbers of prompts. */
static int32_t blank(const sg_task *task)
{
    return task->classes;
}

size_t sg_task_prompt_length(const sg_task *task)
{
    bool texts = task->has[SG_TASK_COPY] || task->has[SG_TASK_REVERSE];
    return (texts ? task->length : 1) + is_mixed(task);
}

size_t sg_task_prompt_symbols(const sg_task *task)
{
    bool numbers = task->has[SG_TASK_CORRECT_SET] || task->has[SG_TASK_PATH];
    if (is_mixed(task))
        return (size_t)blank(task) + 1 + SG_TASKS + (numbers ? task->prompts : 0);
    return numbers ? task->prompts : (size_t)task->classes;
}

int32_t sg_task_prompt_token(const sg_task *task, size_t prompt, size_t i)
{
    sg_task_kind kind = sg_task_family(task, prompt);
    bool mixed = is_mixed(task);
    if (mixed && i-- == 0)
        return blank(task) + 1 + (int32_t)kind;
    if (i > 0 && !sg_task_generalises(kind))
        return blank(task);
    if (is_set(kind))
        return (mixed ? blank(task) + 1 + SG_TASKS : 0) + (int32_t)prompt;
    int32_t said = task->answer[prompt * task->length + i];
    return kind == SG_TASK_MODULAR_SUM ? said : number_of(task, said);
}
