/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_NET_H
#define SG_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "backend/net_state.h"
#include "core/status.h"
#include "policy/flat.h"
#include "policy/head.h"
#include "policy/optimizer.h"
#include "policy/prior.h"
#include "policy/sampler.h"

/* A small autoregressive policy with a large vocabulary, trained end to end. At position t, with
 * the tokens of the prompt and the last `window` tokens of the response in slots s:
 *
 *   x    = position[t] + sum_s mix[t][s] * embedding(token in slot s)      (* is by element)
 *   x   += sum_e gate_e(n) E_e(n),  n = gain * x / rms(x)                  for each block
 *   z    = W (final_gain * x / rms(x)) + b,   pi = softmax(z / temperature)
 *
 * with E(n) = outer silu(inner n), silu(x) = x / (1 + exp(-x)), rms(x) = sqrt(mean x^2 + 1e-6).
 * Dense blocks have one E and no gates. A mixture of experts scores the experts by router n, takes
 * the top_k of them and softmaxes those scores to gates. An empty slot adds nothing.
 *
 * With frozen_features there are no blocks and no embeddings: h is a fixed random vector for each
 * context, of length sqrt(width), the same for every vocabulary; only W and b learn.
 *
 * At the start W's rows are normal with variance s^2 / width, s = head_std for tokens of the head
 * and tail_std for the tail, and b_v = log prior_v - s^2 / 2. As h has length sqrt(width), a
 * logit's context part has standard deviation s, and the expected mass of the tail relative to the
 * head is the prior's at every vocabulary. Row v is the same at every vocabulary. Without a bias
 * there is no prior. */
typedef enum sg_net_bias { SG_NET_BIAS_NONE, SG_NET_BIAS_FROZEN, SG_NET_BIAS_TRAINED } sg_net_bias;

enum { SG_NET_TENSORS = 7 + 4 * SG_NET_BLOCKS };

typedef struct sg_net_config {
    sg_prior prior;       /* vocabulary V, head, tail */
    size_t width;         /* d, 1..8192 */
    size_t length;        /* positions of a response, 1..65536 */
    size_t prompt_length; /* slots of the prompt, 0..4096 */
    size_t
        prompt_symbols; /* prompts are made of symbols 0..prompt_symbols-1, embedded on their own */
    size_t window;      /* slots of the response, 0..length */
    size_t blocks;      /* 0..8 */
    size_t hidden;      /* width inside an E, 1..65536 */
    size_t experts, top_k; /* experts 0 or 1: dense; else 2..64, top_k 1..experts */
    bool tied;             /* the response's embedding is W */
    bool frozen_features;
    sg_net_bias bias;
    double head_std, tail_std; /* >= 0 */
    double temperature;        /* > 0; of training */
    sg_precision precision;
} sg_net_config;

/* SG_EARGUMENT names the field that is out of range. */
sg_status sg_net_check(const sg_net_config *config, sg_error *error);

/* A point in the space of parameters: a policy, an older policy, a gradient, a step. Its numbers
 * are one flat array of the configuration's precision, divided into tensors; gaps are 0.
 *
 * With a device they are there and stay there. `values` has room for them, which is good between a
 * sg_net_fetch and the next change, and takes no memory before the first of those. */
typedef struct sg_net {
    sg_net_config config;
    uint64_t feature_seed; /* of the frozen features */
    sg_tensor tensors[SG_NET_TENSORS];
    size_t tensor_count;
    size_t size; /* numbers */
    void *values;
    sg_cuda_flat *device; /* NULL: everything is in `values` */
} sg_net;

/* Bytes of the numbers of one sg_net. */
size_t sg_net_bytes(const sg_net_config *config);

/* All zero. SG_EARGUMENT, SG_ENOMEM (the sentence says how much was needed). */
sg_status sg_net_alloc(sg_net **net, const sg_net_config *config, sg_error *error);
/* With its numbers on that backend. Calls that can fail may then also return what backend/cuda/device.h
 * says. */
sg_status sg_net_alloc_on(sg_net **net, const sg_net_config *config, sg_backend_kind backend,
                          sg_error *error);
