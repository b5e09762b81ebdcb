/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "answers.h"
#include "core/rng.h"
#include "policy/tree.h"
#include "run_suites.h"

/* ---- a naive tree: plain arrays in fp64, its own numbering of states, direct formulas ---- */

enum { MOST = 32, BIAS = 2 * 4 * MOST }; /* cells of a position; 2 prompts of up to 4 tokens */

typedef struct naive {
    int prompts, length, vocabulary, head, merge, bias, optimizer;
    double *theta, *m, *v; /* [BIAS + 1][vocabulary] */
    int used[BIAS];        /* states that a prefix leads to */
} naive;

static int naive_state(const naive *n, int prompt, const int32_t *tokens, int t)
{
    int code = 0, scale = 1;
    for (int i = 0; i < t; i++) {
        if (tokens[i] >= n->head)
            return (prompt * n->length + t) * MOST + MOST - 1;
        code = n->merge ? (code + tokens[i]) % n->merge : code + tokens[i] * scale;
        scale *= n->head;
    }
    return (prompt * n->length + t) * MOST + code;
}

static void naive_pi(const naive *n, int state, double *p)
{
    double sum = 0, most = -1e300;
    for (int i = 0; i < n->vocabulary; i++) {
        p[i] = n->theta[state * n->vocabulary + i];
        p[i] += n->bias ? n->theta[BIAS * n->vocabulary + i] : 0;
        most = p[i] > most ? p[i] : most;
    }
    for (int i = 0; i < n->vocabulary; i++)
        sum += p[i] = exp(p[i] - most);
    for (int i = 0; i < n->vocabulary; i++)
        p[i] /= sum;
}

static double naive_move(naive *n, int row, int time, double lr, const double *g, double *delta)
{
    double norm2 = 0, mean = 0;
    for (int i = 0; i < n->vocabulary; i++)
        mean += g[i] * g[i] / n->vocabulary;
    for (int i = 0; i < n->vocabulary; i++) {
        double *m = &n->m[row * n->vocabulary + i], *v = &n->v[row * n->vocabulary + i];
        if (n->optimizer == SG_SGD) {
            delta[i] = lr * g[i];
        } else if (n->optimizer == SG_MOMENTUM) {
            *m = 0.8 * *m + g[i];
            delta[i] = lr * *m;
        } else {
            *m = 0.8 * *m + 0.2 * g[i];
            *v = 0.95 * *v + 0.05 * (n->optimizer == SG_COUPLED_ADAM ? mean : g[i] * g[i]);
            delta[i] = lr * (*m / (1 - pow(0.8, time))) / (sqrt(*v / (1 - pow(0.95, time))) + 1e-8);
        }
        if (n->optimizer == SG_ADAMW)
            delta[i] -= lr * 0.3 * n->theta[row * n->vocabulary + i];
        n->theta[row * n->vocabulary + i] += delta[i];
        norm2 += delta[i] * delta[i];
    }
    return norm2;
}

