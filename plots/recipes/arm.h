/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_ARM_H
#define SG_ARM_H

#include "core/table.h"
#include "plots/figure.h"

/* An arm of a training figure: how it is named and drawn. */
typedef struct sg_arm {
    const char *objective, *params; /* cells of a table of the drawing */
    bool known;                     /* an objective of softgate, `parsed`; else a name from a log */
    sg_objective parsed;
    char controls[64]; /* what `params` says beside the objective's parameters: "routing=r2" */
    char routing[16];  /* of them the routing that is replayed, "r2"; "" when tokens route freely */
    sg_pen pen;
    char label[SG_LABEL_SIZE]; /* "GRPO-R2 0.2/0.27" */
} sg_arm;

enum { SG_ARMS_DRAWN = 12 };

/* Name and pen from objective and params. A solid line in the method's colour. */
void sg_arm_describe(sg_arm *arm, const char *objective, const char *params);

/* The arms of a table with the columns objective and params, in their order, each described.
 * SG_EARGUMENT when there are more than SG_ARMS_DRAWN, SG_EDATA when there is none. */
sg_status sg_arms_describe(sg_arm *arms, size_t *count, const sg_table *table, sg_error *error);

/* Arms of one colour get different dashes and markers. */
void sg_arms_tell_apart(sg_arm *arms, size_t count);

/* Earlier arms get wider lines, so that arms that lie on each other are all seen. */
void sg_arms_widen(sg_arm *arms, size_t count);

/* A layer of a table whose rows are of the arm. */
sg_layer sg_arm_layer(const sg_arm *arm, const sg_table *table);

#endif
