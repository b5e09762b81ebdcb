/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Kernels of one precision: included by net_kernels.c with SG_REAL, SG_NAME, SG_SIGMOID and SG_SQRT
 * defined, hence no include guard. d is the width, f the width inside an expert. */

static SG_REAL SG_NAME(dot)(size_t n, const SG_REAL *a, const SG_REAL *b)
{
    SG_REAL sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* y = gain x / rms(x); *inverse = 1 / rms(x). */
static void SG_NAME(normalize)(size_t d, const SG_REAL *x, const SG_REAL *gain, SG_REAL *y,
                               SG_REAL *inverse)
{
    double square = 0;
    for (size_t k = 0; k < d; k++)
        square += (double)x[k] * (double)x[k];
    SG_REAL scale = (SG_REAL)(1 / sqrt(square / (double)d + rms_floor));
    for (size_t k = 0; k < d; k++)
        y[k] = gain[k] * (x[k] * scale);
    *inverse = scale;
}

/* dx += what dy through the normalisation makes of it, dgain likewise. */
static void SG_NAME(normalize_back)(size_t d, const SG_REAL *x, const SG_REAL *gain,
                                    SG_REAL inverse, const SG_REAL *dy, SG_REAL *dx, SG_REAL *dgain)
{
    double along = 0;
    for (size_t k = 0; k < d; k++) {
        SG_REAL unit = x[k] * inverse;
        dgain[k] += dy[k] * unit;
        along += (double)dy[k] * (double)gain[k] * (double)unit;
    }
    SG_REAL mean = (SG_REAL)(along / (double)d);
    for (size_t k = 0; k < d; k++)
        dx[k] += inverse * (dy[k] * gain[k] - mean * (x[k] * inverse));
}

static void SG_NAME(embed)(const sg_net_pass *pass, const sg_net *net, const sg_net_view *view,
                           SG_REAL *x)
{
    const sg_net_config *c = &net->config;
    size_t d = c->width, slots = pass->slots;
    for (size_t r = 0; r < pass->rows; r++, x += d) {
        size_t i = pass->example[r], t = (size_t)pass->batch.positions[i], symbol;
        memcpy(x, (const SG_REAL *)view->positions + t * d, d * sizeof *x);
        for (size_t s = 0; s < slots; s++) {
            const SG_REAL *table =
                embedding(pass, view, c, s, pass->batch.contexts[i * slots + s], &symbol);
            if (!table)
                continue;
            const SG_REAL *mix = (const SG_REAL *)view->mix + (t * slots + s) * d;
            for (size_t k = 0; k < d; k++)
                x[k] += mix[k] * table[symbol * d + k];
        }
    }
}

static void SG_NAME(embed_back)(const sg_net_pass *pass, const sg_net *net, const sg_net_view *view,
                                const sg_net_view *gradient, const SG_REAL *dx)
{
    const sg_net_config *c = &net->config;
    size_t d = c->width, slots = pass->slots;
    for (size_t r = 0; r < pass->rows; r++, dx += d) {
        size_t i = pass->example[r], t = (size_t)pass->batch.positions[i], symbol;
        SG_REAL *position = (SG_REAL *)gradient->positions + t * d;
        for (size_t k = 0; k < d; k++)
            position[k] += dx[k];
        for (size_t s = 0; s < slots; s++) {
            int32_t what = pass->batch.contexts[i * slots + s];
            const SG_REAL *table = embedding(pass, view, c, s, what, &symbol);
            SG_REAL *dtable = embedding(pass, gradient, c, s, what, &symbol);
            if (!table)
                continue;
            const SG_REAL *mix = (const SG_REAL *)view->mix + (t * slots + s) * d;
            SG_REAL *dmix = (SG_REAL *)gradient->mix + (t * slots + s) * d;
            for (size_t k = 0; k < d; k++) {
                dmix[k] += dx[k] * table[symbol * d + k];
                dtable[symbol * d + k] += dx[k] * mix[k];
            }
        }
    }
}

/* The set of each row, its gates, and the assignments by expert. */
static void SG_NAME(route)(const sg_net_pass *pass, const sg_net_config *c, size_t block,
                           sg_net_block_state *s, const SG_REAL *router)
{
    size_t experts = expert_count(c), d = c->width, next[SG_ROUTE_EXPERTS] = {0};
    double scores[SG_ROUTE_EXPERTS] = {0}, gates[SG_ROUTE_EXPERTS];
    SG_REAL *gate = s->gate;
    memset(s->first, 0, sizeof s->first);
    /* Twice: the first time only counts. */
    for (int filling = 0; filling < 2; filling++) {
        for (size_t r = 0; r < pass->rows; r++) {
            size_t i = pass->example[r];
            for (size_t e = 0; router && e < experts; e++)
                scores[e] = (double)SG_NAME(dot)(d, router + e * d, (const SG_REAL *)s->n + r * d);
            if (!router)
                s->set[r] = 1;
            else if (pass->batch.routes)
                s->set[r] = pass->batch.routes[i * c->blocks + block];
            else if (!filling)
                s->set[r] = sg_route_choose(scores, experts, c->top_k);
            size_t n = sg_route_gates(scores, s->set[r], gates), g = 0;
            s->gate_entropy[r] = 0;
            for (size_t j = 0; j < n; j++)
                s->gate_entropy[r] -= gates[j] > 0 ? gates[j] * sg_log(gates[j]) : 0;
            for (uint64_t left = s->set[r]; left; left &= left - 1, g++) {
                size_t e = (size_t)__builtin_ctzll(left);
                if (!filling) {
                    s->first[e + 1]++;
                    continue;
                }
                s->row[s->first[e] + next[e]] = (uint32_t)r;
                gate[s->first[e] + next[e]++] = (SG_REAL)gates[g];
            }
        }
        for (size_t e = 0; !filling && e < SG_ROUTE_EXPERTS; e++)
            s->first[e + 1] += s->first[e];
    }
}

static void SG_NAME(gather)(size_t m, size_t d, const uint32_t *row, const SG_REAL *from,
                            SG_REAL *to)
{
    for (size_t a = 0; a < m; a++)
        memcpy(to + a * d, from + row[a] * d, d * sizeof *to);
}

/* x_out = x + sum of gate * E(n). */
static void SG_NAME(block)(const sg_net_pass *pass, const sg_net *net, const sg_net_view *view,
                           size_t b, sg_net_block_state *s, SG_REAL *x_out)
{
    const sg_net_config *c = &net->config;
    const sg_matrix_kernels *matrix = sg_matrix_select(c->precision);
    size_t d = c->width, f = c->hidden;
    work w = work_of(pass, c);
    for (size_t r = 0; r < pass->rows; r++)
        SG_NAME(normalize)
    (d, (const SG_REAL *)s->x + r * d, view->block[b].gain, (SG_REAL *)s->n + r * d,
     (SG_REAL *)s->inverse_rms + r);
    SG_NAME(route)(pass, c, b, s, view->block[b].router);
    memcpy(x_out, s->x, pass->rows * d * sizeof *x_out);
    for (size_t e = 0; e < expert_count(c); e++) {
        size_t first = s->first[e], m = s->first[e + 1] - first;
        if (m == 0)
            continue;
        SG_REAL *inner = (SG_REAL *)s->inner + first * f,
                *active = (SG_REAL *)s->active + first * f;
        SG_REAL *outer = (SG_REAL *)s->outer + first * d;
        SG_NAME(gather)(m, d, s->row + first, s->n, w.gathered);
        matrix->pack(d, f, (const SG_REAL *)view->block[b].inner + e * f * d, 1, d, w.weights);
        matrix->multiply(m, f, d, w.gathered, d, 1, w.weights, inner, f, false);
        SG_SIGMOID(m * f, inner, active);
        for (size_t i = 0; i < m * f; i++)
            active[i] *= inner[i];
        matrix->pack(f, d, (const SG_REAL *)view->block[b].outer + e * d * f, 1, f, w.weights);
        matrix->multiply(m, d, f, active, f, 1, w.weights, outer, d, false);
        for (size_t a = 0; a < m; a++) {
            SG_REAL gate = ((const SG_REAL *)s->gate)[first + a];
            SG_REAL *x = x_out + s->row[first + a] * d;
            for (size_t k = 0; k < d; k++)
                x[k] += gate * outer[a * d + k];
        }
    }
}

/* Scores get g (dg - sum g dg); dgate: [assignments]. */
static void SG_NAME(router_back)(const sg_net_pass *pass, const sg_net_config *c,
                                 const sg_net_block_state *s, const SG_REAL *router,
                                 const SG_REAL *dgate, SG_REAL *drouter, SG_REAL *dn)
{
    size_t d = c->width;
    const SG_REAL *gate = s->gate;
    SG_REAL *mean = (SG_REAL *)work_of(pass, c).spread; /* [rows] */
    memset(mean, 0, pass->rows * sizeof *mean);
    for (size_t a = 0; a < s->first[c->experts]; a++)
        mean[s->row[a]] += gate[a] * dgate[a];
    for (size_t e = 0; e < c->experts; e++)
        for (size_t a = s->first[e]; a < s->first[e + 1]; a++) {
            size_t r = s->row[a];
            SG_REAL dscore = gate[a] * (dgate[a] - mean[r]);
            const SG_REAL *n = (const SG_REAL *)s->n + r * d;
            for (size_t k = 0; k < d; k++) {
                drouter[e * d + k] += dscore * n[k];
                dn[r * d + k] += dscore * router[e * d + k];
            }
        }
}

/* dx holds the gradient of what leaves the block, then of what enters it. */
static void SG_NAME(block_back)(const sg_net_pass *pass, const sg_net *net, const sg_net_view *view,
                                const sg_net_view *gradient, size_t b)
{
    const sg_net_config *c = &net->config;
    const sg_net_block_state *s = &pass->block[b];
    const sg_matrix_kernels *matrix = sg_matrix_select(c->precision);
    size_t d = c->width, f = c->hidden;
    work w = work_of(pass, c);
    SG_REAL *dx = pass->dx, *dn = pass->dn, *dgate = pass->dgate;
    memset(dn, 0, pass->rows * d * sizeof *dn);
    for (size_t e = 0; e < expert_count(c); e++) {
        size_t first = s->first[e], m = s->first[e + 1] - first;
        if (m == 0)
            continue;
        const SG_REAL *inner = (const SG_REAL *)s->inner + first * f;
        const SG_REAL *active = (const SG_REAL *)s->active + first * f;
        const SG_REAL *outer = (const SG_REAL *)s->outer + first * d;
        SG_REAL *douter = w.outer, *dinner = w.inner, *dgathered = w.spread;
        for (size_t a = 0; a < m; a++) {
            const SG_REAL *out = dx + s->row[first + a] * d;
            SG_REAL gate = ((const SG_REAL *)s->gate)[first + a];
            dgate[first + a] = SG_NAME(dot)(d, out, outer + a * d);
            for (size_t k = 0; k < d; k++)
                douter[a * d + k] = gate * out[k];
        }
        matrix->pack(m, f, active, f, 1, w.rows);
        matrix->multiply(d, f, m, douter, 1, d, w.rows,
                         (SG_REAL *)gradient->block[b].outer + e * d * f, f, true);
        matrix->pack(d, f, (const SG_REAL *)view->block[b].outer + e * d * f, f, 1, w.weights);
        matrix->multiply(m, f, d, douter, d, 1, w.weights, dinner, f, false);
        SG_REAL *sigmoid = dgathered; /* whose turn comes later */
        SG_SIGMOID(m * f, inner, sigmoid);
        for (size_t i = 0; i < m * f; i++)
            dinner[i] *= sigmoid[i] * (1 + inner[i] * (1 - sigmoid[i]));
        SG_NAME(gather)(m, d, s->row + first, s->n, w.gathered);
        matrix->pack(m, d, w.gathered, d, 1, w.rows);
        matrix->multiply(f, d, m, dinner, 1, f, w.rows,
                         (SG_REAL *)gradient->block[b].inner + e * f * d, d, true);
        matrix->pack(f, d, (const SG_REAL *)view->block[b].inner + e * f * d, d, 1, w.weights);
        matrix->multiply(m, d, f, dinner, f, 1, w.weights, dgathered, d, false);
        for (size_t a = 0; a < m; a++)
            for (size_t k = 0; k < d; k++)
                dn[s->row[first + a] * d + k] += dgathered[a * d + k];
    }
    if (view->block[b].router)
        SG_NAME(router_back)
    (pass, c, s, view->block[b].router, dgate, gradient->block[b].router, dn);
    for (size_t r = 0; r < pass->rows; r++)
        SG_NAME(normalize_back)
    (d, (const SG_REAL *)s->x + r * d, view->block[b].gain, ((const SG_REAL *)s->inverse_rms)[r],
     dn + r * d, dx + r * d, gradient->block[b].gain);
}

/* A random direction for each context, of length sqrt(d). */
static void SG_NAME(frozen)(sg_net_pass *pass, const sg_net *net)
{
    size_t d = pass->width;
    for (size_t r = 0; r < pass->rows; r++) {
        SG_REAL *h = (SG_REAL *)pass->h + r * d;
        size_t i = pass->example[r];
        uint64_t hash = UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)pass->batch.positions[i];
        for (size_t s = 0; s <= pass->slots; s++) {
            hash = (hash ^ hash >> 29) * UINT64_C(0xff51afd7ed558ccd);
            if (s < pass->slots)
                hash ^= (uint32_t)pass->batch.contexts[i * pass->slots + s];
        }
        sg_address at = {net->feature_seed, SG_STREAM_INIT, (uint32_t)(hash >> 32),
                         FEATURES,          (uint32_t)hash, 0};
        double square = 0, pair[2];
        for (size_t k = 0; k < d; k++) {
            at.token = (uint32_t)(k / 2);
            if (k % 2 == 0)
                sg_rng_normal_pair(at, pair);
            square += pair[k % 2] * pair[k % 2];
        }
        double scale = sqrt((double)d / square);
        for (size_t k = 0; k < d; k++) {
            at.token = (uint32_t)(k / 2);
            if (k % 2 == 0)
                sg_rng_normal_pair(at, pair);
            h[k] = (SG_REAL)(scale * pair[k % 2]);
        }
    }
}

