/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which policy an experiment asks for. */
#include "policy/tabular.h"
#include "sim/run.h"

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

sg_status sg_config_policy(const sg_config *config, const double *prior_logits, sg_policy **policy,
                           sg_error *error)
{
    sg_tabular_shape shape = tabular_shape(config);
    return sg_tabular_alloc(policy, &shape, prior_logits, error);
}

double sg_config_policy_bytes(const sg_config *config)
{
    sg_tabular_shape shape = tabular_shape(config);
    return sg_tabular_bytes(&shape, (size_t)(config->task.prompts * config->rollout.group));
}
