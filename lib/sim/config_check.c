/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "sim/config_keys.h"
#include "sim/run.h"

static sg_status check_memory(const sg_config *config, const char *place, sg_error *error)
{
    double runs = (double)config->run.seeds * (double)config->update.objective_count;
    double at_once = (double)sg_simulate_threads(config);
    if (runs < at_once)
        at_once = 1; /* the threads then share a run */
    double rows = (double)sg_run_rows(config);
    double need = at_once * sg_run_bytes(config) + 8 * (double)config->policy.vocabulary +
                  2 * runs * rows * sizeof(sg_record);
    double there = sg_memory_there();
    static const char *const also[] = {"", ", policy.head",
                                       ", policy.width, policy.hidden, policy.experts"};
    if (there > 0 && need > there)
        return sg_fail(error, SG_ENOMEM,
                       "%sthis needs %.1f GiB of memory and there are %.1f; lower "
                       "policy.vocabulary, task.prompts%s or task.length, raise run.observe_every, "
                       "or set run.threads to 1",
                       place, need / 0x1p30, there / 0x1p30, also[config->policy.kind]);
    return SG_OK;
}

enum { LONGEST_TEXT = 4095 }; /* a slot of a net's prompt is for the family */

/* Keys that only one kind of policy knows. */
static const struct {
    const char *section, *name;
    sg_policy_kind kind;
} own_keys[] = {
    {"policy", "merge", SG_POLICY_TREE},       {"policy", "shared_bias", SG_POLICY_TREE},
    {"policy", "width", SG_POLICY_NET},        {"policy", "window", SG_POLICY_NET},
    {"policy", "blocks", SG_POLICY_NET},       {"policy", "hidden", SG_POLICY_NET},
    {"policy", "experts", SG_POLICY_NET},      {"policy", "top_k", SG_POLICY_NET},
    {"policy", "tied", SG_POLICY_NET},         {"policy", "bias", SG_POLICY_NET},
    {"policy", "features", SG_POLICY_NET},     {"policy", "head_std", SG_POLICY_NET},
    {"policy", "tail_std", SG_POLICY_NET},     {"rollout", "weight_noise", SG_POLICY_NET},
    {"run", "observe_samples", SG_POLICY_NET}, {"run", "matmul", SG_POLICY_NET}};

static bool is_changed(const sg_config *config, const sg_config_key *key)
{
    sg_config fresh = *config; /* its other keys do not matter */
    sg_config_set_key(&fresh, key, key->fallback, "", NULL);
    return memcmp((const char *)&fresh + key->offset, (const char *)config + key->offset, 8) != 0;
}

static sg_status check_own_keys(const sg_config *config, const char *place, sg_error *error)
{
    for (size_t i = 0; i < sizeof own_keys / sizeof *own_keys; i++) {
        bool tree = own_keys[i].kind == SG_POLICY_TREE;
        const char *section = own_keys[i].section, *name = own_keys[i].name;
        if (config->policy.kind != (int64_t)own_keys[i].kind &&
            is_changed(config, sg_config_find_key(section, name)))
            return sg_fail(error, SG_EARGUMENT,
                           "%s%s.%s belongs to %s; set policy.kind to %s or leave it out", place,
                           section, name, tree ? "trees" : "nets", tree ? "tree" : "net");
    }
    return SG_OK;
}

static sg_status check_policy(const sg_config *config, const char *place, sg_error *error)
{
    bool net = config->policy.kind == SG_POLICY_NET;
    sg_status status = check_own_keys(config, place, error);
    if (status != SG_OK)
        return status;
    if (net && config->policy.experts > 1 && config->policy.top_k > config->policy.experts)
        return sg_fail(error, SG_EARGUMENT,
                       "%spolicy.top_k is %lld but there are only %lld experts; lower it or raise "
                       "policy.experts",
                       place, (long long)config->policy.top_k, (long long)config->policy.experts);
    if (net && config->policy.features != 0 && (config->policy.blocks > 0 || config->policy.tied))
        return sg_fail(error, SG_EARGUMENT,
                       "%spolicy.features frozen leaves only the output layer to learn; set "
                       "policy.blocks to 0 and policy.tied to no",
                       place);
    if (net && config->task.length > LONGEST_TEXT && config->task.kind >= SG_TASK_COPY)
        return sg_fail(error, SG_EARGUMENT,
                       "%stask.length is %lld and a net reads prompts of up to %d tokens; lower it",
                       place, (long long)config->task.length, LONGEST_TEXT);
    sg_error why;
    if (sg_config_policy_check(config, &why) != SG_OK)
        return sg_fail(error, SG_EARGUMENT, "%spolicy: %s", place, why.message);
    if (config->policy.rows != 0 && config->policy.kind != SG_POLICY_TABULAR)
        return sg_fail(error, SG_EARGUMENT,
                       "%spolicy.rows light belongs to tables; set policy.kind to tabular or "
                       "policy.rows to dense",
                       place);
    if (config->policy.rows != 0 && config->optimizer.kind != SG_SGD)
        return sg_fail(error, SG_EARGUMENT,
                       "%spolicy.rows light needs steps that depend on the probability alone, as "
                       "those of sgd; set optimizer.kind to sgd or policy.rows to dense",
                       place);
    if (config->run.matmul != SG_MATMUL_SAME && config->run.backend != SG_BACKEND_CUDA)
        return sg_fail(error, SG_EUNSUPPORTED,
                       "%srun.matmul %s is for the tensor cores of a CUDA device; set run.backend "
                       "to cuda, or run.matmul to same",
                       place, config->run.matmul == SG_MATMUL_BF16 ? "bf16" : "tf32");
    if (config->run.matmul != SG_MATMUL_SAME && config->policy.precision != SG_FP32)
        return sg_fail(
            error, SG_EARGUMENT,
            "%srun.matmul %s rounds numbers of single precision; set policy.precision to "
            "fp32, or run.matmul to same",
            place, config->run.matmul == SG_MATMUL_BF16 ? "bf16" : "tf32");
    return SG_OK;
}

