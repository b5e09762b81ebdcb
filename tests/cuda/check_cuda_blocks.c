/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Forward and backward of whole nets on the device, beside the CPU's: the same bits of everything that can be asked. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "both_backends.h"
#include "policy/net.h"
#include "policy/net_matrix.h"

/* Rows beyond a tile of the sums, and many with the same position, token and prompt. */
enum { V = 200, PROMPTS = 3, COUNT = 230, SLOTS_MOST = 4, CASES = 8 };

static sg_net_config config_of(int which, sg_precision precision)
{
    sg_net_config c = {.prior = {.vocabulary = V,
                                 .head = 40,
                                 .head_shape = SG_HEAD_GEOMETRIC,
                                 .head_ratio = 0.95,
                                 .tail_mass = 0.5},
                       .width = 6,
                       .length = 2,
                       .prompt_length = 1,
                       .prompt_symbols = PROMPTS,
                       .window = 2,
                       .bias = SG_NET_BIAS_TRAINED,
                       .head_std = 0.8,
                       .tail_std = 0.6,
                       .temperature = 0.9,
                       .precision = precision};
    switch (which) {
    case 0: /* no blocks, tied */
        c.tied = true;
        break;
    case 1: /* dense, tied, several blocks */
        c.blocks = 3;
        c.hidden = 5;
        c.tied = true;
        c.bias = SG_NET_BIAS_NONE;
        break;
    case 2: /* rows of more than one warp, products of more than one square, several steps of k */
        c.width = 67;
        c.hidden = 70;
        c.blocks = 1;
        c.bias = SG_NET_BIAS_FROZEN;
        break;
    case 3: /* one expert of many: some have no row */
        c.blocks = 2;
        c.hidden = 4;
        c.experts = 64;
        c.top_k = 1;
        break;
    case 4: /* experts with rows of several squares, and tied */
        c.blocks = 2;
        c.hidden = 9;
        c.experts = 3;
        c.top_k = 2;
        c.tied = true;
        break;
    case 5: /* all of them; wide */
        c.width = 33;
        c.hidden = 65;
        c.blocks = 1;
        c.experts = 4;
        c.top_k = 4;
        break;
    case 6: /* no prompt, no position of its own */
        c.prompt_length = 0;
        c.prompt_symbols = 0;
        c.length = 1;
        c.window = 1;
        c.blocks = 1;
        c.hidden = 3;
        break;
    default:
        c.frozen_features = true;
    }
    return c;
}

/* COUNT positions; every context twice, with ragged ends. */
typedef struct positions {
    int32_t position[COUNT], context[COUNT * SLOTS_MOST], token[COUNT];
    uint64_t routes[COUNT * SG_NET_BLOCKS];
    double push[COUNT];
} positions;

static positions *positions_new(const sg_net_config *c)
{
    positions *p = calloc(1, sizeof *p);
    size_t slots = sg_net_slots(c);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t like = i % (COUNT - 20);
        p->position[i] = (int32_t)(uniform(1, like) * (double)c->length);
        for (uint32_t s = 0; s < slots; s++) {
            double u = uniform(2 + s, like);
            bool prompt = s < c->prompt_length;
            int32_t symbol = (int32_t)(u * (prompt ? PROMPTS : V));
            p->context[i * slots + s] = !prompt && u > 0.8 ? -1 : !prompt && u < 0.4 ? 5 : symbol;
        }
        p->token[i] = (int32_t)(uniform(8, i) * V);
        p->push[i] = i % 7 == 0 ? 0 : uniform(9, i) - 0.4;
        for (uint32_t b = 0; b < c->blocks; b++)
            for (uint32_t k = 0, wanted = c->experts > 1 ? (uint32_t)c->top_k : 1; k < wanted; k++)
                p->routes[i * c->blocks + b] |=
                    UINT64_C(1) << (c->experts > 1 ? (like + b + k) % c->experts : 0);
    }
    return p;
}

