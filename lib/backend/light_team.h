/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_LIGHT_TEAM_H
#define SG_LIGHT_TEAM_H

#include "core/vec.h"
#include "core/vec_math.h"

/* Who works on a light row: on the CPU one thread, on a CUDA device the 32 threads of a warp. The
 * functions of light_*.h are the same statements for both. Where their comments say "team", every
 * lane must call them: lanes share out what is independent, and the leader alone does what has an
 * order, so that sums have the same bits. A lane sees what another one wrote after SG_TEAM_WAIT. */
#if defined(__CUDACC__) || defined(SG_EMULATED)

#define SG_TEAM_CODE static __device__ inline
#define SG_TEAM_LANES 32u
#define SG_TEAM_LANE (threadIdx.x % SG_TEAM_LANES)
#define SG_TEAM_WAIT() __syncwarp()
/* Puts `to` into a cell that holds -1; false when another one was faster. */
#define SG_TEAM_CLAIM(cell, to) (atomicCAS((cell), -1, (to)) == -1)
#define SG_TEAM_PREFETCH(at) ((void)(at))
#define SG_TEAM_TOGETHER 1 /* draws that a thread makes side by side */

static __device__ inline void sg_team_log(size_t n, const double *x, double *y)
{
    for (size_t i = SG_TEAM_LANE; i < n; i += SG_TEAM_LANES)
        y[i] = sg_log(x[i]);
}

#else

#define SG_TEAM_CODE static inline
#define SG_TEAM_LANES 1u
#define SG_TEAM_LANE 0u
#define SG_TEAM_WAIT() ((void)0)
#define SG_TEAM_CLAIM(cell, to) (*(cell) == -1 ? (*(cell) = (to), true) : false)
#define SG_TEAM_PREFETCH(at) __builtin_prefetch(at)
#define SG_TEAM_TOGETHER 16 /* so that they wait for memory together */

static inline void sg_team_log(size_t n, const double *x, double *y)
{
    sg_vec_log(n, x, y);
}

#endif

#define SG_TEAM_LEADS (SG_TEAM_LANE == 0)
/* sg_team_log: y[i] = log(x[i]), i < n; each lane its own. */

#endif