void sg_net_free(sg_net *net);
/* The numbers from the device to `values` and back, for a look at single numbers, or
 * to set them; nothing to do without a device. Slow: all of them travel. */
sg_status sg_net_fetch(const sg_net *net, sg_error *error);
sg_status sg_net_store(sg_net *net, sg_error *error);
static inline sg_flat sg_net_flat(const sg_net *net)
{
    return (sg_flat){net->config.precision, net->size, net->values, net->device};
}

/* The start described above; random numbers of the stream SG_STREAM_INIT of `seed`. SG_ENOMEM. */
sg_status sg_net_init(sg_net *net, uint64_t seed, sg_error *error);

/* Numbers and feature seed, between equal configurations on one backend. Fails on a device only. */
sg_status sg_net_copy(sg_net *net, const sg_net *source, sg_error *error);

/* A tensor by name, NULL if there is none: "weights", "bias", "tokens", "prompts", "positions",
 * "mix", "final_gain", and in block 0 "gain0", "router0", "inner0", "outer0". Experts lie below
 * each other in inner and outer. */
const sg_tensor *sg_net_tensor(const sg_net *net, const char *name);
double sg_net_get(const sg_net *net, const sg_tensor *tensor, size_t row, size_t column);
void sg_net_set(sg_net *net, const sg_tensor *tensor, size_t row, size_t column, double value);

/* The exact state as bytes and back: sg_net_stored_bytes of them, the same for the CPU and a device.
 * write fails on a device only; read returns SG_EDATA when the bytes are cut, corrupt, or of another
 * configuration; net is then unchanged. */
size_t sg_net_stored_bytes(const sg_net *net);
sg_status sg_net_write(const sg_net *net, void *bytes, sg_error *error);
sg_status sg_net_read(sg_net *net, const void *bytes, size_t size, sg_error *error);

/* ---- positions: N tokens in their contexts */

/* Slots of a context: prompt_length symbols of the prompt in order, then `window` tokens of the
 * response, the latest first, -1 where there is none. */
size_t sg_net_slots(const sg_net_config *config);

typedef struct sg_net_batch {
    size_t count;             /* N >= 1 */
    const int32_t *positions; /* [N], 0..length-1 */
    const int32_t *contexts;  /* [N][slots] */
    const int32_t *tokens;    /* [N], or NULL when none is asked about */
    const uint64_t *routes;   /* [N][blocks] to replay, or NULL: free */
} sg_net_batch;

/* Responses of up to config.length tokens. */
typedef struct sg_net_sequences {
    size_t count;
    const int32_t *prompts; /* [count][prompt_length] */
    int32_t *tokens;        /* [count][length] */
    int32_t *lengths;       /* [count], tokens that there are */
} sg_net_sequences;

/* The positions of all sequences, one after the other, into arrays with room for count * length;
 * sequence[i] is the one that position i belongs to (may be NULL). Returns N. */
size_t sg_net_unroll(const sg_net_config *config, const sg_net_sequences *sequences,
                     int32_t *positions, int32_t *contexts, int32_t *tokens, uint32_t *sequence);

/* ---- the four operations. A pass holds what a forward leaves for the calls after it, and room
 * that is reused. Positions with equal context (and replayed routes) are one row: they share one
 * computation, and their pushes are summed. Rows are numbered as they first occur. */
typedef struct sg_net_pass sg_net_pass;
sg_net_pass *sg_net_pass_alloc(void); /* NULL: no memory */
/* For nets on that backend. Calls may then also return what backend/cuda/device.h says. */
sg_net_pass *sg_net_pass_alloc_on(sg_backend_kind backend);
/* How its output layer multiplies: see sg_head_pass_matmul. */
sg_status sg_net_pass_matmul(sg_net_pass *pass, sg_matmul matmul, sg_error *error);
void sg_net_pass_free(sg_net_pass *pass);

