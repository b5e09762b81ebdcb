/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_ISA_H
#define SG_ISA_H

/* Which of the compiled instruction sets the vector kernels use. Results do not depend on it. */
typedef enum sg_isa { SG_ISA_PORTABLE, SG_ISA_AVX2, SG_ISA_AVX512 } sg_isa;

/* The best one of this machine, or a lower one when the environment variable SOFTGATE_ISA names it
 * ("portable", "avx2", "avx512"). Read at every call, cheap against any array worth a kernel. */
sg_isa sg_isa_select(void);

const char *sg_isa_name(sg_isa isa);

#endif