static void naive_update(naive *n, int time, double lr, double clip, const sg_responses *r,
                         const double *pushes, sg_policy_change *change)
{
    size_t V = (size_t)n->vocabulary;
    double *g = calloc((BIAS + 1) * V, sizeof *g), *delta = calloc((BIAS + 1) * V, sizeof *delta);
    double *before = calloc(BIAS * V, sizeof *before), *after = malloc(V * sizeof *after);
    double net[BIAS] = {0}, gross[BIAS] = {0}, count[BIAS] = {0}, norm2 = 0, delta2 = 0;
    char *sampled = calloc(BIAS * V, 1);
    *change = (sg_policy_change){0};
    for (int s = 0; s < BIAS; s++)
        naive_pi(n, s, before + (size_t)s * V);
    for (size_t i = 0; i < r->count; i++) {
        for (int t = 0; t < n->length; t++) {
            const int32_t *tokens = r->tokens + i * r->room;
            int s = naive_state(n, (int)r->prompt[i], tokens, t);
            double push = pushes[i * r->room + (size_t)t];
            for (size_t k = 0; k < V; k++) {
                double x = push * (((int32_t)k == tokens[t]) - before[(size_t)s * V + k]);
                g[(size_t)s * V + k] += x;
                g[BIAS * V + k] += n->bias ? x : 0;
            }
            sampled[(size_t)s * V + (size_t)tokens[t]] = 1;
            net[s] += push;
            gross[s] += fabs(push);
            count[s]++;
        }
    }
    for (size_t k = 0; k < (BIAS + 1) * V; k++)
        norm2 += g[k] * g[k];
    change->grad_norm = sqrt(norm2);
    change->clip_factor = clip > 0 && sqrt(norm2) > clip ? clip / sqrt(norm2) : 1;
    for (size_t k = 0; k < (BIAS + 1) * V; k++)
        g[k] *= change->clip_factor;
    if (n->bias)
        delta2 += naive_move(n, BIAS, time, lr, g + BIAS * V, delta + BIAS * V);
    for (int s = 0; s < BIAS; s++)
        if (n->used[s])
            delta2 += naive_move(n, s, time, lr, g + (size_t)s * V, delta + (size_t)s * V);
    change->delta_norm = sqrt(delta2);
    double tokens = (double)(r->count * (size_t)n->length);
    for (int s = 0; s < BIAS; s++) {
        if (count[s] == 0)
            continue;
        naive_pi(n, s, after);
        for (size_t k = 0; k < V; k++) {
            double p = before[(size_t)s * V + k], q = after[k];
            double rise = delta[(size_t)s * V + k] + (n->bias ? delta[BIAS * V + k] : 0);
            change->kl_old_new += count[s] / tokens * p * log(p / q);
            change->kl_new_old += count[s] / tokens * q * log(q / p);
            if (!sampled[(size_t)s * V + k]) {
                change->upward_push += count[s] / tokens * fmax(0, -net[s] * p);
                change->max_unsampled_push = fmax(change->max_unsampled_push, rise);
            }
        }
        change->diffuse_push += count[s] / tokens * net[s];
        change->diffuse_share += count[s] / tokens * net[s] / gross[s];
    }
    free(g);
    free(delta);
    free(before);
    free(after);
    free(sampled);
}

/* ---- both side by side ---- */

typedef struct pair {
    sg_tree_shape shape;
    sg_policy *tree;
    naive n;
} pair;

static double normal(uint32_t a, uint32_t b, uint32_t c)
{
    double x[2];
    sg_rng_normal_pair((sg_address){17, SG_STREAM_SYNTHETIC, a, 0, b, c}, x);
    return x[0];
}

/* All prefixes of t tokens; the tail stands for itself by its first token. */
static size_t prefixes(const sg_tree_shape *shape, size_t t, int32_t tokens[][4])
{
    size_t base = shape->head + (shape->head < shape->vocabulary), count = 1;
    for (size_t i = 0; i < t; i++)
        count *= base;
    for (size_t k = 0; k < count; k++)
        for (size_t i = 0, rest = k; i < t; i++, rest /= base)
            tokens[k][i] = (int32_t)(rest % base);
    return count;
}

static void pair_init(pair *x, sg_tree_shape shape)
{
    sg_error error = {0};
    size_t V = shape.vocabulary;
    double *logits = calloc(V, sizeof *logits);
    shape.backend = backend_under_test();
    x->shape = shape;
    ck_assert_msg(sg_tree_alloc(&x->tree, &shape, logits, &error) == SG_OK, "%s", error.message);
    x->n = (naive){.prompts = (int)shape.prompts,
                   .length = (int)shape.length,
                   .vocabulary = (int)V,
                   .head = (int)shape.head,
                   .merge = (int)shape.merge,
                   .bias = shape.shared_bias,
                   .optimizer = (int)shape.optimizer};
    x->n.theta = calloc((BIAS + 1) * V, sizeof *x->n.theta);
    x->n.m = calloc((BIAS + 1) * V, sizeof *x->n.m);
    x->n.v = calloc((BIAS + 1) * V, sizeof *x->n.v);
    for (size_t p = 0; p < shape.prompts; p++) {
        for (size_t t = 0; t < shape.length; t++) {
            int32_t tokens[256][4];
            for (size_t k = prefixes(&shape, t, tokens); k-- > 0;) {
                int s = naive_state(&x->n, (int)p, tokens[k], (int)t);
                double *theta = x->n.theta + (size_t)s * V;
                for (size_t i = 0; i < V && !x->n.used[s]; i++) /* fp32 numbers, exact in both */
                    theta[i] = (double)(float)(normal((uint32_t)s, 0, (uint32_t)i) -
                                               (i < shape.head ? 0 : log((double)V)));
                x->n.used[s] = 1;
                sg_tree_set(x->tree, sg_tree_state(x->tree, p, tokens[k], t), theta);
            }
        }
    }
    for (size_t i = 0; i < V && shape.shared_bias; i++)
        x->n.theta[BIAS * V + i] = (double)(float)(0.3 * normal(1000, 0, (uint32_t)i));
    sg_tree_set(x->tree, SG_TREE_BIAS, x->n.theta + BIAS * V);
    free(logits);
}

