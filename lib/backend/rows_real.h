/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The formulas of one token of a row in one precision, the same for all backends. Included by
 * rows_token.h with SG_REAL, SG_NAME, SG_SQRT, SG_ENTROPY_LOG defined, hence no include guard. */

/* What a job says to tokens without a sample, in the precision of the row. */
typedef struct SG_NAME(sg_row_rule) {
    SG_REAL factor;   /* sgd: change per q */
    SG_REAL gradient; /* per q, in the scale of the moments; fresh: its part in momentum's mean */
    SG_REAL fresh, step, beta1, beta2, rest1, rest2, eps;
    SG_REAL decay, constant; /* change -= decay log q + constant */
} SG_NAME(sg_row_rule);

SG_HD static inline SG_NAME(sg_row_rule) SG_NAME(sg_row_rule_of)(const sg_row_job *job)
{
    SG_NAME(sg_row_rule) rule;
    rule.factor = (SG_REAL)(job->gradient * job->step);
    rule.gradient = (SG_REAL)(job->gradient * job->scale);
    rule.fresh = (SG_REAL)(job->gradient * job->scale * job->fresh);
    rule.step = (SG_REAL)job->step;
    rule.beta1 = (SG_REAL)job->beta1;
    rule.beta2 = (SG_REAL)job->beta2;
    rule.rest1 = (SG_REAL)(1 - job->beta1);
    rule.rest2 = (SG_REAL)(1 - job->beta2);
    rule.eps = (SG_REAL)job->eps;
    rule.decay = (SG_REAL)job->decay;
    rule.constant = (SG_REAL)(job->decay * job->offset);
    return rule;
}

/* Momentum's new mean; the change is step times that. */
SG_HD static inline SG_REAL SG_NAME(sg_row_momentum)(SG_NAME(sg_row_rule) rule, SG_REAL q,
                                                     SG_REAL m)
{
    return rule.beta1 * m + rule.fresh * q;
}

/* Adam's new means, and the change that they make. */
SG_HD static inline SG_REAL SG_NAME(sg_row_adam_first)(SG_NAME(sg_row_rule) rule, SG_REAL q,
                                                       SG_REAL m)
{
    return rule.beta1 * m + rule.rest1 * (rule.gradient * q);
}

SG_HD static inline SG_REAL SG_NAME(sg_row_adam_second)(SG_NAME(sg_row_rule) rule, SG_REAL q,
                                                        SG_REAL v)
{
    SG_REAL g = rule.gradient * q;
    return rule.beta2 * v + rule.rest2 * (g * g);
}

SG_HD static inline SG_REAL SG_NAME(sg_row_adam)(SG_NAME(sg_row_rule) rule, SG_REAL first,
                                                 SG_REAL second)
{
    return rule.step * first / (SG_SQRT(second) + rule.eps);
}

/* Weight decay takes this from the change; a token that has underflowed stays where it is. */
SG_HD static inline SG_REAL SG_NAME(sg_row_fade)(SG_NAME(sg_row_rule) rule, SG_REAL q)
{
    SG_REAL fade = rule.decay * SG_ENTROPY_LOG(q) + rule.constant;
    return q > 0 ? fade : 0;
}
