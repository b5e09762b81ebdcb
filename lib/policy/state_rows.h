/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_STATE_ROWS_H
#define SG_STATE_ROWS_H

#include "backend/light_rows.h"
#include "policy/policy.h"

/* The rows of a table, dense (backend/backend.h) or light (backend/light_rows.h), behind the same
 * calls. Exactly one pointer is set. Light rows know plain gradient ascent only, are in double
 * precision, and draw in another order. */
typedef struct sg_state_rows {
    sg_backend_kind backend;
    sg_rows *dense;
    sg_light_rows *light;
} sg_state_rows;

/* Most bytes of such rows; a double, since they may exceed any size_t. */
double sg_state_rows_bytes(const sg_rows_config *config, bool light);

/* Every row at `logits`, [vocabulary]. SG_EARGUMENT, SG_ENOMEM, SG_EDATA as the backend says. */
sg_status sg_state_rows_alloc(sg_state_rows *rows, sg_backend_kind backend,
                              const sg_rows_config *config, bool light, const double *logits,
                              sg_error *error);
sg_status sg_state_rows_clone(sg_state_rows *rows, const sg_rows_config *config,
                              const sg_state_rows *source, sg_error *error);
void sg_state_rows_free(sg_state_rows *rows);
const char *sg_state_rows_name(const sg_state_rows *rows);
/* As sg_rows_status: what a call below met that has no status of its own. */
sg_status sg_state_rows_status(const sg_state_rows *rows, sg_error *error);

sg_status sg_state_rows_copy(sg_state_rows *rows, const sg_state_rows *source, sg_error *error);
/* The logits alone. */
sg_status sg_state_rows_adopt(sg_state_rows *rows, const sg_state_rows *source, sg_error *error);
void sg_state_rows_forget(sg_state_rows *rows);
size_t sg_state_rows_save(const sg_state_rows *rows, void *to);
sg_status sg_state_rows_load(sg_state_rows *rows, const void *from, size_t size, sg_error *error);

void sg_state_rows_get_logits(const sg_state_rows *rows, size_t state, double *logits);
/* As sg_rows_get_mean_square: NaN where the optimiser keeps none. */
void sg_state_rows_get_mean_square(const sg_state_rows *rows, size_t state, size_t vocabulary,
                                   double *mean_square);
void sg_state_rows_draw(const sg_state_rows *rows, size_t first, size_t count, size_t n,
                        const double *uniforms, int32_t *tokens, double *log_prob);
void sg_state_rows_log_prob(const sg_state_rows *rows, size_t first, size_t count, size_t n,
                            const int32_t *tokens, double *log_prob);
sg_status sg_state_rows_update(sg_state_rows *rows, const sg_policy_step *step, size_t first,
                               size_t count, size_t n, const int32_t *tokens, const double *pushes,
                               sg_row_change *change, sg_error *error);
void sg_state_rows_observe(const sg_state_rows *rows, size_t first, size_t count,
                           sg_row_observation *observation);
void sg_state_rows_collision(const sg_state_rows *rows, size_t first, size_t count,
                             double *collision);
void sg_state_rows_masses(const sg_state_rows *rows, size_t sets, const size_t *state,
                          const size_t *start, const int32_t *tokens, double *mass);

/* The exact expected reward of each prompt, [prompts], where state prompt * length + position has the
 * row of a position. SG_ENOMEM, or what the backend says. */
sg_status sg_state_rows_expected_reward(const sg_state_rows *rows, size_t prompts, size_t length,
                                        size_t head, const sg_reward *reward, double *expected,
                                        sg_error *error);

#endif
