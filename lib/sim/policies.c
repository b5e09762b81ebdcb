/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which policy an experiment asks for. */
#include <stdlib.h>

#include "policy/net_policy.h"
#include "policy/tabular.h"
#include "policy/tree.h"
#include "sim/run.h"
#include "sim/task.h"

static sg_tabular_shape tabular_shape(const sg_config *config)
{
    return (sg_tabular_shape){
        .prompts = (size_t)config->task.prompts,
        .length = (size_t)config->task.length,
        .vocabulary = (size_t)config->policy.vocabulary,
        .head = (size_t)config->policy.head,
        .precision = (sg_precision)config->policy.precision,
        .optimizer = (sg_optimizer_kind)config->optimizer.kind,
        .light = config->policy.rows != 0,
        .backend = (sg_backend_kind)config->run.backend,
    };
}

static sg_tree_shape tree_shape(const sg_config *config)
{
    return (sg_tree_shape){
        .prompts = (size_t)config->task.prompts,
        .length = sg_task_room(config),
        .vocabulary = (size_t)config->policy.vocabulary,
        .head = (size_t)config->policy.head,
        .merge = (size_t)config->policy.merge,
        .shared_bias = config->policy.shared_bias != 0,
        .may_end = config->task.overrun > 0,
        .branching = (size_t)config->task.length + 1,
        .precision = (sg_precision)config->policy.precision,
        .optimizer = (sg_optimizer_kind)config->optimizer.kind,
        .backend = (sg_backend_kind)config->run.backend,
    };
}

/* Without the prompts and the seed of a run; its prompts may be shorter and have fewer symbols. */
static sg_net_policy_shape net_shape(const sg_config *config)
{
    bool texts = config->task.kind >= SG_TASK_COPY; /* or mixed */
    size_t length = sg_task_room(config), window = (size_t)config->policy.window;
    size_t prompts = (size_t)config->task.prompts, classes = (size_t)config->task.classes;
    return (sg_net_policy_shape){
        .net = {.prior = sg_config_prior(config),
                .width = (size_t)config->policy.width,
                .length = length,
                .prompt_length = texts ? (size_t)config->task.length + 1 : 1,
                .prompt_symbols = classes + prompts,
                .window = window < length ? window : length,
                .blocks = (size_t)config->policy.blocks,
                .hidden = (size_t)config->policy.hidden,
                .experts = (size_t)config->policy.experts,
                .top_k = (size_t)config->policy.top_k,
                .tied = config->policy.tied != 0,
                .frozen_features = config->policy.features != 0,
                .bias = (sg_net_bias)config->policy.bias,
                .head_std = config->policy.head_std,
                .tail_std = config->policy.tail_std,
                .temperature = 1,
                .precision = (sg_precision)config->policy.precision},
        .rule = {.rule = (sg_rule)config->optimizer.kind, /* in the order of sg_optimizer_kind */
                 .lr = config->optimizer.lr,
                 .beta1 = config->optimizer.beta1,
                 .beta2 = config->optimizer.beta2,
                 .eps = config->optimizer.eps,
                 .weight_decay = config->optimizer.weight_decay},
        .prompts = prompts,
        .heldout = (size_t)config->task.heldout,
        .end_token = -1,
        .observe_samples = (size_t)config->run.observe_samples,
        .backend = (sg_backend_kind)config->run.backend,
        .matmul = (sg_matmul)config->run.matmul};
}

static sg_status alloc_net(const sg_config *config, const sg_task *task, uint64_t seed,
                           sg_policy **policy, sg_error *error)
{
    sg_net_policy_shape shape = net_shape(config);
    size_t slots = sg_task_prompt_length(task), prompts = shape.prompts + shape.heldout;
    int32_t *symbols = malloc(prompts * slots * sizeof *symbols);
    *policy = NULL;
    if (symbols == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for %zu prompts", prompts);
    for (size_t i = 0; i < prompts * slots; i++)
        symbols[i] = sg_task_prompt_token(task, i / slots, i % slots);
    shape.prompt_symbols = symbols;
    shape.net.prompt_length = slots;
    shape.net.prompt_symbols = sg_task_prompt_symbols(task);
    shape.end_token = task->end;
    shape.prefixes = sg_task_prefixes(task);
    shape.seed = seed;
    sg_status status = sg_net_policy_alloc(policy, &shape, error);
    free(symbols);
    return status;
}

sg_status sg_config_policy(const sg_config *config, const sg_task *task, const double *prior_logits,
                           uint64_t seed, sg_policy **policy, sg_error *error)
{
    sg_tabular_shape tabular = tabular_shape(config);
    sg_tree_shape tree = tree_shape(config);
    tree.end_token = sg_task_end(config, prior_logits);
    switch ((sg_policy_kind)config->policy.kind) {
    case SG_POLICY_TREE:
        return sg_tree_alloc(policy, &tree, prior_logits, error);
    case SG_POLICY_NET:
        return alloc_net(config, task, seed, policy, error);
    case SG_POLICY_TABULAR:
        break;
    }
    return sg_tabular_alloc(policy, &tabular, prior_logits, error);
}

double sg_config_policy_bytes(const sg_config *config)
{
    sg_tabular_shape tabular = tabular_shape(config);
    sg_tree_shape tree = tree_shape(config);
    sg_net_policy_shape net = net_shape(config);
    size_t responses = (size_t)(config->task.prompts * config->rollout.group);
    switch ((sg_policy_kind)config->policy.kind) {
    case SG_POLICY_TREE:
        return sg_tree_bytes(&tree, responses);
    case SG_POLICY_NET:
        return sg_net_policy_bytes(&net, responses);
    case SG_POLICY_TABULAR:
        break;
    }
    return sg_tabular_bytes(&tabular, responses);
}

sg_status sg_config_policy_check(const sg_config *config, sg_error *error)
{
    sg_net_policy_shape net = net_shape(config);
    return config->policy.kind == SG_POLICY_NET ? sg_net_check(&net.net, error) : SG_OK;
}

bool sg_config_distorts_parameters(const sg_config *config)
{
    return config->policy.kind == SG_POLICY_NET &&
           (config->rollout.precision != SG_SAMPLER_EXACT || config->rollout.weight_noise > 0);
}

size_t sg_config_route_words(const sg_config *config)
{
    bool routes = config->policy.kind == SG_POLICY_NET && config->policy.experts > 1;
    return routes ? (size_t)config->policy.blocks : 0;
}
