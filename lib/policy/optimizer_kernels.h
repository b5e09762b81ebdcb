/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_OPTIMIZER_KERNELS_H
#define SG_OPTIMIZER_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/backend.h"
#include "backend/rule_math.h"

/* Parts of the optimisers on n numbers; delta replaces the gradient g. */
typedef struct sg_rule_kernels {
    void (*sgd)(size_t n, const sg_rule_numbers *p, void *g);
    void (*momentum)(size_t n, const sg_rule_numbers *p, void *g, void *m);
    void (*adam)(size_t n, const sg_rule_numbers *p, void *g, void *m, void *v, const void *theta);
    /* Rows of `columns` numbers that share root[column] = sqrt(vhat) + eps. */
    void (*coupled)(size_t rows, size_t columns, const sg_rule_numbers *p, void *g, void *m,
                    const void *root);
    void (*add)(size_t n, double scale, const void *delta, void *theta);
    double (*norm2)(size_t n, const void *x);
    /* Adds factor x, or its square, to the sum of its column. */
    void (*columns)(size_t rows, size_t columns, double factor, bool squares, const void *x,
                    double *sums);
} sg_rule_kernels;

/* Those of the instruction set that is chosen. */
const sg_rule_kernels *sg_rule_kernels_select(sg_precision precision);

#endif