static void pair_clear(pair *x)
{
    sg_policy_free(x->tree);
    free(x->n.theta);
    free(x->n.m);
    free(x->n.v);
}

enum { COUNT = 12, ROOM = 5 };

static void assert_near(double mine, double theirs, double tolerance, const char *what)
{
    ck_assert_msg(fabs(mine - theirs) <= tolerance * (1 + fabs(theirs)), "%s: %.17g, twin %.17g",
                  what, mine, theirs);
}

static double compare_draws(const pair *x, const answers *a, uint32_t step)
{
    double *p = malloc(x->shape.vocabulary * sizeof *p), worst = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        for (uint32_t t = 0; t < x->shape.length; t++) {
            const int32_t *tokens = a->tokens + i * ROOM;
            naive_pi(&x->n, naive_state(&x->n, (int)a->prompt[i], tokens, (int)t), p);
            double u = sg_rng_uniform(
                (sg_address){3, SG_STREAM_ROLLOUT, step, a->prompt[i], a->sample[i], t});
            int32_t y = 0;
            double sum = p[0];
            while (sum <= u && y + 1 < (int32_t)x->shape.vocabulary)
                sum += p[++y];
            /* rounding may decide otherwise only at the edge of a token */
            ck_assert(y == tokens[t] || fabs(sum - u) < 1e-5 || fabs(sum - p[y] - u) < 1e-5);
            worst = fmax(worst, fabs(a->log_prob[i * ROOM + t] - log(p[tokens[t]])));
        }
    }
    free(p);
    return worst;
}

static sg_tree_shape shape_of(int i)
{
    static const sg_optimizer_kind kinds[] = {SG_SGD, SG_MOMENTUM, SG_ADAM};
    if (i >= 24) /* the others: decayed, coupled */
        return (sg_tree_shape){.prompts = 2,
                               .length = 3,
                               .vocabulary = i % 3 == 0 ? 40 : 1500,
                               .head = 3,
                               .merge = i / 2 % 2 == 1 ? 4 : 0,
                               .shared_bias = i / 4 % 2 == 1,
                               .precision = i < 32 ? SG_FP64 : SG_FP32,
                               .optimizer = i % 2 == 0 ? SG_ADAMW : SG_COUPLED_ADAM};
    return (sg_tree_shape){.prompts = i % 5 == 0 ? 1 : 2,
                           .length = i % 4 == 3 ? 1 : 3,
                           .vocabulary = i % 2 == 0 ? 40 : 1500,
                           .head = 3,
                           .merge = i / 3 % 2 == 1 ? 4 : 0,
                           .shared_bias = i / 6 % 2 == 1,
                           .precision = i < 12 ? SG_FP64 : SG_FP32,
                           .optimizer = kinds[i % 3]};
}

/* A device is emulated most often, and its bits are held to those of the CPU elsewhere: some will do. */
static bool on_device(void)
{
    return backend_under_test() == SG_BACKEND_CUDA;
}

