/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_HEAD_DEVICE_H
#define SG_HEAD_DEVICE_H

#include "policy/head_pass.h"

/* The output layer on a CUDA device: what head.h declares, for a pass of that backend. */
/* Its stream: what is queued there before a call comes before it. */
sg_status sg_head_device_open(sg_head_pass *pass, sg_cuda_stream **stream, sg_error *error);

sg_status sg_head_device_load(sg_head_pass *pass, const sg_head *head, const void *hidden,
                              size_t rows, sg_error *error);
sg_status sg_head_device_forward(sg_head_pass *pass, const sg_head *head, const void *hidden,
                                 size_t rows, const sg_head_samples *samples, double *log_prob,
                                 sg_error *error);
sg_status sg_head_device_backward(sg_head_pass *pass, const sg_head *head,
                                  const sg_head_samples *samples, const double *pushes,
                                  sg_diffuse diffuse, const sg_head_gradient *gradient,
                                  sg_error *error);
sg_status sg_head_device_observe(sg_head_pass *pass, const sg_head *head,
                                 sg_row_observation *observation, sg_error *error);
sg_status sg_head_device_diverge(sg_head_pass *a, const sg_head *head_a, sg_head_pass *b,
                                 const sg_head *head_b, sg_divergence *divergence, sg_error *error);
sg_status sg_head_device_rise(sg_head_pass *a, const sg_head *head_a, sg_head_pass *b,
                              const sg_head *head_b, const sg_head_samples *samples, double *most,
                              sg_error *error);
sg_status sg_head_device_logits(sg_head_pass *pass, const sg_head *head, size_t first, size_t count,
                                void *out, sg_error *error);

/* For benchmarks: queue the last forward, or the last backward, again, on what is on the device; nothing
 * is copied or waited for. The backward must have had a push. */
sg_status sg_head_device_repeat_forward(const sg_head_pass *pass, sg_error *error);
sg_status sg_head_device_repeat_backward(const sg_head_pass *pass, sg_error *error);
sg_cuda_stream *sg_head_device_stream(const sg_head_pass *pass);

#endif
