/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The optimisers' formulas in one precision: included by rule_math.h with SG_REAL, SG_NAME and
 * SG_SQRT defined, hence no include guard. */

/* The numbers of a step in the precision of the arrays. */
typedef struct SG_NAME(sg_rule) {
    SG_REAL factor; /* sgd: delta = factor g */
    SG_REAL scale, step, beta1, beta2, rest1, rest2, eps, correction2, decay;
} SG_NAME(sg_rule);

SG_HD static inline SG_NAME(sg_rule) SG_NAME(sg_rule_of)(const sg_rule_numbers *p)
{
    SG_NAME(sg_rule) rule;
    rule.factor = (SG_REAL)(p->scale * p->step);
    rule.scale = (SG_REAL)p->scale;
    rule.step = (SG_REAL)p->step;
    rule.beta1 = (SG_REAL)p->beta1;
    rule.beta2 = (SG_REAL)p->beta2;
    rule.rest1 = (SG_REAL)(1 - p->beta1);
    rule.rest2 = (SG_REAL)(1 - p->beta2);
    rule.eps = (SG_REAL)p->eps;
    rule.correction2 = (SG_REAL)p->correction2;
    rule.decay = (SG_REAL)p->decay;
    return rule;
}

/* The delta of a number with gradient g; its moments move on. */
SG_HD static inline SG_REAL SG_NAME(sg_rule_momentum)(SG_NAME(sg_rule) rule, SG_REAL g, SG_REAL *m)
{
    *m = rule.beta1 * *m + rule.scale * g;
    return rule.step * *m;
}

SG_HD static inline SG_REAL SG_NAME(sg_rule_adam)(SG_NAME(sg_rule) rule, SG_REAL g, SG_REAL *m,
                                                  SG_REAL *v, SG_REAL theta)
{
    SG_REAL x = rule.scale * g;
    SG_REAL first = rule.beta1 * *m + rule.rest1 * x;
    SG_REAL second = rule.beta2 * *v + rule.rest2 * (x * x);
    SG_REAL root = SG_SQRT(second * rule.correction2) + rule.eps;
    SG_REAL delta = first != 0 ? rule.step * first / root : 0; /* 0 / 0 when eps = 0 */
    *m = first;
    *v = second;
    return delta - rule.decay * theta;
}

/* Adam with the column's root. */
SG_HD static inline SG_REAL SG_NAME(sg_rule_coupled)(SG_NAME(sg_rule) rule, SG_REAL g, SG_REAL *m,
                                                     SG_REAL root)
{
    *m = rule.beta1 * *m + rule.rest1 * (rule.scale * g);
    return *m != 0 ? rule.step * *m / root : 0;
}