START_TEST(training_equals_the_naive_tree)
{
    pair x;
    answers a;
    sg_tree_shape shape = shape_of(on_device() ? 5 * _i + 1 : _i);
    bool exact = shape.precision == SG_FP64;
    double tolerance = exact ? 1e-11 : 2e-4;
    pair_init(&x, shape);
    answers_init(&a, COUNT, ROOM, shape.prompts);
    for (uint32_t step = 1; step <= 8; step++) {
        answers_draw(&a, x.tree, 3, step);
        ck_assert_double_le(compare_draws(&x, &a, step), exact ? 1e-11 : 1e-4);
        for (uint32_t i = 0; i < COUNT * ROOM; i++)
            a.push[i] = 0.1 * normal(step, 5, i);
        bool adam = shape.optimizer == SG_ADAM || shape.optimizer == SG_ADAMW;
        double lr = adam ? 0.05 : shape.optimizer == SG_COUPLED_ADAM ? 0.005 : 0.4;
        sg_policy_step how = {.optimizer = {shape.optimizer, lr, 0.8, 0.95, 1e-8, 0.3},
                              .time = step,
                              .clip_norm = step % 2 == 0 ? 0.1 : 0};
        sg_policy_change mine, theirs;
        ck_assert_int_eq(x.tree->methods->update(x.tree, &how, &a.responses, a.push, &mine, NULL),
                         SG_OK);
        naive_update(&x.n, (int)step, lr, how.clip_norm, &a.responses, a.push, &theirs);
#define SAME(field) assert_near(mine.field, theirs.field, tolerance, #field)
        SAME(kl_old_new);
        SAME(kl_new_old);
        SAME(grad_norm);
        SAME(clip_factor);
        SAME(delta_norm);
        SAME(diffuse_push);
        SAME(diffuse_share);
        SAME(upward_push);
        SAME(max_unsampled_push);
#undef SAME
        ck_assert_double_gt(mine.kl_old_new, 1e-6);
        if (exact)
            ck_assert_double_le(fabs(mine.kl_old_new / theirs.kl_old_new - 1), 1e-8);
        if (step % 2 == 0)
            ck_assert_double_lt(mine.clip_factor, 1);
    }
    pair_clear(&x);
}
END_TEST

/* ---- exact sums against all responses ---- */

/* The first token may not be 2; the sum of the tokens must be 1 or 2 modulo 3, 2 earns less. */
static int32_t next_sum(const void *context, size_t prompt, size_t position, int32_t state,
                        int32_t token)
{
    const sg_tree_shape *shape = context;
    if ((size_t)token >= shape->head || (position == 0 && token == 2))
        return SG_REWARD_LOST;
    state = (state + token + (int32_t)prompt) % 3;
    return position + 1 == shape->length && state == 0 ? SG_REWARD_LOST : state;
}

static double value_sum(const void *context, size_t prompt, int32_t state)
{
    (void)context, (void)prompt;
    return state == 1 ? 1 : state == 2 ? 0.25 : 0;
}

typedef struct everything {
    double total, J[2];
    double losers, losers_tail, right, right_tail, tail, root_tail;
} everything;

/* All V^length responses; their pushes P R at weight[] when wanted, for the gradient of sum J. */
static everything enumerate(const pair *x, const sg_reward *reward, answers *all, size_t *count)
{
    everything e = {0};
    size_t V = x->shape.vocabulary, T = x->shape.length, sequences = 1;
    double p[64];
    for (size_t t = 0; t < T; t++)
        sequences *= V;
    for (size_t k = 0; k < x->shape.prompts * sequences; k++) {
        size_t prompt = k / sequences, rest = k % sequences;
        int32_t tokens[4];
        double probability = 1;
        int32_t state = 0;
        for (size_t t = 0; t < T; t++, rest /= V)
            tokens[t] = (int32_t)(rest % V);
        double tails[4];
        int lost[4];
        for (size_t t = 0; t < T; t++) {
            naive_pi(&x->n, naive_state(&x->n, (int)prompt, tokens, (int)t), p);
            lost[t] = state == SG_REWARD_LOST;
            tails[t] = 0;
            for (size_t i = x->shape.head; i < V; i++)
                tails[t] += p[i];
            probability *= p[tokens[t]];
            if (state != SG_REWARD_LOST)
                state = reward->next(reward->context, prompt, t, state, tokens[t]);
        }
        double earned = state == SG_REWARD_LOST ? 0 : value_sum(NULL, prompt, state);
        e.total += probability;
        e.J[prompt] += probability * earned;
        for (size_t t = 0; t < T; t++) {
            *(lost[t] ? &e.losers : &e.right) += probability;
            *(lost[t] ? &e.losers_tail : &e.right_tail) += probability * tails[t];
            e.tail += probability * tails[t];
            e.root_tail += t == 0 ? probability * tails[t] : 0;
        }
        if (all != NULL && earned > 0) {
            all->prompt[*count] = (uint32_t)prompt;
            for (size_t t = 0; t < T; t++) {
                all->tokens[*count * ROOM + t] = tokens[t];
                all->push[*count * ROOM + t] = probability * earned;
            }
            ++*count;
        }
    }
    return e;
}