/* Everything that a pass can be asked. */
typedef struct answer {
    size_t rows, numbers;
    double log_prob[COUNT], diffuse[COUNT], norm, features[3][128];
    double entropy[COUNT * SG_NET_BLOCKS];
    uint64_t routes[COUNT * SG_NET_BLOCKS];
    char *gradient;
} answer;

static void shake(sg_net *net)
{
    ck_assert(!sg_net_fetch(net, NULL));
    for (size_t i = 0; i < net->tensor_count; i++) {
        const sg_tensor *t = &net->tensors[i];
        for (size_t r = 0; r < t->rows; r++)
            for (size_t k = 0; k < t->columns; k++)
                sg_net_set(net, t, r, k,
                           sg_net_get(net, t, r, k) +
                               0.2 * normal((uint32_t)i, (uint32_t)(r * t->columns + k)));
    }
    ck_assert(!sg_net_store(net, NULL));
}

static answer *ask(const sg_net_config *c, const positions *p, bool replay, sg_backend_kind backend)
{
    answer *a = calloc(1, sizeof *a);
    sg_net *net, *gradient;
    sg_net_pass *pass = sg_net_pass_alloc_on(backend);
    sg_error error;
    ck_assert(!sg_net_alloc_on(&net, c, backend, NULL));
    ck_assert(!sg_net_alloc_on(&gradient, c, backend, NULL));
    ck_assert(!sg_net_init(net, 7, NULL));
    ck_assert(!sg_net_init(gradient, 8, NULL)); /* must be overwritten */
    shake(net);
    /* Room is used again: a smaller batch first. */
    sg_net_batch batch = {11, p->position, p->context, p->token, NULL};
    ck_assert_msg(!sg_net_forward(pass, net, &batch, a->log_prob, &error), "%s", error.message);
    ck_assert(!sg_net_backward(pass, net, p->push, SG_DIFFUSE_KEEP, gradient, NULL));
    batch.count = COUNT;
    batch.routes = replay ? p->routes : NULL;
    ck_assert_msg(!sg_net_forward(pass, net, &batch, a->log_prob, &error), "%s", error.message);
    a->rows = sg_net_rows(pass);
    ck_assert(!sg_net_backward(pass, net, p->push, SG_DIFFUSE_KEEP, gradient, &error));
    ck_assert(!sg_net_routes(pass, a->routes, NULL));
    ck_assert(!sg_net_gate_entropy(pass, a->entropy, NULL));
    ck_assert(!sg_net_diffuse_push(pass, p->push, a->diffuse, &a->norm, NULL));
    for (size_t k = 0; k < 3; k++)
        ck_assert(!sg_net_features(pass, k * (a->rows - 1) / 2, a->features[k], NULL));
    ck_assert(!sg_net_fetch(gradient, NULL));
    a->numbers = gradient->size * sg_real_size(c->precision);
    a->gradient = malloc(a->numbers);
    memcpy(a->gradient, gradient->values, a->numbers);
    sg_net_pass_free(pass);
    sg_net_free(net);
    sg_net_free(gradient);
    return a;
}

static void assert_same(const sg_net_config *c, const answer *x, const answer *y)
{
    ck_assert_uint_eq(x->rows, y->rows);
    ck_assert_uint_gt(x->rows, c->length == 1 ? 40 : 128);
    ck_assert_mem_eq(x->routes, y->routes, sizeof x->routes);
    ck_assert_mem_eq(x->entropy, y->entropy, sizeof x->entropy);
    ck_assert_mem_eq(x->features, y->features, sizeof x->features);
    ck_assert_mem_eq(x->log_prob, y->log_prob, sizeof x->log_prob);
    ck_assert_mem_eq(x->diffuse, y->diffuse, sizeof x->diffuse);
    ck_assert_double_eq(x->norm, y->norm);
    ck_assert_double_gt(x->norm, 0);
    sg_net *shape;
    ck_assert(!sg_net_alloc(&shape, c, NULL));
    size_t real = sg_real_size(c->precision);
    for (size_t i = 0; i < shape->tensor_count; i++) {
        const sg_tensor *t = &shape->tensors[i];
        size_t at = t->offset * real, size = t->rows * t->columns * real;
        ck_assert_msg(memcmp(x->gradient + at, y->gradient + at, size) == 0,
                      "the gradient of %s has other bits", t->name);
    }
    ck_assert_mem_eq(x->gradient, y->gradient, x->numbers);
    sg_net_free(shape);
}

