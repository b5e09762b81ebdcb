/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim_twin.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"

const double twin_tail_mass = 0.05, twin_head_ratio = 0.7, twin_correct_mass = 0.25;

enum { MOST = 64 }; /* samples of a group, tokens of a response */

struct twin {
    const twin_case *c;
    uint64_t seed;
    int states, part;
    double *z, *m, *v;  /* [states][vocabulary] */
    int (*token)[MOST]; /* [states][group] */
    double (*logp_old)[MOST];
    double (*advantage)[MOST]; /* [prompts][group] */
    int (*order)[MOST];
    int correct; /* the right token */
    double reward, zero_std;
};

static void softmax(const double *z, int n, double *p)
{
    double most = z[0], sum = 0;
    for (int i = 1; i < n; i++)
        most = z[i] > most ? z[i] : most;
    for (int i = 0; i < n; i++)
        sum += p[i] = exp(z[i] - most);
    for (int i = 0; i < n; i++)
        p[i] /= sum;
}

static void start(struct twin *t)
{
    const twin_case *c = t->c;
    double sum = 0, nearest = 9;
    for (int k = 0; k < c->head; k++)
        sum += pow(twin_head_ratio, k);
    for (int s = 0; s < t->states; s++) {
        for (int i = 0; i < c->vocabulary; i++) {
            double p = i < c->head ? (1 - twin_tail_mass) * pow(twin_head_ratio, i) / sum
                                   : twin_tail_mass / (c->vocabulary - c->head);
            t->z[s * c->vocabulary + i] = log(p);
            if (s == 0 && i < c->head && fabs(p - twin_correct_mass) < nearest) {
                nearest = fabs(p - twin_correct_mass);
                t->correct = i;
            }
        }
    }
}

static void rollout(struct twin *t, int n)
{
    const twin_case *c = t->c;
    double *p = malloc((size_t)c->vocabulary * sizeof *p);
    for (int s = 0; s < t->states; s++) {
        softmax(t->z + s * c->vocabulary, c->vocabulary, p);
        for (int i = 0; i < c->group; i++) {
            double u = sg_rng_uniform((sg_address){.seed = t->seed,
                                                   .stream = SG_STREAM_ROLLOUT,
                                                   .step = (uint32_t)n,
                                                   .prompt = (uint32_t)(s / c->length),
                                                   .sample = (uint32_t)i,
                                                   .token = (uint32_t)(s % c->length)});
            int y = 0;
            for (double sum = p[0]; sum <= u && y < c->vocabulary - 1; sum += p[y])
                y++;
            t->token[s][i] = y;
            t->logp_old[s][i] = log(p[y]);
        }
    }
    free(p);
    t->reward = t->zero_std = 0;
    for (int q = 0; q < c->prompts; q++) {
        double reward[MOST], mean = 0, square = 0;
        for (int i = 0; i < c->group; i++) {
            int right = 0;
            for (int k = 0; k < c->length; k++)
                right += t->token[q * c->length + k][i] == t->correct;
            reward[i] = c->fraction ? (double)right / c->length : right == c->length;
            mean += reward[i] / c->group;
        }
        for (int i = 0; i < c->group; i++)
            square += (reward[i] - mean) * (reward[i] - mean);
        double deviation = sqrt(square / (c->group - 1));
        for (int i = 0; i < c->group; i++)
            t->advantage[q][i] = c->advantage == TWIN_GROUP_STD
                                     ? (reward[i] - mean) / (deviation + 1e-6)
                                     : (reward[i] - mean) * c->group / (c->group - 1);
        if (square < 1e-20) {
            t->zero_std += 1.0 / c->prompts;
            for (int i = 0; i < c->group; i++)
                t->advantage[q][i] = 0;
        }
        t->reward += mean / c->prompts;
    }
}