START_TEST(sums_over_states_equal_sums_over_all_responses)
{
    pair x;
    sg_tree_shape shape = {.prompts = 2,
                           .length = 3,
                           .vocabulary = 6,
                           .head = 3,
                           .merge = (size_t[]){0, 3, 4, 1}[_i % 4],
                           .shared_bias = _i >= 4,
                           .precision = SG_FP64,
                           .optimizer = SG_SGD};
    pair_init(&x, shape);
    sg_reward reward = {.context = &shape, .states = 3, .next = next_sum, .value = value_sum};
    everything e = enumerate(&x, &reward, NULL, NULL);
    double expected[2];
    sg_policy_observation o;
    const sg_policy_methods *methods = x.tree->methods;
    ck_assert_int_eq(methods->expected_reward(x.tree, &reward, expected, NULL), SG_OK);
    ck_assert_int_eq(methods->observe(x.tree, &reward, &o, NULL), SG_OK);
    ck_assert_double_eq_tol(e.total, 2, 1e-12);
    ck_assert_double_eq_tol(expected[0], e.J[0], 1e-14);
    ck_assert_double_eq_tol(expected[1], e.J[1], 1e-14);
    ck_assert_double_gt(expected[0], 0.01);
    ck_assert_double_eq_tol(o.losers_share, e.losers / 6, 1e-13);
    ck_assert_double_eq_tol(o.tail_mass_losers, e.losers_tail / e.losers, 1e-13);
    ck_assert_double_eq_tol(o.tail_mass_right, e.right_tail / e.right, 1e-13);
    ck_assert_double_eq_tol(o.tail_mass, e.tail / 6, 1e-13);
    ck_assert_double_eq_tol(o.tail_mass_root, e.root_tail / 2, 1e-13);
    pair_clear(&x);
}
END_TEST

START_TEST(the_update_follows_the_gradient_of_J)
{
    pair x;
    sg_tree_shape shape = {.prompts = 1,
                           .length = 2,
                           .vocabulary = 5,
                           .head = 3,
                           .merge = _i % 2 == 0 ? 0 : 2,
                           .shared_bias = _i >= 2,
                           .precision = SG_FP64,
                           .optimizer = SG_SGD};
    answers all;
    size_t count = 0;
    double J, theta[5], moved[5];
    pair_init(&x, shape);
    answers_init(&all, COUNT, ROOM, shape.prompts);
    sg_reward reward = {.context = &shape, .states = 3, .next = next_sum, .value = value_sum};
    enumerate(&x, &reward, &all, &count);
    ck_assert_uint_le(count, COUNT);
    all.responses.count = count;
    for (size_t i = 0; i < count; i++)
        all.length[i] = 2;
    sg_policy *after;
    const sg_policy_methods *methods = x.tree->methods;
    ck_assert_int_eq(methods->clone(x.tree, &after, NULL), SG_OK);
    sg_policy_step step = {.optimizer = {.kind = SG_SGD, .lr = 1}, .time = 1};
    ck_assert_int_eq(methods->update(after, &step, &all.responses, all.push, NULL, NULL), SG_OK);
    size_t rows = (size_t)sg_tree_states(&shape), largest = 0;
    for (size_t row = 0; row < rows + shape.shared_bias; row++) {
        size_t state = row < rows ? row : SG_TREE_BIAS;
        sg_tree_get(x.tree, state, theta);
        sg_tree_get(after, state, moved);
        for (int i = 0; i < 5; i++) {
            double h = 1e-5, keep = theta[i], slope = 0;
            for (int sign = -1; sign <= 1; sign += 2) {
                theta[i] = keep + sign * h;
                sg_tree_set(x.tree, state, theta);
                methods->expected_reward(x.tree, &reward, &J, NULL);
                slope += sign * J / (2 * h);
            }
            theta[i] = keep;
            sg_tree_set(x.tree, state, theta);
            ck_assert_double_eq_tol(moved[i] - keep, slope, 1e-9);
            largest += fabs(slope) > 0.01;
        }
    }
    ck_assert_uint_ge(largest, 6);
    sg_policy_free(after);
    pair_clear(&x);
}
END_TEST

