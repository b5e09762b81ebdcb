/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_BANDITS_WARP_H
#define SG_CUDA_BANDITS_WARP_H

/* One run by one warp with its row in registers: the arithmetic of bandits_kernel.h for a block of one warp, in its
 * order, so the same bits. Lane t has arms t * depth and on, `most` of them with those that are not there at q = 0,
 * which changes no sum; lane j has sample j. No lane waits for another warp. */
#include "backend/cuda/bandits_kernel.h"

enum { BANDIT_MOST_SAMPLES = SG_WARP };

/* What the lanes of a warp tell each other. Cell k * SG_WARP + t is arm k of lane t. */
template <typename real, int most> struct bandit_board {
    real mass[2 * SG_WARP]; /* zeros, then the mass of each lane */
    real row[most * SG_WARP];
    unsigned touched[SG_WARP]; /* bit k: arm k of the lane was drawn */
};

template <typename real> struct bandit_sample {
    bool live;
    unsigned cell, peers; /* lanes that drew the same arm */
    unsigned crowd;       /* the most lanes that any arm has; the same in all lanes */
    real old, now, advantage, logp_old;
};

template <typename real, int most> struct bandit_warp {
    const bandit_tables<real> &b;
    const real *reward; /* [most * SG_WARP], in shared memory */
    bandit_board<real, most> &board;
    unsigned lane;
    real q[most], before, mass, total_then;

    typedef bandit_precision<real> maths;

    __device__ bandit_warp(const bandit_tables<real> &tables, const real *rewards,
                           bandit_board<real, most> &shared)
        : b(tables), reward(rewards), board(shared), lane(threadIdx.x % SG_WARP)
    {
        board.mass[lane] = 0;
        for (int k = 0; k < most; k++)
            q[k] = (unsigned)k < b.depth ? b.start[k * SG_WARP + lane] : 0;
    }

    /* J. The mass before a lane is added up one lane after the other: from the zeros on, all lanes at once. */
    __device__ real accumulate()
    {
        real gain = 0;
        mass = 0;
        for (int k = 0; k < most; k++) {
            mass += q[k];
            gain += q[k] * reward[k * SG_WARP + lane];
        }
        __syncwarp();
        board.mass[SG_WARP + lane] = mass;
        __syncwarp();
        before = 0;
        for (int i = 0; i < SG_WARP; i++)
            before += board.mass[lane + i];
        total_then = __shfl_sync(SG_EVERY_LANE, before + mass, SG_WARP - 1);
        return sg_warp_sum(gain) / total_then;
    }

    __device__ void show_row()
    {
        __syncwarp();
        for (int k = 0; k < most; k++)
            board.row[k * SG_WARP + lane] = q[k];
        board.touched[lane] = 0;
        __syncwarp();
    }

    /* The last lane with before <= target, then the first of its arms whose running sum exceeds the rest. */
    __device__ unsigned draw(real uniform) const
    {
        real target = uniform * total_then;
        unsigned from = 0;
        for (unsigned half = SG_WARP / 2; half > 0; half /= 2)
            if (__shfl_sync(SG_EVERY_LANE, before, (int)(from + half)) <= target)
                from += half;
        real rest = target - __shfl_sync(SG_EVERY_LANE, before, (int)from), sum = 0;
        real edge = __shfl_sync(SG_EVERY_LANE, mass, (int)from) * maths::below_one;
        rest = rest < edge ? rest : edge;
        unsigned arm = b.depth - 1; /* of masses that are not numbers */
        bool found = false;
        for (int k = 0; k < most; k++) {
            sum += board.row[k * SG_WARP + from];
            bool here = !found && sum > rest;
            arm = here ? (unsigned)k : arm;
            found = found || here;
        }
        return arm * SG_WARP + from;
    }

    __device__ bandit_sample<real> draw_all(uint32_t replicate, uint32_t step)
    {
        bandit_sample<real> s;
        show_row();
        sg_address address = {b.seed, SG_STREAM_ROLLOUT, step, replicate, lane, 0};
        double u = sg_rng_uniform(address), below = maths::below_one;
        s.live = lane < b.samples;
        s.cell = draw((real)(u < below ? u : below));
        s.old = s.now = board.row[s.cell];
        s.logp_old = maths::log(s.old / total_then);
        unsigned alike = __match_any_sync(SG_EVERY_LANE, s.live ? s.cell : ~0u);
        s.peers = s.live ? alike : 0;
        s.crowd = sg_warp_max((unsigned)__popc(s.peers));
        if (s.live)
            atomicOr(&board.touched[s.cell % SG_WARP], 1u << s.cell / SG_WARP);
        advantages(&s);
        return s;
    }

    __device__ void advantages(bandit_sample<real> *s) const
    {
        real r = reward[s->cell], one = __shfl_sync(SG_EVERY_LANE, r, 0), n = (real)b.samples;
        real sum = 0, square = 0, differs = 0, factor = 1;
        if (s->live) {
            sum += r;
            differs += r != one ? 1 : 0;
        }
        real mean = sg_warp_sum(sum) / n;
        differs = sg_warp_sum(differs);
        real a = r - mean;
        if (s->live)
            square += a * a;
        square = sg_warp_sum(square);
        if (b.advantage == SG_ADVANTAGE_GRPO)
            factor = 1 / (sqrt(square / (n - 1)) + b.eps);
        else if (b.advantage == SG_ADVANTAGE_RLOO)
            factor = n / (n - 1);
        s->advantage = differs == 0 ? 0 : a * factor;
    }

    /* 0 of lanes without a sample. */
    __device__ real push(const bandit_sample<real> &s, const sg_bandit &run, real scale) const
    {
        if (!s.live)
            return 0;
        real ratio = s.now * scale / s.old;
        typename maths::point at = {maths::log(ratio), ratio, ratio - 1, s.logp_old};
        return (real)(run.lr / (double)b.samples) *
               maths::coefficient(run.objective, at, s.advantage) * s.advantage;
    }

    /* From lane to lane among those that drew the same arm, in their order. */
    template <typename add>
    __device__ real join(const bandit_sample<real> &s, real mine, real each, add join_one) const
    {
        unsigned left = s.peers;
        for (unsigned k = 0; k < s.crowd; k++) {
            int from = left ? __ffs((int)left) - 1 : (int)lane;
            real other = __shfl_sync(SG_EVERY_LANE, each, from);
            mine = left ? join_one(mine, other) : mine;
            left &= left - 1;
        }
        return mine;
    }

    /* What the samples' lanes know of their arms goes to the lanes that have them. */
    __device__ void take_touched(const bandit_sample<real> &s)
    {
        __syncwarp();
        if (s.peers && __ffs((int)s.peers) - 1 == (int)lane)
            board.row[s.cell] = s.now;
        __syncwarp();
        unsigned touched = board.touched[lane];
        for (int k = 0; k < most; k++)
            if (touched >> k & 1)
                q[k] = board.row[k * SG_WARP + lane];
    }

    __device__ void move_near(bandit_sample<real> *s, real kappa, real pushed, bool moves)
    {
        if (moves) {
            for (int k = 0; k < most; k++)
                q[k] = maths::scale_exp_near(q[k], -kappa * q[k]);
            s->now = maths::scale_exp_near(s->now, -kappa * s->now);
        }
        s->now = join(*s, s->now, maths::exp(pushed), [](real x, real y) { return x * y; });
        take_touched(*s);
    }

    __device__ void move_far(bandit_sample<real> *s, real kappa, real pushed)
    {
        for (int k = 0; k < most; k++)
            q[k] = maths::log(q[k]) - kappa * q[k];
        s->now = maths::log(s->now) - kappa * s->now;
        s->now = join(*s, s->now, pushed, [](real x, real y) { return x + y; });
        take_touched(*s);
        real peak = (real)-INFINITY;
        for (int k = 0; k < most; k++)
            peak = q[k] > peak ? q[k] : peak;
        peak = sg_warp_max(peak);
        for (int k = 0; k < most; k++)
            q[k] = maths::exp(q[k] - peak);
        s->now = maths::exp(s->now - peak);
    }

    /* sum q, kept in [2^-20, 2^20] by an exact power of two. */
    __device__ real rescale(bandit_sample<real> *s)
    {
        real sum = 0;
        for (int k = 0; k < most; k++)
            sum += q[k];
        real total = sg_warp_sum(sum);
        if (!(total < (real)0x1p-20 || total > (real)0x1p20) || total > (real)0x1p120 ||
            !(total > (real)0x1p-120))
            return total;
        real power = (real)ldexp(1.0, -ilogb((double)total));
        for (int k = 0; k < most; k++)
            q[k] *= power;
        s->now *= power;
        return total * power;
    }

    __device__ void step(const sg_bandit &run, uint32_t number)
    {
        bandit_sample<real> s = draw_all(run.replicate, number);
        real total = total_then;
        for (unsigned k = 0; k < b.updates; k++) {
            real pushed = push(s, run, total_then / total);
            real sum = sg_warp_sum(pushed), size = sg_warp_sum(pushed < 0 ? -pushed : pushed);
            real kappa = sum / total;
            bool moves = !((sum < 0 ? -sum : sum) < maths::no_move);
            if (size <= 32)
                move_near(&s, kappa, pushed, moves);
            else
                move_far(&s, kappa, pushed);
            total = rescale(&s);
        }
    }

    __device__ void run(size_t number)
    {
        const sg_bandit &which = b.run[number];
        double *value = b.value + number * (b.steps + 1);
        real mean = accumulate();
        if (lane == 0)
            value[0] = (double)mean;
        for (unsigned t = 0; t < b.steps; t++) {
            step(which, t);
            mean = accumulate();
            if (lane == 0)
                value[t + 1] = (double)mean;
        }
        if (!b.logits)
            return;
        show_row();
        for (unsigned v = lane; v < b.arms; v += SG_WARP)
            b.logits[number * b.arms + v] =
                sg_log((double)board.row[v % b.depth * SG_WARP + v / b.depth]);
    }
};

#endif
