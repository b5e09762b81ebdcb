/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TREE_ROWS_MATH_H
#define SG_TREE_ROWS_MATH_H

#include "backend/rows_math.h"
#include "backend/tree_rows.h"

/* What the backends of a tree's rows share: how a row is cut, the order of its sums, and the formulas of
 * a token. A row is cut into tiles. Token i of a tile is added in lane i % SG_TREE_LANES; lanes are added
 * in groups of 32, each in a tree that folds its upper half onto the lower, the groups in their order;
 * tiles are added in the tree of sg_tree_split. */
enum {
    SG_TREE_TILE = 1024,
    SG_TREE_LANES = 128,
    SG_TREE_PIECE = SG_TREE_TILE / SG_TREE_LANES, /* tokens that are added first to draw one */
};

static inline size_t sg_tree_tiles(size_t vocabulary)
{
    return (vocabulary + SG_TREE_TILE - 1) / SG_TREE_TILE;
}

/* Room of a tile to add up in: the backends have (states + 1) * tiles of it. */
static inline size_t sg_tree_part_bytes(void)
{
    return sizeof(sg_tree_look) > sizeof(sg_tree_sums) ? sizeof(sg_tree_look)
                                                       : sizeof(sg_tree_sums);
}

/* The greatest logit of a tile, or of a row, as what is subtracted before exp. */
SG_HD static inline double sg_tree_base(double peak)
{
    return peak == -(double)INFINITY ? 0 : peak;
}

/* Parameters as weight decay sees them: logits of -inf stay what they are. */
SG_HD static inline double sg_tree_parameter(double theta)
{
    return isinf(theta) ? 0 : theta;
}

/* What the gradient is multiplied by, from its squared norm. */
SG_HD static inline double sg_tree_clip(double clip_norm, double norm2)
{
    return clip_norm > 0 ? fmin(1.0, clip_norm / sqrt(norm2)) : 1;
}

/* Coupled Adam is momentum with a rate of the row's own, which this returns: v moves on with the mean of the
 * row's squared gradient. */
SG_HD static inline double sg_tree_couple(const sg_rule_numbers *rule, double factor, double norm2,
                                          size_t vocabulary, double *v)
{
    double mean = factor * factor * norm2 / (double)vocabulary;
    *v = rule->beta2 * *v + (1 - rule->beta2) * mean;
    return rule->step / fmax(sqrt(*v * rule->correction2) + rule->eps, 0x1p-500);
}

/* The numbers of a row; rate NULL: that of the rule. */
SG_HD static inline sg_rule_numbers sg_tree_rule(sg_rule_numbers rule, double factor,
                                                 const double *rate)
{
    rule.scale *= factor;
    if (rate != NULL)
        rule.step = *rate;
    return rule;
}

static inline bool sg_tree_needs_norms(const sg_tree_rows_config *config, const sg_tree_step *step)
{
    return step->clip_norm > 0 || config->optimizer == SG_COUPLED_ADAM;
}

/* What a token adds to the sums but gradient2; mark 0: it has a sample. */
SG_HD static inline void sg_tree_compare(sg_tree_sums *sums, double p, double delta, double drift,
                                         double mark)
{
    double d = delta + drift, e = sg_exp_excess(d);
    sums->first += p * d;
    sums->excess += p * e;
    sums->reverse += p * (d * (e + d) - e);
    sums->norm2 += delta * delta;
    sums->free_mass += p * mark;
    sums->max_free = d * mark > sums->max_free ? d * mark : sums->max_free;
}

SG_HD static inline void sg_tree_sums_add(sg_tree_sums *a, const sg_tree_sums *b)
{
    a->gradient2 += b->gradient2;
    a->first += b->first;
    a->excess += b->excess;
    a->reverse += b->reverse;
    a->norm2 += b->norm2;
    a->free_mass += b->free_mass;
    a->max_free = b->max_free > a->max_free ? b->max_free : a->max_free;
}

/* The same of a look; head 1 or 0: whether the token belongs to it. */
SG_HD static inline void sg_tree_look_at(sg_tree_look *look, double log_p, double p, double head)
{
    double plogp = p > 0 ? p * log_p : 0;
    look->head_mass += head * p;
    look->head_plogp += head * plogp;
    look->tail_mass += (1 - head) * p;
    look->tail_plogp += (1 - head) * plogp;
    look->squares += p * p;
    look->highest = log_p > look->highest ? log_p : look->highest;
    look->lowest = log_p < look->lowest ? log_p : look->lowest;
    look->underflowed += p > 0 ? 0 : 1;
}

SG_HD static inline void sg_tree_look_add(sg_tree_look *a, const sg_tree_look *b)
{
    a->head_mass += b->head_mass;
    a->head_plogp += b->head_plogp;
    a->tail_mass += b->tail_mass;
    a->tail_plogp += b->tail_plogp;
    a->squares += b->squares;
    a->highest = b->highest > a->highest ? b->highest : a->highest;
    a->lowest = b->lowest < a->lowest ? b->lowest : a->lowest;
    a->underflowed += b->underflowed;
}

/* A draw adds up numbers in their order until the sum passes a target: tiles, then pieces of the tile,
 * then tokens of the piece. Where rounding keeps it from passing, the last number above 0 is found. */
typedef struct sg_tree_search {
    double target, sum, before; /* before: the sum without the number that was found */
    size_t found;
    bool passed;
} sg_tree_search;

SG_HD static inline void sg_tree_search_add(sg_tree_search *search, size_t index, double number)
{
    if (search->passed || !(number > 0))
        return;
    search->found = index;
    search->before = search->sum;
    search->sum += number;
    search->passed = search->target < search->sum;
}

/* Goes on inside of what was found. */
SG_HD static inline void sg_tree_search_enter(sg_tree_search *search)
{
    search->sum = search->before;
    search->found = 0;
    search->passed = false;
}

#endif