/* ---- the rest ---- */

START_TEST(states_are_numbered_as_told)
{
    sg_tree_shape shape = {.prompts = 2,
                           .length = 3,
                           .vocabulary = 7,
                           .head = 2,
                           .precision = SG_FP64,
                           .backend = backend_under_test()};
    double logits[7] = {0};
    sg_policy *tree;
    ck_assert_int_eq(sg_tree_alloc(&tree, &shape, logits, NULL), SG_OK);
    ck_assert_double_eq(sg_tree_states(&shape), 9);
    ck_assert_uint_eq(sg_tree_state(tree, 0, (int32_t[]){1, 0}, 2), 5);
    ck_assert_uint_eq(sg_tree_state(tree, 1, (int32_t[]){1, 1}, 2), 9 + 6);
    ck_assert_uint_eq(sg_tree_state(tree, 0, (int32_t[]){2}, 1), 7);
    ck_assert_uint_eq(sg_tree_state(tree, 0, (int32_t[]){6, 0}, 2), 8);
    ck_assert_uint_eq(sg_tree_state(tree, 0, (int32_t[]){0, 6}, 2), 8);
    sg_policy_free(tree);
    shape.merge = 5;
    ck_assert_double_eq(sg_tree_states(&shape), 1 + 5 + 5 + 2);
}
END_TEST

START_TEST(a_saved_tree_continues_bit_for_bit)
{
    pair x, y;
    answers a;
    static const int shapes[] = {8, 20, 28, 39}; /* adam in fp64 and fp32, adamw, coupled-adam */
    sg_tree_shape shape = shape_of(shapes[_i]);
    ck_assert(shape.shared_bias);
    pair_init(&x, shape);
    pair_init(&y, shape);
    answers_init(&a, COUNT, ROOM, shape.prompts);
    const sg_policy_methods *methods = x.tree->methods;
    sg_policy_step step = {.optimizer = {shape.optimizer, 0.05, 0.8, 0.95, 1e-8, 0.3}, .time = 1};
    for (; step.time <= 6; step.time++) {
        answers_draw(&a, x.tree, 3, (uint32_t)step.time);
        for (uint32_t i = 0; i < COUNT * ROOM; i++)
            a.push[i] = normal((uint32_t)step.time, 6, i);
        if (step.time == 4) {
            size_t size = methods->save(x.tree, NULL);
            void *bytes = malloc(size);
            methods->save(x.tree, bytes);
            sg_error error;
            ck_assert_int_eq(methods->load(y.tree, bytes, size - 1, &error), SG_EDATA);
            ck_assert_int_eq(methods->load(y.tree, bytes, size, &error), SG_OK);
            free(bytes);
        }
        methods->update(x.tree, &step, &a.responses, a.push, NULL, NULL);
        if (step.time >= 4)
            methods->update(y.tree, &step, &a.responses, a.push, NULL, NULL);
    }
    double mine[1500], theirs[1500];
    for (size_t state = 0; state <= 9; state++) {
        sg_tree_get(x.tree, state == 9 ? SG_TREE_BIAS : state, mine);
        sg_tree_get(y.tree, state == 9 ? SG_TREE_BIAS : state, theirs);
        ck_assert_mem_eq(mine, theirs, shape.vocabulary * sizeof *mine);
    }
    methods->forget(x.tree); /* the next step of adam is its first again: as large as lr */
    sg_policy_change change;
    step.time = 1;
    methods->update(x.tree, &step, &a.responses, a.push, &change, NULL);
    methods->log_prob(x.tree, &a.responses, a.log_prob, NULL);
    if (shape.optimizer == SG_ADAM)
        ck_assert_double_le(change.max_unsampled_push, 2 * 0.05 * (1 + 1e-6));
    pair_clear(&x);
    pair_clear(&y);
}
END_TEST