START_TEST(passes_have_the_bits_of_the_processor)
{
    sg_net_config c = config_of(_i / 2, (sg_precision)(_i % 2));
    positions *p = positions_new(&c);
    for (int replay = 0; replay < (c.experts > 1 ? 2 : 1); replay++) {
        answer *cpu = ask(&c, p, replay, SG_BACKEND_CPU),
               *cuda = ask(&c, p, replay, SG_BACKEND_CUDA);
        assert_same(&c, cpu, cuda);
        if (replay)
            ck_assert_mem_eq(cuda->routes, p->routes, sizeof p->routes);
        free(cpu->gradient);
        free(cuda->gradient);
        free(cpu);
        free(cuda);
    }
    free(p);
}
END_TEST

/* Nobody pushed: all gradients are 0, whatever was there. */
START_TEST(no_push_leaves_no_gradient)
{
    sg_net_config c = config_of(_i ? 4 : 2, SG_FP32);
    positions *p = positions_new(&c);
    memset(p->push, 0, sizeof p->push);
    sg_net *net, *gradient;
    sg_net_pass *pass = sg_net_pass_alloc_on(SG_BACKEND_CUDA);
    double log_prob[COUNT];
    ck_assert(!sg_net_alloc_on(&net, &c, SG_BACKEND_CUDA, NULL));
    ck_assert(!sg_net_alloc_on(&gradient, &c, SG_BACKEND_CUDA, NULL));
    ck_assert(!sg_net_init(net, 7, NULL));
    ck_assert(!sg_net_init(gradient, 8, NULL));
    sg_net_batch batch = {COUNT, p->position, p->context, p->token, NULL};
    ck_assert(!sg_net_forward(pass, net, &batch, log_prob, NULL));
    ck_assert(!sg_net_backward(pass, net, p->push, SG_DIFFUSE_KEEP, gradient, NULL));
    ck_assert(!sg_net_fetch(gradient, NULL));
    for (size_t i = 0; i < gradient->size; i++)
        ck_assert_float_eq(((const float *)gradient->values)[i], 0);
    sg_net_pass_free(pass);
    sg_net_free(net);
    sg_net_free(gradient);
    free(p);
}
END_TEST

START_TEST(a_pass_on_another_backend_is_refused)
{
    sg_net_config c = config_of(0, SG_FP32);
    positions *p = positions_new(&c);
    sg_error error;
    sg_net_batch batch = {COUNT, p->position, p->context, NULL, NULL};
    for (int device = 0; device < 2; device++) {
        sg_net *net;
        sg_net_pass *pass = sg_net_pass_alloc_on(device ? SG_BACKEND_CPU : SG_BACKEND_CUDA);
        ck_assert(!sg_net_alloc_on(&net, &c, device ? SG_BACKEND_CUDA : SG_BACKEND_CPU, NULL));
        ck_assert_int_eq(sg_net_forward(pass, net, &batch, NULL, &error), SG_EARGUMENT);
        ck_assert_ptr_nonnull(strstr(error.message, "the same backend"));
        sg_net_pass_free(pass);
        sg_net_free(net);
    }
    free(p);
}
END_TEST

Suite *cuda_blocks_suite(void);
Suite *cuda_blocks_suite(void)
{
    Suite *suite = suite_create("cuda_blocks");
    TCase *tests = tcase_create("blocks of nets on the device");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, passes_have_the_bits_of_the_processor, 0, 2 * CASES);
    tcase_add_loop_test(tests, no_push_leaves_no_gradient, 0, 2);
    tcase_add_test(tests, a_pass_on_another_backend_is_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
