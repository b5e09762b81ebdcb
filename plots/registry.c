/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <strings.h>

#include "core/text.h"
#include "plots/recipes.h"

/* Every recipe once; each is defined in plots/recipes/. */
#define SG_RECIPE_LIST(X)                                                                          \
    X(r1)                                                                                          \
    X(r1b)                                                                                         \
    X(r1c)                                                                                         \
    X(r1d)                                                                                         \
    X(r1e)                                                                                         \
    X(r1e_max)                                                                                     \
    X(r1f)                                                                                         \
    X(r1f_wide)                                                                                    \
    X(r2)                                                                                          \
    X(r2b)                                                                                         \
    X(r3)                                                                                          \
    X(r4)                                                                                          \
    X(r5)                                                                                          \
    X(r6)                                                                                          \
    X(r7)                                                                                          \
    X(r7_log)                                                                                      \
    X(r8)                                                                                          \
    X(r9) X(r10) X(r12) X(r13) X(r13b)

#define RECIPE_DECLARATION(id) extern const sg_recipe sg_recipe_##id;
SG_RECIPE_LIST(RECIPE_DECLARATION)
#undef RECIPE_DECLARATION

static const sg_recipe *const recipes[] = {
#define RECIPE_ENTRY(id) &sg_recipe_##id,
    SG_RECIPE_LIST(RECIPE_ENTRY)
#undef RECIPE_ENTRY
};

enum { RECIPES = sizeof recipes / sizeof *recipes };

size_t sg_recipe_count(void)
{
    return RECIPES;
}

const sg_recipe *sg_recipe_at(size_t index)
{
    return recipes[index];
}

const sg_recipe *sg_recipe_find(const char *name, sg_error *error)
{
    const char *names[RECIPES + 1] = {NULL};
    for (size_t i = 0; i < RECIPES; i++) {
        if (strcasecmp(recipes[i]->name, name) == 0)
            return recipes[i];
        names[i] = recipes[i]->name;
    }
    const char *nearest = sg_nearest_name(name, names);
    if (nearest != NULL)
        sg_fail(error, SG_EARGUMENT, "there is no figure \"%s\"; did you mean %s?", name, nearest);
    else
        sg_fail(
            error, SG_EARGUMENT,
            "there is no figure \"%s\"; the names are R1, R1b, ... (see 'softgate help figure')",
            name);
    return NULL;
}
