/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_METHODS_H
#define SG_METHODS_H

/* Internal to objective/: the tables behind objective.h. */
#include <stdbool.h>
#include <stddef.h>

#include "objective/objective.h"

typedef struct sg_parameter_range {
    sg_parameter_info info;
    size_t offset; /* in sg_objective */
    double low;
    bool low_open; /* low itself is not allowed */
    double high;
    bool high_open;
    bool may_be_off; /* "off" (infinity) is allowed */
} sg_parameter_range;

typedef struct sg_reserved_method {
    const char *name;
    const char *why; /* what is missing and what is nearest; NULL: its exact form is not confirmed */
} sg_reserved_method;

extern const sg_method sg_methods[];
extern const size_t sg_methods_count;
extern const sg_reserved_method sg_methods_reserved[]; /* ends in a name of NULL */
extern const sg_parameter_range sg_parameters[];
extern const size_t sg_parameters_count;

/* Is `name` one of the comma-separated names (each may be followed by =value)? */
bool sg_name_in_list(const char *name, const char *list);

const sg_method *sg_method_find(const char *name);

/* By name or alias, among the parameters of `method`, or among all when it is NULL. */
const sg_parameter_range *sg_parameter_range_find(const char *name, const sg_method *method);

#endif