/* Every state's logits keep their sum under coupled-adam, and so does the shared bias. */
START_TEST(coupled_adam_keeps_the_sum_of_every_row)
{
    pair x;
    answers a;
    sg_tree_shape shape = shape_of(29);
    ck_assert(shape.shared_bias && shape.optimizer == SG_COUPLED_ADAM);
    pair_init(&x, shape);
    answers_init(&a, COUNT, ROOM, shape.prompts);
    size_t states = (size_t)sg_tree_states(&shape) * shape.prompts, V = shape.vocabulary;
    double *before = malloc((states + 1) * V * sizeof *before), *after = malloc(V * sizeof *after);
    for (size_t s = 0; s <= states; s++)
        sg_tree_get(x.tree, s < states ? s : SG_TREE_BIAS, before + s * V);
    for (uint32_t step = 1; step <= 3; step++) {
        sg_policy_step how = {.optimizer = {SG_COUPLED_ADAM, 0.005, 0.9, 0.99, 1e-8, 0},
                              .time = step};
        answers_draw(&a, x.tree, 3, step);
        for (uint32_t i = 0; i < COUNT * ROOM; i++)
            a.push[i] = normal(step, 6, i);
        x.tree->methods->update(x.tree, &how, &a.responses, a.push, NULL, NULL);
    }
    double moved = 0;
    for (size_t s = 0; s <= states; s++) {
        double sum = 0, size = 0;
        sg_tree_get(x.tree, s < states ? s : SG_TREE_BIAS, after);
        for (size_t v = 0; v < V; v++) {
            sum += after[v] - before[s * V + v];
            size += fabs(after[v] - before[s * V + v]);
        }
        ck_assert_double_le(fabs(sum), 1e-11 * (1 + size));
        moved += size;
    }
    ck_assert_double_gt(moved, 1);
    free(before);
    free(after);
    pair_clear(&x);
}
END_TEST

START_TEST(threads_do_not_change_a_bit)
{
#ifdef _OPENMP
    if (on_device())
        return;
    sg_tree_shape shape = {.prompts = 2,
                           .length = 3,
                           .vocabulary = 3000,
                           .head = 3,
                           .shared_bias = true,
                           .precision = SG_FP32,
                           .optimizer = SG_ADAM};
    double theta[2][3000], entropy[2];
    int before = omp_get_max_threads();
    for (int run = 0; run < 2; run++) {
        pair x;
        answers a;
        omp_set_num_threads(run == 0 ? 1 : 5);
        pair_init(&x, shape);
        answers_init(&a, COUNT, ROOM, shape.prompts);
        for (uint32_t step = 1; step <= 3; step++) {
            answers_draw(&a, x.tree, 3, step);
            for (uint32_t i = 0; i < COUNT * ROOM; i++)
                a.push[i] = normal(step, 6, i);
            sg_policy_step how = {.optimizer = {SG_ADAM, 0.05, 0.8, 0.95, 1e-8, 0}, .time = step};
            sg_policy_change change;
            x.tree->methods->update(x.tree, &how, &a.responses, a.push, &change, NULL);
        }
        sg_policy_observation o;
        sg_reward reward = {.context = &shape, .states = 3, .next = next_sum, .value = value_sum};
        x.tree->methods->observe(x.tree, &reward, &o, NULL);
        entropy[run] = o.entropy;
        sg_tree_get(x.tree, 4, theta[run]);
        pair_clear(&x);
    }
    omp_set_num_threads(before);
    ck_assert_mem_eq(theta[0], theta[1], sizeof theta[0]);
    ck_assert_double_eq(entropy[0], entropy[1]);
#endif
}
END_TEST