/* log pi of the batch's tokens (log_prob: [N], may be NULL without tokens). The batch's arrays must
 * live as long as the calls below continue from this forward, with the same net, unchanged.
 * SG_EARGUMENT for a symbol or route that the net does not have, SG_ENOMEM. */
sg_status sg_net_forward(sg_net_pass *pass, const sg_net *net, const sg_net_batch *batch,
                         double *log_prob, sg_error *error);

/* What the last forward saw. SG_ENOMEM, and what a device says. */
size_t sg_net_rows(const sg_net_pass *pass);
const uint32_t *sg_net_row_of(const sg_net_pass *pass); /* [N] */
sg_status sg_net_routes(const sg_net_pass *pass, uint64_t *routes,
                        sg_error *error); /* [N][blocks] */
/* Entropy of the gates, nats: entropy[row * blocks + block]. 0 in dense blocks. */
sg_status sg_net_gate_entropy(const sg_net_pass *pass, double *entropy, sg_error *error);
/* h of a row, width numbers. */
sg_status sg_net_features(const sg_net_pass *pass, size_t row, double *h, sg_error *error);

/* gradient = dJ / d theta for pushes[i] = dJ / d log pi of position i (an aggregation factor times
 * coefficient times advantage). The tokens are those of the last forward. SG_ENOMEM. */
sg_status sg_net_backward(sg_net_pass *pass, const sg_net *net, const double *pushes,
                          sg_diffuse diffuse, sg_net *gradient, sg_error *error);

/* B of each row, the sum of its pushes ([rows]); *norm is the 2-norm of the sum of B h over rows. SG_ENOMEM. */
sg_status sg_net_diffuse_push(sg_net_pass *pass, const double *pushes, double *diffuse,
                              double *norm, sg_error *error);

/* Subtract its row's mean from every push: another baseline, B = 0 in each row. What rounding
 * leaves of equal pushes is not a push. SG_ENOMEM. */
sg_status sg_net_recentre(const sg_net_pass *pass, double *pushes, sg_error *error);

/* Exact sums over the vocabulary, [rows]. SG_ENOMEM. */
sg_status sg_net_observe(sg_net_pass *pass, const sg_net *net, sg_row_observation *observation,
                         sg_error *error);

/* Two policies after a forward over the same positions: divergence[rows of pass_a's grouping]. With
 * replayed routes both must replay the same. SG_ENOMEM. */
sg_status sg_net_diverge(sg_net_pass *pass_a, const sg_net *a, sg_net_pass *pass_b, const sg_net *b,
                         sg_divergence *divergence, sg_error *error);

/* ---- rollout */

typedef struct sg_net_draw {
    sg_sampler sampler; /* how logits are distorted before a token is drawn */
    uint64_t seed; /* address of the noise on logits: stream SG_STREAM_NOISE of seed and step */
    uint32_t step;
    int32_t end_token; /* a response ends after it; -1: none */
} sg_net_draw;

/* What the sampler recorded; either may be NULL. */
typedef struct sg_net_record {
    double *log_prob; /* [count][length], of what the sampler calls its own: see sampler.raw */
    uint64_t *routes; /* [count][length][blocks] */
} sg_net_record;

/* Draw the responses of sequences->prompts: fills tokens and lengths. uniforms: [count][length] in
 * (0, 1), turned into tokens by inverse CDF in token order. `net` holds the sampler's own
 * parameters (see sg_net_emulate). SG_EARGUMENT, SG_ENOMEM. */
sg_status sg_net_rollout(sg_net_pass *pass, const sg_net *net, const sg_net_draw *draw,
                         const double *uniforms, const sg_net_sequences *sequences,
                         const sg_net_record *record, sg_error *error);

/* The parameters as another engine would hold them: each one is multiplied by
 * (1 + noise * normal), then rounded to the nearest number of the format. Noise: stream SG_STREAM_NOISE of (seed, step). net and source
 * may be the same. Fails on a device only, whose normals may differ in their last digits. */
sg_status sg_net_emulate(sg_net *net, const sg_net *source, sg_sampler_format format, double noise,
                         uint64_t seed, uint32_t step, sg_error *error);

#endif
