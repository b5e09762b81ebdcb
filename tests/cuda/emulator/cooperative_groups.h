/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_EMULATOR_COOPERATIVE_GROUPS_H
#define SG_EMULATOR_COOPERATIVE_GROUPS_H

#include "cuda_runtime.h"

/* Of CUDA's groups of threads: the blocks of a cluster. */
namespace cooperative_groups
{

struct cluster_group {
    static void sync()
    {
        sg_emulated_cluster_sync();
    }
    static unsigned block_rank()
    {
        return sg_emulated_cluster_rank();
    }
    static unsigned num_blocks()
    {
        return sg_emulated_cluster_size();
    }
    /* What lies at `mine`, in dynamic shared memory, in another block of the cluster. */
    template <typename T> static T *map_shared_rank(T *mine, unsigned rank)
    {
        return (T *)sg_emulated_cluster_map((void *)mine, rank);
    }
};

static inline cluster_group this_cluster()
{
    return {};
}

} // namespace cooperative_groups

#endif