/* A group of draws does not depend on what else is drawn, and a distorted sampler reports what it
 * draws from: greedy takes the likeliest token, temperature 1/2 squares probabilities. */
START_TEST(samplers_are_told_apart)
{
    pair x;
    answers a, b;
    sg_tree_shape shape = shape_of(0);
    pair_init(&x, shape);
    answers_init(&a, COUNT, ROOM, shape.prompts);
    answers_draw(&a, x.tree, 3, 1);
    answers_init(&b, COUNT, ROOM, shape.prompts);
    b.prompt[0] = a.prompt[7];
    b.sample[0] = a.sample[7];
    b.responses.count = 1;
    answers_draw(&b, x.tree, 3, 1);
    ck_assert_mem_eq(b.tokens, a.tokens + 7 * ROOM, shape.length * sizeof *a.tokens);
    const sg_policy_methods *methods = x.tree->methods;
    sg_policy_draw how = {.seed = 3, .stream = SG_STREAM_ROLLOUT, .step = 1};
    for (int k = 0; k < 2; k++) {
        double p[40], squares = 0;
        how.sampler = (sg_sampler){.temperature = k == 0 ? 0 : 0.5, .top_p = 1};
        ck_assert_int_eq(methods->draw(x.tree, &how, &a.responses, a.log_prob, NULL), SG_OK);
        for (int i = 0; i < COUNT; i++) {
            naive_pi(&x.n, naive_state(&x.n, (int)a.prompt[i], a.tokens + i * ROOM, 2), p);
            int32_t token = a.tokens[i * ROOM + 2], best = 0;
            squares = 0;
            for (int v = 0; v < 40; v++) {
                best = p[v] > p[best] ? v : best;
                squares += p[v] * p[v];
            }
            if (k == 0)
                ck_assert_int_eq(token, best);
            double logp = k == 0 ? 0 : log(p[token] * p[token] / squares);
            ck_assert_double_eq_tol(a.log_prob[i * ROOM + 2], logp, 1e-12);
        }
    }
    pair_clear(&x);
}
END_TEST

START_TEST(impossible_trees_are_refused)
{
    double logits[10] = {0};
    sg_policy *tree;
    sg_error error = {0};
    sg_tree_shape shape = {.prompts = 1,
                           .length = 30,
                           .vocabulary = 10,
                           .head = 8,
                           .precision = SG_FP32,
                           .backend = backend_under_test()};
    ck_assert_int_eq(sg_tree_alloc(&tree, &shape, logits, &error), SG_ENOMEM);
    ck_assert_ptr_nonnull(strstr(error.message, "GiB"));
    ck_assert_ptr_null(tree);
    shape.merge = 6; /* 181 states do fit */
    ck_assert_int_eq(sg_tree_alloc(&tree, &shape, logits, &error), SG_OK);
    ck_assert_double_gt(sg_tree_bytes(&shape, 0), 181 * 10 * 4);
    sg_policy_free(tree);
    shape.head = 11;
    ck_assert_int_eq(sg_tree_alloc(&tree, &shape, logits, &error), SG_EARGUMENT);
}
END_TEST

Suite *tree_suite(void);
Suite *tree_suite(void)
{
    Suite *suite = suite_create("tree");
    TCase *tests = tcase_create("tree");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, states_are_numbered_as_told);
    tcase_add_loop_test(tests, training_equals_the_naive_tree, 0, on_device() ? 8 : 40);
    tcase_add_loop_test(tests, sums_over_states_equal_sums_over_all_responses, 0, 8);
    tcase_add_loop_test(tests, the_update_follows_the_gradient_of_J, 0, 4);
    tcase_add_loop_test(tests, a_saved_tree_continues_bit_for_bit, 0, 4);
    tcase_add_test(tests, coupled_adam_keeps_the_sum_of_every_row);
    tcase_add_test(tests, threads_do_not_change_a_bit);
    tcase_add_test(tests, samplers_are_told_apart);
    tcase_add_test(tests, impossible_trees_are_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