static void shuffle(struct twin *t, int n, int epoch)
{
    for (int q = 0; q < t->c->prompts; q++) {
        for (int i = 0; i < t->c->group; i++)
            t->order[q][i] = i;
        for (int i = t->c->group - 1; i >= 1; i--) {
            double u = sg_rng_uniform((sg_address){.seed = t->seed,
                                                   .stream = SG_STREAM_SHUFFLE,
                                                   .step = (uint32_t)n,
                                                   .prompt = (uint32_t)q,
                                                   .sample = (uint32_t)i,
                                                   .token = (uint32_t)epoch});
            int j = (int)floor(u * (i + 1)), keep = t->order[q][i];
            t->order[q][i] = t->order[q][j];
            t->order[q][j] = keep;
        }
    }
}

/* Gate weight and coefficient of each token of a row from its log-ratios d. */
static void gates(const twin_case *c, const double *d, double A, double *weight,
                  double *coefficient)
{
    double mean = 0;
    for (int k = 0; k < c->length; k++)
        mean += d[k] / c->length;
    for (int k = 0; k < c->length; k++) {
        double r = exp(d[k]), s = exp(mean), tau = A > 0 ? c->a : c->b;
        switch (c->objective) {
        case TWIN_SAPO:
            weight[k] = pow(cosh(tau * (r - 1) / 2), -2);
            coefficient[k] = r * weight[k];
            break;
        case TWIN_SAPO_SEQUENCE:
            weight[k] = pow(cosh(tau * (s - 1) / 2), -2);
            coefficient[k] = s * weight[k];
            break;
        case TWIN_GRPO:
            weight[k] = !((A > 0 && r > 1 + c->b) || (A <= 0 && r < 1 - c->a));
            coefficient[k] = r * weight[k];
            break;
        case TWIN_GSPO:
            weight[k] = !((A > 0 && s > 1 + c->b) || (A <= 0 && s < 1 - c->a));
            coefficient[k] = s * weight[k];
            break;
        case TWIN_CISPO:
            coefficient[k] = r < c->a ? c->a : r > c->b ? c->b : r;
            weight[k] = coefficient[k] / r;
            break;
        case TWIN_GMPO: { /* the row's value is the geometric mean of clipped ratios */
            double product = 1;
            for (int l = 0; l < c->length; l++)
                product *= A > 0   ? fmin(exp(d[l]), exp(c->b))
                           : A < 0 ? fmax(exp(d[l]), exp(-c->a))
                                   : 1;
            weight[k] = A != 0 && !(A > 0 && d[k] > c->b) && !(A < 0 && d[k] < -c->a);
            coefficient[k] = weight[k] * pow(product, 1.0 / c->length);
            break;
        }
        default:
            coefficient[k] = 1;
            weight[k] = 1 / r;
        }
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double quantile(const double *sorted, int n, double p)
{
    double x = p * (n - 1), low = floor(x);
    int i = (int)low;
    return i + 1 < n ? sorted[i] * (1 - (x - low)) + sorted[i + 1] * (x - low) : sorted[i];
}

/* Sorted ratios of one sign. */
static void describe(double *ratio, int n, double *least, double *mean, double *most, double *q01,
                     double *q50, double *q99)
{
    *least = *mean = *most = *q01 = *q50 = *q99 = NAN;
    if (n == 0)
        return;
    qsort(ratio, (size_t)n, sizeof *ratio, compare);
    *mean = 0;
    for (int i = 0; i < n; i++)
        *mean += ratio[i] / n;
    *least = ratio[0];
    *most = ratio[n - 1];
    *q01 = quantile(ratio, n, 0.01);
    *q50 = quantile(ratio, n, 0.5);
    *q99 = quantile(ratio, n, 0.99);
}

/* One response of the minibatch: how far its tokens are from one common ratio. */
static void disperse(const struct twin *t, const double *d, double A, twin_row *row)
{
    const twin_case *c = t->c;
    int rows = t->part * c->prompts, n = c->length;
    double tau = c->objective != TWIN_SAPO && c->objective != TWIN_SAPO_SEQUENCE ? 1
                 : A > 0                                                         ? c->a
                                                                                 : c->b;
    double mean = 0, variance = 0, gate = 0, real = 0;
    for (int k = 0; k < n; k++)
        mean += d[k] / n;
    for (int k = 0; k < n; k++) {
        variance += pow(d[k] - mean, 2) / n;
        gate += pow(cosh(tau * d[k] / 2), -2) / n;
        real += pow(cosh(tau * (exp(d[k]) - 1) / 2), -2) / n;
    }
    double one = pow(cosh(tau * mean / 2), -2), bound = tau * tau / 4 * variance;
    row->sequence_variance += variance / rows;
    row->sequence_deviation += fabs(gate - one) / rows;
    row->sequence_bound += bound / rows;
    row->sequence_deviation_true += fabs(real - one) / rows;
    row->sequence_variance_max = fmax(row->sequence_variance_max, variance);
    row->sequence_deviation_max = fmax(row->sequence_deviation_max, fabs(gate - one));
    row->sequence_deviation_true_max = fmax(row->sequence_deviation_true_max, fabs(real - one));
    row->sequence_above_bound += (fabs(real - one) > bound + 1e-12) / (double)rows;
}

/* Mean log-likelihood of the minibatch's responses of one sign. */
static double likelihood(const struct twin *t, int k, int sign)
{
    const twin_case *c = t->c;
    double *p = malloc((size_t)c->vocabulary * sizeof *p), sum = 0, count = 0;
    for (int q = 0; q < c->prompts; q++) {
        for (int j = 0; j < t->part; j++) {
            int i = t->order[q][k * t->part + j];
            if (t->advantage[q][i] * sign <= 0)
                continue;
            count++;
            for (int l = 0; l < c->length; l++) {
                int s = q * c->length + l;
                softmax(t->z + s * c->vocabulary, c->vocabulary, p);
                sum += log(p[t->token[s][i]]);
            }
        }
    }
    free(p);
    return sum / count; /* NaN when there is none */
}

static void look(const struct twin *t, twin_row *row)
{
    const twin_case *c = t->c;
    int V = c->vocabulary;
    double *p = malloc((size_t)V * sizeof *p), product = 1, sum = 0;
    for (int s = 0; s < t->states; s++) {
        const double *z = t->z + s * V;
        double H = 0, tail = 0, tail_H = 0, head_H = 0, C = 0, most = 0, low = z[0], high = z[0];
        softmax(z, V, p);
        for (int i = 0; i < V; i++) {
            H -= p[i] * log(p[i]);
            C += p[i] * p[i];
            most = fmax(most, p[i]);
            low = fmin(low, z[i]);
            high = fmax(high, z[i]);
            if (i >= c->head) {
                tail += p[i];
                tail_H -= p[i] * log(p[i]);
            }
        }
        for (int i = 0; i < c->head; i++)
            head_H -= p[i] / (1 - tail) * log(p[i] / (1 - tail));
        row->entropy += H / t->states;
        row->head_entropy += head_H / t->states;
        row->tail_mass += tail / t->states;
        row->tail_mass_max = fmax(row->tail_mass_max, tail);
        row->tail_entropy_share += tail_H / H / t->states;
        row->collision += C / t->states;
        row->max_prob += most / t->states;
        row->logit_range = fmax(row->logit_range, high - low);
        if (s % c->length == 0)
            product = 1, sum = 0;
        product *= p[t->correct];
        sum += p[t->correct];
        if (s % c->length == c->length - 1) {
            double J = c->fraction ? sum / c->length : product;
            row->J += J / c->prompts;
            row->log_correct += log(J) / c->prompts;
        }
    }
    free(p);
}

static double update(struct twin *t, int s, int step, const double *gradient, double *delta)
{
    const twin_case *c = t->c;
    double norm2 = 0, mean = 0;
    for (int i = 0; i < c->vocabulary; i++)
        mean += gradient[i] * gradient[i] / c->vocabulary;
    for (int i = 0; i < c->vocabulary; i++) {
        double *m = &t->m[s * c->vocabulary + i], *v = &t->v[s * c->vocabulary + i],
               g = gradient[i];
        if (c->optimizer == TWIN_SGD) {
            delta[i] = c->lr * g;
        } else if (c->optimizer == TWIN_MOMENTUM) {
            *m = 0.9 * *m + g;
            delta[i] = c->lr * *m;
        } else {
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.999 * *v + 0.001 * (c->optimizer == TWIN_COUPLED_ADAM ? mean : g * g);
            double mhat = *m / (1 - pow(0.9, step)), vhat = *v / (1 - pow(0.999, step));
            delta[i] = c->lr * mhat / (sqrt(vhat) + 1e-8);
        }
        if (c->optimizer == TWIN_ADAMW)
            delta[i] -= c->lr * 0.05 * t->z[s * c->vocabulary + i];
        norm2 += delta[i] * delta[i];
        t->z[s * c->vocabulary + i] += delta[i];
    }
    return norm2;
}

static int sign(double x)
{
    return (x > 0) - (x < 0);
}

static double entropy(const double *p, int n)
{
    double H = 0;
    for (int i = 0; i < n; i++)
        H -= p[i] * log(p[i]);
    return H;
}

static double middle(const double *x, int n)
{
    double *sorted = malloc((size_t)n * sizeof *sorted);
    memcpy(sorted, x, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare);
    double value = quantile(sorted, n, 0.5);
    free(sorted);
    return value;
}

/* What only a look at every logit tells. */
typedef struct closely {
    double norm2, head2, reach, reached, agreed[2], told[2];
} closely;

static void look_closely(const struct twin *t, int s, int step, const int *sampled, const double *p,
                         const double *after, const double *gradient, const double *delta,
                         closely *c, twin_row *row)
{
    int V = t->c->vocabulary, K = t->c->head;
    double share = 1.0 / t->states, lr = t->c->lr, mean = 0, covariance = 0, tail = 0, tail_law = 0;
    double up2 = 0, moved = 0, highest = 0, pushed = 0, H = entropy(p, V), block = 0, above = 0;
    for (int i = 0; i < V; i++) {
        double g = gradient[i];
        c->norm2 += g * g;
        c->head2 += i < K ? g * g : 0;
        row->tv += fabs(after[i] - p[i]) / 2 * share;
        row->mean_drift += delta[i] / V * share;
        mean += p[i] * lr * g;
        if (sampled[i])
            moved = fmax(moved, fabs(delta[i]));
        else if (g > 0) {
            up2 += g * g;
            row->upward_push_max = fmax(row->upward_push_max, g);
        }
    }
    for (int i = 0; i < V; i++) {
        covariance += p[i] * (log(p[i]) + H) * (lr * gradient[i] - mean);
        if (i >= K) {
            tail += after[i] - p[i];
            tail_law += p[i] * (lr * gradient[i] - mean);
            block += delta[i] / (V - K);
        }
        if (!sampled[i]) {
            highest = fmax(highest, delta[i]);
            pushed += delta[i] > 0.01 * moved;
        }
    }
    row->upward_push_norm += sqrt(up2) * share;
    row->pushed_tokens += pushed * share;
    row->tail_step += fabs(block) / lr * share;
    c->reach += highest;
    c->reached += moved;
    double change = entropy(after, V) - H, law = -covariance;
    row->entropy_change += change * share;
    row->entropy_change_law += law * share;
    row->tail_change += tail * share;
    row->tail_change_law += tail_law * share;
    c->told[0] += law != 0;
    c->agreed[0] += law != 0 && sign(law) == sign(change);
    c->told[1] += tail_law != 0;
    c->agreed[1] += tail_law != 0 && sign(tail_law) == sign(tail);
    if (t->c->optimizer < TWIN_ADAM) {
        row->mean_square_head = row->mean_square_tail = row->tail_above_eps = NAN;
        return;
    }
    double rest = 1 - pow(0.999, step);
    const double *v = t->v + s * V;
    for (int i = K; i < V; i++)
        above += sqrt(v[i] / rest) > 1e-8;
    row->mean_square_head += middle(v, K) / rest * share;
    row->mean_square_tail += middle(v + K, V - K) / rest * share;
    row->tail_above_eps += above / (V - K) * share;
}

static void learn(struct twin *t, int step, int k, twin_row *row)
{
    const twin_case *c = t->c;
    int V = c->vocabulary, n = t->part * t->states, at = 0;
    double *p = malloc((size_t)V * sizeof *p), *after = malloc((size_t)V * sizeof *after);
    double *gradient = malloc((size_t)V * sizeof *gradient),
           *delta = malloc((size_t)V * sizeof *delta);
    double *ratio = malloc((size_t)n * sizeof *ratio), *signed_ratio[2];
    for (int side = 0; side < 2; side++)
        signed_ratio[side] = malloc((size_t)n * sizeof *ratio);
    double clipped[2] = {0}, low = 0, low_weight = 0;
    row->log_likelihood_pos = likelihood(t, k, 1);
    row->log_likelihood_neg = likelihood(t, k, -1);
    double(*push)[MOST] = calloc((size_t)t->states, sizeof *push);
    double factor = c->token_sum ? 1 : 1.0 / n; /* equal lengths: every mean is this one */
    double sum = 0, square = 0, weight_pos = 0, weight_neg = 0;
    int pos = 0, neg = 0;
    for (int q = 0; q < c->prompts; q++) {
        for (int j = 0; j < t->part; j++) {
            int i = t->order[q][k * t->part + j];
            double d[MOST], weight[MOST], coefficient[MOST], A = t->advantage[q][i];
            for (int l = 0; l < c->length; l++) {
                int s = q * c->length + l;
                softmax(t->z + s * V, V, p);
                d[l] = log(p[t->token[s][i]]) - t->logp_old[s][i];
            }
            gates(c, d, A, weight, coefficient);
            disperse(t, d, A, row);
            double mean = 0;
            for (int l = 0; l < c->length; l++)
                mean += d[l] / c->length;
            bool whole = c->objective == TWIN_GSPO || c->objective == TWIN_SAPO_SEQUENCE;
            for (int l = 0; l < c->length; l++) {
                double r = exp(d[l]), a_c_A = factor * coefficient[l] * A;
                push[q * c->length + l][j] = a_c_A;
                ratio[at++] = r;
                sum += r;
                square += r * r;
                row->kl_rollout += (r - 1 - d[l]) / n;
                row->effective_update_ratio += weight[l] / n;
                row->clipped_fraction += (A != 0 && coefficient[l] == 0) / (double)n;
                row->chi2 += pow(r - 1, 2) / n;
                row->ratio_beyond_2 += (fmax(r, 1 / r) > 2) / (double)n;
                if (A == 0)
                    continue;
                row->ratio_beyond_3_neg += (A < 0 && r > 3) / (double)n;
                if (coefficient[l] == 0) {
                    double seen = whole ? exp(mean) : r;
                    clipped[A < 0]++;
                    *(seen > 1 ? &row->clipped_above : &row->clipped_below) += 1.0 / n;
                }
                if (A > 0) {
                    signed_ratio[0][pos++] = r;
                    weight_pos += weight[l];
                    row->gate_mass_pos += fabs(a_c_A);
                } else {
                    signed_ratio[1][neg++] = r;
                    weight_neg += weight[l];
                    row->gate_mass_neg += fabs(a_c_A);
                    low += r < 0.8;
                    low_weight += r < 0.8 ? weight[l] : 0;
                }
            }
        }
    }
    describe(signed_ratio[0], pos, &row->ratio_min_pos, &row->ratio_mean_pos, &row->ratio_max_pos,
             &row->ratio_q01_pos, &row->ratio_q50_pos, &row->ratio_q99_pos);
    describe(signed_ratio[1], neg, &row->ratio_min_neg, &row->ratio_mean_neg, &row->ratio_max_neg,
             &row->ratio_q01_neg, &row->ratio_q50_neg, &row->ratio_q99_neg);
    row->clipped_fraction_pos = clipped[0] / pos; /* NaN when there is none */
    row->clipped_fraction_neg = clipped[1] / neg;
    row->low_ratio_share_neg = low / neg;
    row->low_ratio_weight_neg = low_weight / low;
    for (int l = 0; l < c->length; l++) {
        double position = 0;
        for (int s = l; s < t->states; s += c->length)
            for (int j = 0; j < t->part; j++)
                position += push[s][j];
        row->diffuse_push_sum += position;
        row->diffuse_push_position = fmax(row->diffuse_push_position, fabs(position));
    }
    qsort(ratio, (size_t)n, sizeof *ratio, compare);
    row->ratio_min = ratio[0];
    row->ratio_max = ratio[n - 1];
    row->ratio_mean = sum / n;
    row->ratio_q01 = quantile(ratio, n, 0.01);
    row->ratio_q50 = quantile(ratio, n, 0.5);
    row->ratio_q99 = quantile(ratio, n, 0.99);
    row->ess = sum * sum / (n * square);
    row->eur_pos = weight_pos / pos; /* NaN when there is none */
    row->eur_neg = weight_neg / neg;
    double gradient2 = 0, delta2 = 0;
    closely close = {0};
    int *sampled = malloc((size_t)V * sizeof *sampled);
    for (int s = 0; s < t->states; s++) {
        double net = 0, gross = 0;
        softmax(t->z + s * V, V, p);
        memset(gradient, 0, (size_t)V * sizeof *gradient);
        for (int j = 0; j < t->part; j++) { /* push * grad log pi(y) */
            int y = t->token[s][t->order[s / c->length][k * t->part + j]];
            for (int i = 0; i < V; i++)
                gradient[i] += push[s][j] * ((i == y) - p[i]);
            net += push[s][j];
            gross += fabs(push[s][j]);
        }
        row->diffuse_push += net / t->states;
        row->diffuse_share += gross > 0 ? net / gross / t->states : 0;
        for (int i = 0; i < V; i++)
            gradient2 += gradient[i] * gradient[i];
        delta2 += update(t, s, step, gradient, delta);
        softmax(t->z + s * V, V, after);
        for (int i = 0; i < V; i++) {
            sampled[i] = 0;
            for (int j = 0; j < t->part; j++)
                sampled[i] |= t->token[s][t->order[s / c->length][k * t->part + j]] == i;
            if (!sampled[i]) {
                row->upward_push += fmax(0, gradient[i]) / t->states;
                row->max_unsampled_push = fmax(row->max_unsampled_push, delta[i]);
            }
            row->kl_old_new += p[i] * log(p[i] / after[i]) / t->states;
            row->kl_new_old += after[i] * log(after[i] / p[i]) / t->states;
        }
        look_closely(t, s, step, sampled, p, after, gradient, delta, &close, row);
    }
    row->grad_norm = sqrt(gradient2);
    row->grad_head_share = close.head2 / close.norm2; /* NaN where nothing moves */
    row->unsampled_reach = close.reach / close.reached;
    row->entropy_sign = close.agreed[0] / close.told[0];
    row->tail_sign = close.agreed[1] / close.told[1];
    free(sampled);
    row->delta_norm = sqrt(delta2);
    row->log_likelihood_pos_after = likelihood(t, k, 1);
    row->log_likelihood_neg_after = likelihood(t, k, -1);
    free(p);
    free(after);
    free(gradient);
    free(delta);
    free(ratio);
    free(signed_ratio[0]);
    free(signed_ratio[1]);
    free(push);
}

void twin_train(const twin_case *c, uint64_t seed, twin_row *rows)
{
    struct twin t = {.c = c, .seed = seed, .states = c->prompts * c->length};
    size_t cells = (size_t)(t.states * c->vocabulary), states = (size_t)t.states;
    t.part = c->group / c->minibatches;
    t.z = calloc(cells, sizeof *t.z);
    t.m = calloc(cells, sizeof *t.m);
    t.v = calloc(cells, sizeof *t.v);
    t.token = calloc(states, sizeof *t.token);
    t.logp_old = calloc(states, sizeof *t.logp_old);
    t.advantage = calloc(states, sizeof *t.advantage);
    t.order = calloc(states, sizeof *t.order);
    start(&t);
    memset(rows, 0, (size_t)c->steps * sizeof *rows);
    for (int n = 0, step = 0; step < c->steps; n++) {
        rollout(&t, n);
        for (int epoch = 0; epoch < c->epochs; epoch++) {
            shuffle(&t, n, epoch);
            for (int k = 0; k < c->minibatches && step < c->steps; k++) {
                twin_row *row = &rows[step++];
                row->reward = t.reward;
                row->zero_std_groups = t.zero_std;
                look(&t, row);
                learn(&t, step, k, row);
            }
        }
    }
    free(t.z);
    free(t.m);
    free(t.v);
    free(t.token);
    free(t.logp_old);
    free(t.advantage);
    free(t.order);
}
