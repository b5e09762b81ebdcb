/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which policy an experiment asks for. */
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
    };
}

sg_status sg_config_policy(const sg_config *config, const double *prior_logits, sg_policy **policy,
                           sg_error *error)
{
    sg_tabular_shape tabular = tabular_shape(config);
    sg_tree_shape tree = tree_shape(config);
    tree.end_token = sg_task_end(config, prior_logits);
    return config->policy.kind == SG_POLICY_TREE
               ? sg_tree_alloc(policy, &tree, prior_logits, error)
               : sg_tabular_alloc(policy, &tabular, prior_logits, error);
}

double sg_config_policy_bytes(const sg_config *config)
{
    sg_tabular_shape tabular = tabular_shape(config);
    sg_tree_shape tree = tree_shape(config);
    size_t responses = (size_t)(config->task.prompts * config->rollout.group);
    return config->policy.kind == SG_POLICY_TREE ? sg_tree_bytes(&tree, responses)
                                                 : sg_tabular_bytes(&tabular, responses);
}
