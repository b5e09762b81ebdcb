/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_REPLAY_H
#define SG_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "core/table.h"
#include "objective/aggregate.h"
#include "objective/batch.h"
#include "objective/kl.h"
#include "objective/objective.h"

/* What an objective does with a given batch: the exact loss and its derivative by every log-probability,
 *     L = sum_it a_it (token loss_it) (weight_it) + a_it beta KL_it,     dL / d logp_new_it = -a_it A_it c_it + ...
 * in fp64, and the statistics that explain it. */

/* What happens to |log_ratio| > limit. ZERO keeps the value at the limit and gives the token no gradient (verl, SkyRL,
 * OpenRLHF); CAP evaluates value and gradient coefficient at the limit. */
typedef enum sg_clamp_mode { SG_CLAMP_NONE, SG_CLAMP_ZERO, SG_CLAMP_CAP } sg_clamp_mode;

typedef struct sg_replay_options {
    bool natural_aggregate; /* use the objective's own mode instead of `aggregate` */
    sg_aggregate_mode aggregate;
    sg_empty_rows empty;
    double
        norm_length; /* of seq-mean-token-sum-norm; 0: the longest response, masked tokens included */
    sg_clamp_mode clamp;
    double clamp_limit; /* > 0 when clamp is not NONE */
    double kl_beta;     /* 0: no KL term; else logp_ref must be in the batch */
    sg_kl_kind kl;
    /* Bounds of the sequence ratio's logarithm for sequence and product levels; 0, 0 for none. verl and SkyRL cap GSPO's
     * at 10, the VESPO authors' code keeps it within [ln 1e-8, 20]. */
    double sequence_log_low, sequence_log_high;
    /* Of the random choice that clip-cov makes; see rule.h. */
    uint64_t choice_seed;
    uint32_t choice_step;
} sg_replay_options;

/* One token's share, at the objective's own ratio. Masked and non-finite tokens are all zero (ratio NaN). */
typedef struct sg_replay_token {
    double
        log_ratio; /* of the ratio that the gate saw (token, sequence or product), after the clamp */
    double ratio;
    double weight;
    double coefficient;
    double loss;        /* a * token loss: these sum to the batch loss */
    double dloss_dlogp; /* derivative of the batch loss by this token's logp_new */
} sg_replay_token;

enum { SG_REPLAY_LISTED = 5 };

typedef struct sg_replay_summary {
    double loss;
    size_t tokens;               /* live tokens: mask 1 and finite */
    size_t sequences;            /* responses of the batch */
    size_t live_sequences;       /* with a live token */
    sg_aggregate_mode aggregate; /* the mode used */
    size_t nonfinite; /* tokens with mask 1 and a NaN or infinite number: left out of every sum */
    size_t nonfinite_row[SG_REPLAY_LISTED]; /* the first of them, rows of the table from 0 */
    bool on_policy; /* every live log-ratio is 0: all objectives have w = c = 1 */

    double effective_update_ratio; /* EUR: mean weight over live tokens */
    double clipped_fraction;       /* live tokens with c = 0 and A != 0, over live tokens */
    double clipped_fraction_pos;   /* the same among tokens with A > 0 */
    double clipped_fraction_neg;   /* the same among tokens with A < 0 */
    double attenuated_half;        /* live tokens with w < 0.5 */
    double attenuated_tenth;       /* live tokens with w < 0.1 */
    double amplified;              /* live tokens with c > 1 */
    double coefficient_share_neg;  /* share of sum a |A| |c| that A < 0 contributes */
    double ratio_min, ratio_mean, ratio_max; /* of the gate's ratio */
    double log_ratio_min, log_ratio_max;     /* of the token log-ratio, before any clamp */
    double kl_k1, kl_k2,
        kl_k3;  /* KL(old || new) estimated on live tokens: means of -d, d^2/2, r - 1 - d */
    double ess; /* 1 / mean((x / mean x)^2), in (0, 1] */
    double diffuse_push; /* sum a A c: what unsampled logits are pushed down by, in units of pi */
    double beyond_20, beyond_88;   /* live tokens with |d| above */
    double clamped;                /* live tokens that the clamp changed */
    double hidden_pos, hidden_neg; /* share of tokens beyond 20 among A > 0, A < 0 */
    double chosen_share; /* live tokens that the rule of kl-cov or clip-cov chose; else NaN */
    double clip_low, clip_high; /* bounds that bapo moved to; else NaN */
    /* Means over live sequences of the sequence-gate statistics (sequence.h), tau of the sign of the row's advantage;
     * NaN unless the objective has temperatures. Rows whose advantages change sign are left out. */
    double sequence_variance, sequence_deviation, sequence_bound, sequence_deviation_true;
} sg_replay_summary;

/* Replays one objective. tokens: batch->tokens cells in input order, or NULL. SG_EARGUMENT for options that the batch
 * cannot serve; non-finite tokens are counted, not an error. O(tokens). */
sg_status sg_replay(const sg_batch *batch, const sg_objective *objective,
                    const sg_replay_options *options, sg_replay_token *tokens,
                    sg_replay_summary *summary, sg_error *error);

/* Replays several objectives into one table with a row per live token and objective: objective, params, sequence, position,
 * ratio, log_ratio, weight, coefficient, loss, dloss_dlogp. summaries: one per objective. table may be NULL. */
sg_status sg_replay_all(const sg_batch *batch, const sg_objective *objectives, size_t count,
                        const sg_replay_options *options, sg_table **table,
                        sg_replay_summary *summaries, sg_error *error);

#endif