static sg_status check_controls(const sg_config *config, const char *place, sg_error *error)
{
    for (size_t arm = 0; arm < config->update.objective_count; arm++) {
        sg_arm_controls controls = sg_config_arm_controls(config, arm);
        if (controls.projection == SG_PROJECTION_P_HEAD && config->policy.kind != SG_POLICY_NET)
            return sg_fail(error, SG_EARGUMENT,
                           "%scontrol.projection p-head tells the output layer of a net from its "
                           "features; in a %s that is p1, so use p1",
                           place, config->policy.kind == SG_POLICY_TREE ? "tree" : "table");
        if (controls.routing != SG_ROUTING_FREE && sg_config_route_words(config) == 0)
            return sg_fail(error, SG_EARGUMENT,
                           "%scontrol.routing %s replays the experts of a net; set policy.kind to "
                           "net, policy.experts to 2 or more and policy.blocks to 1 or more, or "
                           "the routing to free",
                           place, controls.routing == SG_ROUTING_R2 ? "r2" : "r3");
    }
    return SG_OK;
}

static sg_status check_detail(const sg_config *config, const char *place, sg_error *error)
{
    if (config->run.detail && config->policy.kind > SG_POLICY_TREE)
        return sg_fail(error, SG_EARGUMENT,
                       "%srun.detail knows tables and trees, which keep a row of logits for every "
                       "state; set policy.kind to one of them, or run.detail to no",
                       place);
    return SG_OK;
}

/* Does a prompt of this kind occur? */
static bool has_family(const sg_config *config, sg_task_kind kind)
{
    const sg_task_mix *mix = &config->task.families;
    for (int64_t i = 0; i < mix->count && config->task.kind == SG_TASK_MIXED; i++)
        if (mix->kind[i] == (int64_t)kind)
            return true;
    return config->task.kind == (int64_t)kind;
}

static sg_status check_end(const sg_config *config, const char *place, sg_error *error)
{
    if (config->task.overrun == 0)
        return SG_OK;
    if (config->policy.kind == SG_POLICY_TABULAR)
        return sg_fail(error, SG_EARGUMENT,
                       "%stask.overrun needs responses of different lengths, and those of a table "
                       "always have task.length tokens; set policy.kind to tree or net, or "
                       "task.overrun to 0",
                       place);
    if (config->policy.head < 2)
        return sg_fail(error, SG_EARGUMENT,
                       "%stask.overrun makes one token of the head the end of answers and there is "
                       "no other; raise policy.head",
                       place);
    return SG_OK;
}

static sg_status check_mix(const sg_config *config, const char *place, sg_error *error)
{
    if (config->task.kind == SG_TASK_MIXED &&
        config->task.prompts % config->task.families.count != 0)
        return sg_fail(error, SG_EARGUMENT,
                       "%stask.prompts is %lld, which the %lld task.families cannot share evenly; "
                       "make it a multiple",
                       place, (long long)config->task.prompts,
                       (long long)config->task.families.count);
    return SG_OK;
}

/* Only texts are made of symbols that other prompts have too. */
static sg_status check_heldout(const sg_config *config, const char *place, sg_error *error)
{
    if (config->task.heldout == 0)
        return SG_OK;
    if (config->policy.kind <= SG_POLICY_TREE)
        return sg_fail(error, SG_EARGUMENT,
                       "%stask.heldout needs a policy that reads its prompt; in a %s every prompt "
                       "has logits of its own and a prompt never trained on stays at its start, so "
                       "set task.heldout to 0",
                       place, config->policy.kind == SG_POLICY_TREE ? "tree" : "table");
    for (int kind = 0; kind < SG_TASKS; kind++)
        if (sg_task_generalises((sg_task_kind)kind) && has_family(config, (sg_task_kind)kind))
            return SG_OK;
    return sg_fail(error, SG_EARGUMENT,
                   "%stask.heldout needs prompts made of symbols that are trained in others, which "
                   "only those of copy and reverse are; set task.heldout to 0 or add one of them",
                   place);
}

