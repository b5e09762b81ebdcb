/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_OPTIMIZER_H
#define SG_OPTIMIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "core/status.h"

/* Optimisers on a flat array of parameters that is divided into tensors. They ASCEND the gradient
 * g:
 *
 *   sgd           delta = lr g
 *   momentum      b = beta1 b + g                                delta = lr b
 *   adam          m = beta1 m + (1-beta1) g, v = beta2 v + (1-beta2) g^2,
 *                 mhat = m / (1 - beta1^t), vhat = v / (1 - beta2^t)
 *                                                 delta = lr mhat / (sqrt(vhat) + eps)
 *   adamw         adam, and                       delta -= lr weight_decay theta
 *   coupled-adam  adam, but in tensors that run over the vocabulary vhat is its mean over the
 *                 vocabulary, one number a column (2502.08441): like sgd, and unlike adam, this
 *                 keeps sum_v delta_v = 0 where sum_v g_v = 0
 *
 * Adam: Kingma and Ba (1412.6980), AdamW: Loshchilov and Hutter (1711.05101). By hand: the first
 * step of adam with lr 0.1 and g = -3 is -0.1 (eps = 0). */
typedef enum sg_rule {
    SG_RULE_SGD,
    SG_RULE_MOMENTUM,
    SG_RULE_ADAM,
    SG_RULE_ADAMW,
    SG_RULE_COUPLED_ADAM
} sg_rule;

/* The learning rate at step t = 1, 2, ...: lr * min(1, t / warmup) * decay, where decay falls from
 * 1 at t = warmup to `floor` at t = total, in a straight line or along half a cosine. */
typedef enum sg_schedule_kind {
    SG_SCHEDULE_CONSTANT,
    SG_SCHEDULE_LINEAR,
    SG_SCHEDULE_COSINE
} sg_schedule_kind;

typedef struct sg_schedule {
    sg_schedule_kind kind;
    uint64_t warmup; /* steps; 0: none */
    uint64_t total;  /* steps; linear and cosine: > warmup */
    double floor;    /* in [0, 1] */
} sg_schedule;

double sg_schedule_factor(const sg_schedule *schedule, uint64_t step);

typedef struct sg_rule_config {
    sg_rule rule;
    double lr;           /* > 0 */
    double beta1, beta2; /* in [0, 1) */
    double eps;          /* >= 0 */
    double weight_decay; /* >= 0; adamw */
    double clip_norm;    /* > 0: the gradient is scaled down to this 2-norm; 0: never */
    sg_schedule schedule;
} sg_rule_config;

/* SG_EARGUMENT names the field that is out of range. */
sg_status sg_rule_check(const sg_rule_config *config, sg_error *error);

/* rows x columns numbers from values[offset] on, row by row. */
typedef struct sg_tensor {
    char name[24];
    size_t offset, rows, columns;
    bool over_vocabulary; /* a row is a token */
    bool trained;         /* optimisers leave it alone otherwise */
} sg_tensor;

struct sg_flat;

/* State of an optimiser: what survives from step to step. */
typedef struct sg_tensor_optimizer sg_tensor_optimizer;

/* The tensors are copied; `size` is the length of the flat arrays. SG_EARGUMENT, SG_ENOMEM. */
sg_status sg_tensor_optimizer_alloc(sg_tensor_optimizer **optimizer, const sg_rule_config *config,
                                    sg_precision precision, const sg_tensor *tensors, size_t count,
                                    size_t size, sg_error *error);
/* With its state on that backend, where the numbers are. Calls that can fail may then also return what backend/cuda/device.h says. */
sg_status sg_tensor_optimizer_alloc_on(sg_tensor_optimizer **optimizer,
                                       const sg_rule_config *config, sg_precision precision,
                                       const sg_tensor *tensors, size_t count, size_t size,
                                       sg_backend_kind backend, sg_error *error);
void sg_tensor_optimizer_free(sg_tensor_optimizer *optimizer);
/* Fails on a device only. */
sg_status sg_tensor_optimizer_copy(sg_tensor_optimizer *optimizer,
                                   const sg_tensor_optimizer *source, sg_error *error);

/* Zero the state, as at the start. */
void sg_tensor_optimizer_forget(sg_tensor_optimizer *optimizer);

/* For callers that keep their own schedule: the learning rate and the clip (0: none) of the next
 * step, and its number, from 1. */
void sg_tensor_optimizer_set(sg_tensor_optimizer *optimizer, double lr, double clip_norm,
                             uint64_t time);

typedef struct sg_step_report {
    double grad_norm;   /* 2-norm of the gradient of all trained tensors, before clipping */
    double clip_factor; /* what the gradient was multiplied by, <= 1 */
    double lr;          /* after the schedule */
    double delta_norm;  /* 2-norm of the step */
} sg_step_report;

/* Take one step's worth: `gradient` is replaced by delta (0 in tensors that are not trained), and
 * the state moves on. All threads; results do not depend on their number. */
sg_step_report sg_tensor_optimizer_delta(sg_tensor_optimizer *optimizer, const void *parameters,
                                         void *gradient);
/* The step taken: parameters += delta, wherever the numbers are (policy/flat.h), with the same bits. Where a report is asked for, the
 * gradient becomes delta; otherwise what it holds afterwards is not said, and a device that has all
 * trained tensors is not waited for: what fails there is reported by a later call. */
sg_status sg_tensor_optimizer_move(sg_tensor_optimizer *optimizer, const struct sg_flat *parameters,
                                   const struct sg_flat *gradient, sg_step_report *report,
                                   sg_error *error);

/* parameters += scale * delta, over `size` numbers. */
void sg_tensor_add(sg_precision precision, size_t size, double scale, const void *delta,
                   void *parameters);

/* Squared 2-norm of one tensor, summed in fp64 in a fixed order. */
double sg_tensor_norm2(sg_precision precision, const sg_tensor *tensor, const void *values);

/* vhat of one element, for statistics; 0 for rules without it and before the first step. */
double sg_tensor_optimizer_second(const sg_tensor_optimizer *optimizer, size_t tensor, size_t row,
                                  size_t column);
uint64_t sg_tensor_optimizer_time(const sg_tensor_optimizer *optimizer);

/* The exact state as bytes and back, the same for the CPU and a device. write needs
 * sg_tensor_optimizer_bytes, and fails on a device only; read returns SG_EDATA
 * for bytes of another configuration of tensors or of another rule. */
size_t sg_tensor_optimizer_bytes(const sg_tensor_optimizer *optimizer);
sg_status sg_tensor_optimizer_write(const sg_tensor_optimizer *optimizer, void *bytes,
                                    sg_error *error);
sg_status sg_tensor_optimizer_read(sg_tensor_optimizer *optimizer, const void *bytes, size_t size,
                                   sg_error *error);

#endif
