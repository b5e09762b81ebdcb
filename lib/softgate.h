/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_SOFTGATE_H
#define SG_SOFTGATE_H

/* softgate: the policy objectives of LLM reinforcement learning as mathematical objects.
 *
 * A policy update looks at r = pi_new(token) / pi_old(token) and an advantage A. Every objective is a
 * surrogate f(r, A) A; its weight w = df/dr and coefficient c = r w decide what the optimiser does.
 *
 *   core/status.h       status codes and the sentence that explains an error
 *   core/table.h        the one currency: named columns and metadata
 *   core/rng.h          random numbers that are functions of their address
 *   core/stats.h        means, quantiles, bootstrap intervals, survival curves
 *   io/table_io.h       tables to and from CSV, JSON and NPZ
 *   objective/gate.h        the maths of every gate, for C and CUDA
 *   objective/objective.h   methods and their parameters by name: "sapo:tau_pos=1,tau_neg=1.05"
 *   objective/replay.h      exact loss and gradient of a batch of tokens
 *   objective/advantage.h   advantages from rewards;  objective/kl.h  KL estimators
 *   curve/curve.h       objectives on a grid of ratios, as a table
 *   backend/backend.h   rows of softmax policies with large vocabularies: draw, update, observe
 *   backend/gates.h     gates over arrays of millions of ratios
 *   backend/light_rows.h, backend/bandits.h   plain SGD at a cost free of the vocabulary; thousands of small runs
 *   policy/policy.h     what the simulator trains: table, tree, network
 *   sim/config.h, sim/simulate.h   experiments and their training runs, as a table
 *   sim/collapse.h      when a run failed, and how
 *
 * Conventions: fallible functions return sg_status and take an sg_error last; the caller owns what *_alloc and
 * *_read return and frees it with *_free; nothing prints, exits or keeps global state; what is const may be
 * shared by threads. Doubles are the reference; results do not depend on threads or instruction sets.
 *
 * Ten lines to start with:
 *   sg_objective sapo;
 *   sg_error error;
 *   if (sg_objective_parse(&sapo, "sapo:tau_pos=1,tau_neg=1.05", &error) != SG_OK)
 *       fprintf(stderr, "%s\n", error.message);
 *   sg_gate_value v = sg_objective_eval(&sapo, log(2), +1, -1);   // v.weight is 0.786448
 */
#ifdef __cplusplus /* the standard headers first, as they must not stand in extern "C" */
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
extern "C" {
#endif
#include "backend/backend.h"
#include "backend/bandits.h"
#include "backend/gates.h"
#include "backend/light_rows.h"
#include "core/rng.h"
#include "core/stats.h"
#include "core/status.h"
#include "core/table.h"
#include "core/text.h"
#include "curve/curve.h"
#include "io/table_io.h"
#include "objective/advantage.h"
#include "objective/aggregate.h"
#include "objective/batch.h"
#include "objective/gate.h"
#include "objective/kl.h"
#include "objective/objective.h"
#include "objective/replay.h"
#include "objective/sequence.h"
#include "policy/policy.h"
#include "sim/collapse.h"
#include "sim/config.h"
#include "sim/simulate.h"
#ifdef __cplusplus
}
#endif

#endif
