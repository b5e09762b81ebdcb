/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_OBJECTIVE_H
#define SG_OBJECTIVE_H

#include <stddef.h>

#include "core/status.h"
#include "objective/aggregate.h"
#include "objective/gate.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An objective is a gate, the ratio that the gate looks at (its level), and parameter values.
 * Methods that differ only in parameters (dapo, dual-clip, dr-grpo, ...) are named presets. */
typedef enum sg_level {
    SG_LEVEL_TOKEN,          /* x = r_t = exp(d_t) */
    SG_LEVEL_SEQUENCE,       /* x = s = exp(mean_t d_t), differentiated through every token of the row */
    SG_LEVEL_SEQUENCE_TOKEN, /* x = s in value; the gradient of a token is its own A_t c(s) (GSPO-token) */
    SG_LEVEL_PRODUCT,        /* x = W = exp(sum_t d_t), a detached weight of each token */
} sg_level;

/* The level as level= spells it, "sequence-token". */
const char *sg_level_name(sg_level level);

/* What an objective adds to its gate that no single ratio tells; see rule.h. */
typedef enum sg_batch_rule {
    SG_RULE_NONE,
    SG_RULE_DRO,
    SG_RULE_KL_COV,
    SG_RULE_CLIP_COV,
    SG_RULE_BAPO,
} sg_batch_rule;

/* Parameters of all rules. A rule reads only its own. */
typedef struct sg_rule_parameters {
    double beta;                /* dro, kl-cov: factor of the penalty; >= 0 */
    double share;               /* kl-cov, clip-cov: of the batch's tokens; in (0, 1] */
    double cov_low, cov_high;   /* clip-cov: bounds of the covariance */
    double target;              /* bapo: share of positive advantages; in [0, 1] */
    double low_max, high_max;   /* bapo: how far the clip's bounds may rise; in (0, 1], >= 1 */
    double low_step, high_step; /* bapo: by how much they rise; > 0 */
} sg_rule_parameters;

/* A resolved objective: plain data, copied freely, sent to devices as it is. */
typedef struct sg_objective {
    sg_gate_kind gate;
    sg_level level;
    sg_gate_parameters parameter;
    sg_rule_parameters rule;       /* of method->rule */
    sg_aggregate_mode aggregate;   /* natural aggregation of the method */
    const struct sg_method *method; /* its descriptor; static storage */
} sg_objective;

/* One named method: what `softgate objectives` lists. */
typedef struct sg_method {
    const char *name;      /* "sapo" */
    const char *aliases;   /* comma-separated other names, e.g. "ppo,vanilla"; "" when none */
    sg_gate_kind gate;
    sg_level level;
    sg_aggregate_mode aggregate;
    const char *levels;    /* levels that level= accepts, e.g. "token,sequence,sequence-token" */
    const char *parameters; /* names and defaults, "tau_pos=1,tau_neg=1.05" : every parameter it has */
    const char *formula;   /* token loss, one line of plain text */
    const char *title;     /* "Soft Adaptive Policy Optimization" */
    const char *paper;     /* "arXiv:2511.20347" */
    sg_batch_rule rule;          /* SG_RULE_NONE for those whose tokens are gated one by one */
} sg_method;

/* The descriptors, in the order in which they are listed. */
size_t sg_method_count(void);
const sg_method *sg_method_at(size_t index);

/* One parameter of the gates: range and the trainers' spellings. */
typedef struct sg_parameter_info {
    const char *name;
    const char *aliases; /* comma-separated */
    const char *range;   /* for people: "> 0" */
    const char *meaning;
} sg_parameter_info;
const sg_parameter_info *sg_parameter_find(const char *name); /* by name or alias; NULL if unknown */

/* Parse "name[:key=value,...]", e.g. "sapo:tau_pos=1,tau_neg=1.05", "gspo:eps_low=3e-4",
 * "sapo:level=sequence", "cispo:bounds=relative,eps_low=0.2,eps_high=0.28". Names and keys may be those of trainers; '-' and '_' are
 * the same; `tau` and `epsilon` set both sides of a pair. Validates every range. SG_EARGUMENT names the culprit, its valid range and, for a typo, the
 * nearest name. `off` is accepted for dual_clip and delta. */
sg_status sg_objective_parse(sg_objective *objective, const char *spec, sg_error *error);

/* The parameters as "key=value,..." that parses back to the same objective ("" when it has none);
 * level= is included when it is not the method's own. Returns the length that it needs, like snprintf. */
int sg_objective_parameters(const sg_objective *objective, char *buffer, size_t size);

/* Short label for legends: "SAPO 1/1.05", "GRPO 0.2/0.2". Returns the length that it needs. */
int sg_objective_label(const sg_objective *objective, char *buffer, size_t size);

/* Gate at log-ratio d (of the objective's level) for an advantage, with the log-probability of the sampled token under the
 * old policy (only dppo-tv, dppo-kl and the printed value of detached methods use it). Only the sign of the advantage counts, but
 * for dro and kl-cov: their penalty is divided by the advantage and left out where that is 0. Where a rule looks at the whole batch,
 * this is a token that kl-cov chooses, one that clip-cov leaves alone, and bapo before its bounds move.
 * logp_old: any value <= 0. NaN d gives NaN. By hand, dro:beta=0.1 at d = 1, A = -2: c = 1 + 0.1 / 2 = 1.05. */
sg_gate_value sg_objective_eval(const sg_objective *objective, double log_ratio, double advantage,
                                double logp_old);
sg_gate_value sg_objective_eval_at(const sg_objective *objective, sg_gate_point at,
                                   double advantage);

#ifdef __cplusplus
}
#endif

#endif