static sg_status check_place(const sg_config *config, const char *place, sg_error *error)
{
    long long tail = (long long)config->policy.vocabulary - (long long)config->policy.head;
    if (config->task.correct_place == 0)
        return SG_OK;
    if (config->task.kind != SG_TASK_CORRECT_SET || config->policy.kind != SG_POLICY_TABULAR)
        return sg_fail(error, SG_EARGUMENT,
                       "%stask.correct_place tail needs a task that a tail token does not fail; "
                       "set policy.kind to tabular and task.kind to correct-set",
                       place);
    if (config->task.correct_size > tail)
        return sg_fail(error, SG_EARGUMENT,
                       "%stask.correct_size is %lld but the tail has only %lld tokens; raise "
                       "policy.vocabulary or lower it",
                       place, (long long)config->task.correct_size, tail);
    return SG_OK;
}

static sg_status check_task(const sg_config *config, const char *place, sg_error *error)
{
    bool sets = has_family(config, SG_TASK_CORRECT_SET) || has_family(config, SG_TASK_PATH);
    bool classes = has_family(config, SG_TASK_MODULAR_SUM) || has_family(config, SG_TASK_COPY) ||
                   has_family(config, SG_TASK_REVERSE);
    long long head = (long long)config->policy.head - (config->task.overrun > 0);
    const char *left = config->task.overrun > 0 ? " beside the end token" : "";
    if (classes && config->task.classes > head)
        return sg_fail(error, SG_EARGUMENT,
                       "%stask.classes is %lld but the head has only %lld tokens%s; raise "
                       "policy.head or lower it",
                       place, (long long)config->task.classes, head, left);
    if (sets && config->task.correct_place == 0 && config->task.correct_size > head)
        return sg_fail(error, SG_EARGUMENT,
                       "%stask.correct_size is %lld but the head has only %lld tokens%s; raise "
                       "policy.head or lower it",
                       place, (long long)config->task.correct_size, head, left);
    if (config->task.reward == SG_REWARD_FRACTION &&
        (config->task.kind != SG_TASK_CORRECT_SET || config->policy.kind != SG_POLICY_TABULAR) &&
        config->task.length >= SG_REWARD_STATES)
        return sg_fail(
            error, SG_EARGUMENT,
            "%stask.reward fraction counts up to %d tokens here and task.length is %lld; "
            "lower it",
            place, SG_REWARD_STATES - 1, (long long)config->task.length);
    return SG_OK;
}

sg_status sg_config_check(const sg_config *config, sg_error *error)
{
    char place[SG_CONFIG_SOURCE + 4];
    snprintf(place, sizeof place, "%s%s", config->source, *config->source != '\0' ? ": " : "");
    sg_error why;
    sg_prior prior = sg_config_prior(config);
    if (sg_prior_check(&prior, &why) != SG_OK)
        return sg_fail(error, SG_EARGUMENT, "%spolicy: %s", place, why.message);
    sg_status status = check_policy(config, place, error);
    if (status == SG_OK)
        status = check_end(config, place, error);
    if (status == SG_OK)
        status = check_task(config, place, error);
    if (status == SG_OK)
        status = check_place(config, place, error);
    if (status == SG_OK)
        status = check_mix(config, place, error);
    if (status == SG_OK)
        status = check_heldout(config, place, error);
    if (status == SG_OK)
        status = check_controls(config, place, error);
    if (status == SG_OK)
        status = check_detail(config, place, error);
    if (status != SG_OK)
        return status;
    if (config->task.correct_mass * config->task.difficulty_spread >= 1)
        return sg_fail(error, SG_EARGUMENT,
                       "%stask.correct_mass %g times task.difficulty_spread %g is not below 1; "
                       "lower one of them",
                       place, config->task.correct_mass, config->task.difficulty_spread);
    if (config->task.prompts * (int64_t)sg_task_room(config) > 2147483647)
        return sg_fail(error, SG_EARGUMENT,
                       "%stask.prompts %lld times task.length %lld is more than 2^31 states", place,
                       (long long)config->task.prompts, (long long)config->task.length);
    if (config->rollout.group % config->update.minibatches != 0)
        return sg_fail(error, SG_EARGUMENT,
                       "%supdate.minibatches %lld does not divide rollout.group %lld; every "
                       "minibatch takes the same number of responses of each group",
                       place, (long long)config->update.minibatches,
                       (long long)config->rollout.group);
    if (config->update.advantage == SG_ADVANTAGE_REMAX)
        return sg_fail(error, SG_EARGUMENT,
                       "%supdate.advantage remax needs the reward of a greedy response, which the "
                       "simulator does not draw; use rloo or grpo",
                       place);
    if (config->update.advantage == SG_ADVANTAGE_GRPO_PASSK && config->rollout.group < 2)
        return sg_fail(error, SG_EARGUMENT,
                       "%supdate.advantage grpo-passk compares two responses; set rollout.group to "
                       "2 or more",
                       place);
    return check_memory(config, place, error);
}
