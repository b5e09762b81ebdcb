/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/isa.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"portable", "avx2", "avx512"};

static sg_isa best_of_machine(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return SG_ISA_AVX512;
    if (__builtin_cpu_supports("avx2"))
        return SG_ISA_AVX2;
#endif
    return SG_ISA_PORTABLE;
}

sg_isa sg_isa_select(void)
{
    sg_isa best = best_of_machine();
    const char *wanted = getenv("SOFTGATE_ISA");
    for (int isa = 0; wanted && isa < (int)best; isa++)
        if (strcmp(wanted, names[isa]) == 0)
            return (sg_isa)isa;
    return best;
}

const char *sg_isa_name(sg_isa isa)
{
    return names[isa];
}
