/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inner updates of rows that stay on the chip: a cluster of blocks takes a row into its shared memory, a part of
 * the tiles to each block, makes all updates there, and writes it back. Memory sees one read and one
 * write, the host one launch.
 *
 * Every block evaluates the gates of all samples and the rule of the row for itself, from the same numbers, so nothing
 * is decided in one place and told to others. What blocks tell each other is the mass of every tile and q of
 * every sample, once an update: the owner of a tile writes it into the memory of all blocks. There are two
 * such boards, used by turns, so one barrier of the cluster an update is enough: who writes to a board has
 * passed a barrier that its last readers have passed too. */
#include "backend/cuda/cluster.h"

#include "backend/cuda/rows_resident.h"
#include "backend/cuda/rows_tile.h"

namespace
{

enum {
    TILES_WANTED = 16, /* of a block, as long as the cluster can grow */
    WARPS_MOST = 16,
    SHARED_OF_TWO = 113 * 1024, /* two blocks with this much fit on a multiprocessor */
};

/* Blocks are as large as their number on a multiprocessor lets them be: three for sgd at 131072 tokens. */
template <int kind> struct resident_of {
    enum {
        WARPS = kind == SG_SGD ? WARPS_MOST / 2 : WARPS_MOST,
        THREADS = WARPS * SG_WARP,
        BLOCKS = kind == SG_SGD ? 3 : 1
    };
};

/* Of a tile or of tiles added up: a sum, and the greatest part of it. */
struct row_part {
    double sum, best;
};

#if SG_HAS_CLUSTERS

struct add_parts {
    __device__ void operator()(row_part *a, const row_part *b) const
    {
        a->sum += b->sum;
        a->best = b->best > a->best ? b->best : a->best;
    }
};

#endif

/* What one thread settles and all threads of the block read. */
struct row_settled {
    sg_row_job job;
    sg_row_head head;
    double peaks[WARPS_MOST], peak[SG_CLUSTER_MOST];
};

/* A block's shared memory. */
template <typename real> struct row_memory {
    real *q, *m, *v;       /* [tiles of the block][ROW_PITCH] */
    double *mass, *square; /* [tiles of the block]; square: of gradients, for coupled-adam */
    row_part *parts;       /* two boards: [2][tiles of the row] */
    double *sampled;       /* [2][n] q of the samples */
    row_settled *settled;
    double *push;             /* [n] */
    sg_cuda_touched *touched; /* [n] */
    int32_t *next;            /* [n] the next sample of the same token, or -1 */
    size_t bytes;

    /* The host asks for the number of bytes only, from any base. */
    SG_HD row_memory(char *base, size_t tiles, size_t row_tiles, size_t n, size_t arrays)
    {
        char *at = base;
        q = take<real>(&at, tiles * ROW_PITCH);
        m = arrays > 1 ? take<real>(&at, tiles * ROW_PITCH) : nullptr;
        v = arrays > 2 ? take<real>(&at, tiles * ROW_PITCH) : nullptr;
        mass = take<double>(&at, tiles);
        square = take<double>(&at, tiles);
        parts = take<row_part>(&at, 2 * row_tiles);
        sampled = take<double>(&at, 2 * n);
        settled = take<row_settled>(&at, 1);
        push = take<double>(&at, n);
        touched = take<sg_cuda_touched>(&at, n);
        next = take<int32_t>(&at, n);
        bytes = (size_t)(at - base);
    }
    template <typename T> static SG_HD T *take(char **at, size_t n)
    {
        T *taken = (T *)*at;
        *at += (n * sizeof(T) + 15) / 16 * 16;
        return taken;
    }
};

struct resident_arguments {
    sg_cuda_table rows;
    sg_cuda_range range;
    sg_rows_step step;
    uint64_t updates;
    size_t n, tiles_of_block;
    const int32_t *tokens; /* [count][n] */
    sg_cuda_gates gates;
};

#if SG_HAS_CLUSTERS

/* One block of a cluster at work on its part of a row. All threads call every function. */
template <typename real, int kind> struct resident_row {
    const resident_arguments &in;
    cooperative_groups::cluster_group cluster;
    row_memory<real> memory;
    size_t s, state, first, tiles; /* tiles first .. first + tiles - 1 of the row are here */
    unsigned turn, warp, team;
    const int32_t *tokens;

    __device__ resident_row(const resident_arguments &arguments, char *shared)
        : in(arguments), cluster(cooperative_groups::this_cluster()),
          memory(shared, arguments.tiles_of_block, arguments.rows.tiles, arguments.n,
                 kind == SG_SGD        ? 1
                 : kind == SG_MOMENTUM ? 2
                                       : 3)
    {
        s = blockIdx.x / cluster.num_blocks();
        state = in.range.first + s;
        first = cluster.block_rank() * in.tiles_of_block;
        tiles = first >= in.rows.tiles ? 0 : in.rows.tiles - first;
        tiles = tiles < in.tiles_of_block ? tiles : in.tiles_of_block;
        turn = 0;
        warp = threadIdx.x / SG_WARP;
        team = threadIdx.x / SG_LANES;
        tokens = in.tokens + s * in.n;
    }

    /* A tile of this block, in shared memory. */
    __device__ row_tile<real> tile(size_t t) const
    {
        row_tile<real> here;
        size_t at = t * ROW_PITCH, rest = in.rows.padded - (first + t) * SG_TILE;
        here.q = memory.q + at;
        here.m = kind != SG_SGD ? memory.m + at : nullptr;
        here.v = kind == SG_ADAM ? memory.v + at : nullptr;
        here.mass = memory.mass + t;
        here.n = rest < SG_TILE ? rest : (size_t)SG_TILE;
        return here;
    }

    /* The tile of a sampled token, counted from the first one here, if it is here. */
    __device__ bool holds(size_t j, size_t *t) const
    {
        *t = (size_t)tokens[j] / SG_TILE - first;
        return *t < tiles;
    }

    __device__ void copy(bool in_or_out)
    {
        for (size_t t = warp; t < tiles; t += blockDim.x / SG_WARP) {
            row_tile<real> here = tile(t), there(in.rows, state, first + t);
            row_tile<real> &to = in_or_out ? here : there, &from = in_or_out ? there : here;
            unsigned n = (unsigned)here.n;
            copy_wide(to.q, from.q, n);
            if (kind != SG_SGD)
                copy_wide(to.m, from.m, n);
            if (kind == SG_ADAM)
                copy_wide(to.v, from.v, n);
            if (threadIdx.x % SG_WARP == 0)
                *to.mass = *from.mass;
        }
    }

    __device__ void begin()
    {
        copy(true);
        for (size_t j = threadIdx.x; j < in.n; j += blockDim.x) {
            bool earlier = false;
            for (size_t i = 0; i < j && !earlier; i++)
                earlier = tokens[i] == tokens[j];
            size_t i = j + 1;
            while (i < in.n && tokens[i] != tokens[j])
                i++;
            memory.next[j] = i < in.n ? (int32_t)i : -1;
            memory.touched[j].token = earlier ? -1 : tokens[j];
        }
        if (threadIdx.x == 0) {
            const sg_cuda_norm *norm = &in.rows.norm[state];
            const sg_cuda_moment *moment = &in.rows.moment[state];
            memory.settled->head = {norm->total, norm->exponent, moment->bound, moment->second};
        }
        cluster.sync(); /* the others are there */
        tell(memory.mass);
    }

    __device__ void end()
    {
        __syncthreads();
        copy(false);
        if (cluster.block_rank() != 0)
            return;
        for (size_t j = threadIdx.x; j < in.n; j += blockDim.x)
            in.gates.pushes[s * in.n + j] = memory.push[j];
        if (threadIdx.x == 0) {
            const sg_row_head *head = &memory.settled->head;
            in.rows.norm[state] = {head->total, head->exponent};
            in.rows.moment[state] = {head->bound, head->second};
        }
    }

    /* ---- The board ---- */

    /* Tells every block a number of each tile here and the samples' q; the sum over the row. */
    __device__ row_part tell(const double *numbers)
    {
        unsigned blocks = cluster.num_blocks();
        turn ^= 1;
        row_part *parts = memory.parts + turn * in.rows.tiles;
        double *sampled = memory.sampled + turn * in.n;
        __syncthreads();
        for (size_t i = threadIdx.x; i < tiles * blocks; i += blockDim.x) {
            size_t t = i / blocks;
            double x = numbers[t];
            *cluster.map_shared_rank(&parts[first + t], (unsigned)(i % blocks)) = {x,
                                                                                   x > 0 ? x : 0};
        }
        for (size_t i = threadIdx.x; i < in.n * blocks; i += blockDim.x) {
            size_t t, j = i / blocks;
            if (holds(j, &t))
                *cluster.map_shared_rank(&sampled[j], (unsigned)(i % blocks)) =
                    (double)memory.q[t * ROW_PITCH + (size_t)tokens[j] % SG_TILE];
        }
        cluster.sync();
        add_in_tree(parts, in.rows.tiles, add_parts());
        return parts[0];
    }

    __device__ void weigh()
    {
        __syncthreads();
        for (size_t t = team; t < tiles; t += blockDim.x / SG_LANES) {
            double sum = tile_mass(memory.q + t * ROW_PITCH, tile(t).n);
            if (threadIdx.x % SG_LANES == 0)
                memory.mass[t] = sum;
        }
    }

    /* The new normaliser; q is divided by a power of two when it has gone too far. */
    __device__ void settle_masses()
    {
        weigh();
        row_part all = tell(memory.mass);
        int exponent = sg_row_rebase_exponent(all.best);
        if (exponent != 0) {
            real factor = (real)ldexp(1.0, -exponent);
            for (size_t t = warp; t < tiles; t += blockDim.x / SG_WARP)
                for (size_t i = threadIdx.x % SG_WARP; i < tile(t).n; i += SG_WARP)
                    memory.q[t * ROW_PITCH + i] *= factor;
            weigh();
            all = tell(memory.mass);
        }
        if (threadIdx.x == 0) {
            memory.settled->head.total = all.sum;
            memory.settled->head.exponent += exponent;
        }
        __syncthreads();
    }

    /* ---- What the row is to do ---- */

    __device__ void push()
    {
        double total = memory.settled->head.total, *sampled = memory.sampled + turn * in.n;
        for (size_t j = threadIdx.x; j < in.n; j += blockDim.x)
            memory.push[j] = push_of(in.gates, sampled[j], total, s * in.n + j);
        __syncthreads();
        for (size_t j = threadIdx.x; j < in.n; j += blockDim.x) {
            double sum = 0;
            for (int32_t i = (int32_t)j; i >= 0 && memory.touched[j].token >= 0; i = memory.next[i])
                sum += memory.push[i];
            memory.touched[j].push = sum;
        }
    }

    /* coupled-adam: the squared gradient. Samples' q are put aside, so that the others can be summed. */
    __device__ double mean_square()
    {
        const sg_row_job *job = &memory.settled->job;
        put_samples_aside();
        for (size_t t = team; t < tiles; t += blockDim.x / SG_LANES) {
            const real *q = memory.q + t * ROW_PITCH;
            double sum = 0;
            if (job->gradient != 0)
                sum = job->gradient * job->gradient * sum_in_lanes(tile(t).n, [q](size_t i) {
                          return (double)q[i] * (double)q[i];
                      });
            if (threadIdx.x % SG_LANES > 0)
                continue;
            for (size_t j = 0; j < in.n; j++) {
                const sg_cuda_touched *one = &memory.touched[j];
                if (place_in_tile(one, first + t) >= SG_TILE)
                    continue;
                double g = one->push + job->gradient * one->q;
                sum += g * g;
            }
            memory.square[t] = sum;
        }
        take_samples_back();
        return tell(memory.square).sum / (double)in.rows.config.vocabulary;
    }

    __device__ void put_samples_aside()
    {
        __syncthreads();
        for_samples_here([&](const row_tile<real> &here, size_t i, sg_cuda_touched *one) {
            one->q = (double)here.q[i];
            here.q[i] = 0;
        });
        __syncthreads();
    }

    __device__ void take_samples_back()
    {
        __syncthreads();
        for_samples_here([](const row_tile<real> &here, size_t i, sg_cuda_touched *one) {
            here.q[i] = (real)one->q;
        });
        __syncthreads();
    }

    /* Calls each(tile, place, sample) for the tokens here that have a sample. */
    template <typename function> __device__ void for_samples_here(function each)
    {
        for (size_t j = threadIdx.x; j < in.n; j += blockDim.x) {
            size_t t;
            if (memory.touched[j].token >= 0 && holds(j, &t))
                each(tile(t), (size_t)tokens[j] % SG_TILE, &memory.touched[j]);
        }
    }

    /* ---- One update ---- */

    __device__ void update(uint64_t time)
    {
        row_settled *settled = memory.settled;
        sg_row_job *job = &settled->job;
        const sg_optimizer *optimizer = &in.step.optimizer;
        bool coupled = kind == SG_MOMENTUM && optimizer->kind == SG_COUPLED_ADAM;
        double square = 0;
        push();
        if (threadIdx.x == 0)
            sg_row_job_init(job, &in.rows.config, settled->head.total, in.n, tokens, memory.push,
                            in.step.projected);
        if (coupled)
            square = mean_square();
        if (threadIdx.x == 0)
            sg_row_job_rule(job, &settled->head, &in.rows.config, optimizer, time, square);
        __syncthreads();
        for_samples_here([job](const row_tile<real> &here, size_t i, sg_cuda_touched *one) {
            touch(here, i, job, one);
        });
        if (!job->near)
            move_offset();
        __syncthreads();
        for (size_t t = warp; t < tiles && !job->sparse; t += blockDim.x / SG_WARP) {
            row_tile<real> here = tile(t);
            change_tile<kind>(here, job, sg_row_reach(job, *here.mass), here.q);
        }
        __syncthreads();
        for_samples_here([job](const row_tile<real> &here, size_t i, sg_cuda_touched *one) {
            settle_touched(here, i, job, one, here.q);
        });
        settle_masses();
    }

    /* Large steps move the offset to the greatest new log q. */
    __device__ void move_offset()
    {
        row_settled *settled = memory.settled;
        double best = greatest_of_row(greatest_log());
        if (threadIdx.x == 0)
            sg_row_job_move(&settled->job, &settled->head, &in.rows.config, best);
        __syncthreads();
    }

    /* The greatest new log q that this thread finds. */
    __device__ double greatest_log()
    {
        double best = -(double)INFINITY;
        typename row_maths<real>::rule rule;
        rule_of(&memory.settled->job, &rule);
        auto better = [&best](double q, double x) {
            double y = sg_log(q) + x;
            best = y > best ? y : best;
        };
        for_samples_here([better](const row_tile<real> &here, size_t i, sg_cuda_touched *one) {
            better((double)here.q[i], (double)(real)one->x);
            here.q[i] = 0; /* log q = -inf is no peak */
        });
        __syncthreads();
        for (size_t t = warp; t < tiles; t += blockDim.x / SG_WARP)
            for_wide<kind, 1>(
                tile(t), [&](unsigned, row_wide<real> &q, row_wide<real> &m, row_wide<real> &v) {
                    for (int k = 0; k < row_wide<real>::N; k++)
                        better((double)q.at[k],
                               (double)change_one<kind>(rule, q.at[k], &m.at[k], &v.at[k]));
                });
        take_samples_back();
        return best;
    }

    __device__ double greatest_of_row(double best)
    {
        row_settled *settled = memory.settled;
        best = sg_warp_max(best);
        if (threadIdx.x % SG_WARP == 0)
            settled->peaks[warp] = best;
        __syncthreads();
        for (unsigned w = 0; w < blockDim.x / SG_WARP; w++)
            best = settled->peaks[w] > best ? settled->peaks[w] : best;
        if (threadIdx.x < cluster.num_blocks())
            *cluster.map_shared_rank(&settled->peak[cluster.block_rank()], threadIdx.x) = best;
        cluster.sync();
        for (unsigned b = 0; b < cluster.num_blocks(); b++)
            best = settled->peak[b] > best ? settled->peak[b] : best;
        return best;
    }
};

#endif

template <typename real, int kind>
__global__ void __launch_bounds__(resident_of<kind>::THREADS, resident_of<kind>::BLOCKS)
    resident_updates(const __grid_constant__ resident_arguments in)
{
#if SG_HAS_CLUSTERS
    SG_DYNAMIC_SHARED(char, shared);
    resident_row<real, kind> row(in, shared);
    row.begin();
    for (uint64_t k = 0; k < in.updates; k++)
        row.update(in.step.time + k);
    row.end();
#endif
}

/* ---- The host ---- */

template <typename real, int kind> sg_cuda_resident plan_of(const sg_cuda_table &rows, size_t n)
{
    sg_cuda_resident plan = {};
    int device = 0, architecture = 0, most = 0;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&architecture, cudaDevAttrComputeCapabilityMajor, device) !=
            cudaSuccess ||
        cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
            cudaSuccess ||
        architecture < 9)
        return plan;
    size_t arrays = sg_optimizer_arrays(rows.config.optimizer);
    for (unsigned cluster = 1; cluster <= SG_CLUSTER_MOST; cluster *= 2) {
        plan.tiles = (rows.tiles + cluster - 1) / cluster;
        plan.bytes = row_memory<real>((char *)16, plan.tiles, rows.tiles, n, arrays).bytes;
        if (plan.bytes > (size_t)most ||
            (plan.tiles > TILES_WANTED && cluster < SG_CLUSTER_PORTABLE))
            continue;
        size_t warps = plan.bytes > SHARED_OF_TWO ? plan.tiles : (plan.tiles + 1) / 2;
        size_t warps_most = resident_of<kind>::WARPS;
        plan.threads = SG_WARP * (unsigned)(warps < warps_most ? warps : warps_most);
        cudaError_t code = sg_cluster_allow(resident_updates<real, kind>, cluster, plan.threads,
                                            plan.bytes, (size_t)most, &plan.at_once);
        if (code == cudaSuccess && plan.at_once > 0) {
            plan.cluster = cluster;
            return plan;
        }
    }
    return plan;
}

template <typename real, int kind>
cudaError_t queue(const sg_cuda_resident &plan, const resident_arguments &in,
                  sg_cuda_stream *stream)
{
    return SG_LAUNCH_CLUSTERS((resident_updates<real, kind>), plan.cluster,
                              (unsigned)in.range.count * plan.cluster, plan.threads, plan.bytes,
                              stream, in);
}

} // namespace

sg_cuda_resident sg_cuda_rows_plan_resident(const sg_cuda_table &rows, size_t n)
{
    sg_cuda_resident plan = SG_FOR_KIND(rows, plan_of, rows, n);
    (void)cudaGetLastError(); /* what cannot be had is no failure */
    return plan;
}

cudaError_t sg_cuda_rows_queue_resident(const sg_cuda_table &rows, const sg_cuda_resident &plan,
                                        sg_cuda_range range, const sg_rows_step &step,
                                        uint64_t updates, size_t n, const int32_t *tokens,
                                        const sg_cuda_gates &gates, sg_cuda_stream *stream)
{
    resident_arguments in = {rows, range, step, updates, n, plan.tiles, tokens, gates};
    return SG_FOR_KIND(rows, queue, plan, in, stream);
}
