/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "objective/kl.h"

#include <string.h>

static const char *const names[] = {"k1", "abs", "k2", "k3", "k1+", "k3+"};

bool sg_kl_from_name(const char *name, sg_kl_kind *kind)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0 || (i == SG_KL_K3 && strcmp(name, "low_var_kl") == 0)) {
            *kind = (sg_kl_kind)i;
            return true;
        }
    }
    return false;
}

const char *sg_kl_name(sg_kl_kind kind)
{
    return names[kind];
}