static void SG_NAME(forward)(sg_net_pass *pass, const sg_net *net)
{
    const sg_net_config *c = &net->config;
    sg_net_view view = look(net, pass->embeddings.rows);
    if (c->frozen_features) {
        SG_NAME(frozen)(pass, net);
        return;
    }
    SG_NAME(embed)(pass, net, &view, c->blocks ? pass->block[0].x : pass->x);
    for (size_t b = 0; b < c->blocks; b++)
        SG_NAME(block)
    (pass, net, &view, b, &pass->block[b], b + 1 < c->blocks ? pass->block[b + 1].x : pass->x);
    for (size_t r = 0; r < pass->rows; r++)
        SG_NAME(normalize)
    (c->width, (const SG_REAL *)pass->x + r * c->width, view.final_gain,
     (SG_REAL *)pass->h + r * c->width, (SG_REAL *)pass->inverse_rms + r);
}

static void SG_NAME(backward)(sg_net_pass *pass, const sg_net *net, sg_net *gradient)
{
    const sg_net_config *c = &net->config;
    size_t d = c->width, m = pass->rows;
    sg_net_view view = look(net, pass->embeddings.rows),
                out = look(gradient, pass->embeddings.gradients);
    SG_REAL *dx = pass->dx;
    memset(dx, 0, m * d * sizeof *dx);
    for (size_t r = 0; r < m; r++)
        SG_NAME(normalize_back)
    (d, (const SG_REAL *)pass->x + r * d, view.final_gain, ((const SG_REAL *)pass->inverse_rms)[r],
     (const SG_REAL *)pass->dh + r * d, dx + r * d, out.final_gain);
    for (size_t b = c->blocks; b-- > 0;)
        SG_NAME(block_back)(pass, net, &view, &out, b);
    SG_NAME(embed_back)(pass, net, &view, &out, dx);
}
