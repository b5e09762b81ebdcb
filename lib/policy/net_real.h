/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Kernels of one precision: included by net_kernels.c with SG_REAL, SG_NAME and SG_SIGMOID defined,
 * hence no include guard. d is the width, f the width inside an expert. */

/* Sum of a b along a row. */
static double SG_NAME(dot)(size_t n, const SG_REAL *a, const SG_REAL *b)
{
    double lane[SG_NET_LANES] = {0};
    size_t whole = n / SG_NET_LANES * SG_NET_LANES;
    for (size_t i = 0; i < whole; i += SG_NET_LANES)
        for (size_t l = 0; l < SG_NET_LANES; l++)
            lane[l] += (double)a[i + l] * (double)b[i + l];
    for (size_t i = whole; i < n; i++)
        lane[i - whole] += (double)a[i] * (double)b[i];
    for (size_t half = SG_NET_LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

static sg_status SG_NAME(normalize)(const sg_net_state *s, const void *from, const void *factor,
                                    void *to, void *inverse, sg_error *error)
{
    size_t d = s->width;
    const SG_REAL *x = from, *gain = factor;
    SG_REAL *y = to;
    (void)error;
    for (size_t r = 0; r < s->rows; r++, x += d, y += d) {
        SG_REAL scale = (SG_REAL)sg_net_inverse_rms(SG_NAME(dot)(d, x, x), (double)d);
        for (size_t k = 0; k < d; k++)
            y[k] = gain[k] * (x[k] * scale);
        ((SG_REAL *)inverse)[r] = scale;
    }
    return SG_OK;
}

static sg_status SG_NAME(normalize_back)(const sg_net_state *s, const void *from,
                                         const void *factor, const void *to, const void *inverse,
                                         const void *slope, void *dfactor, sg_error *error)
{
    size_t d = s->width;
    const SG_REAL *x = from, *gain = factor, *y = to, *dy = slope;
    SG_REAL *dx = s->dx, *dgain = dfactor, *tile = s->tiles;
    (void)error;
    for (size_t start = 0; start < s->rows; start += SG_NET_TILE) {
        size_t stop = s->rows - start < SG_NET_TILE ? s->rows : start + SG_NET_TILE;
        memset(tile, 0, d * sizeof *tile);
        for (size_t r = start; r < stop; r++, x += d, y += d, dy += d, dx += d) {
            SG_REAL scale = ((const SG_REAL *)inverse)[r];
            SG_REAL mean = (SG_REAL)(SG_NAME(dot)(d, dy, y) / (double)d);
            for (size_t k = 0; k < d; k++) {
                SG_REAL unit = x[k] * scale;
                tile[k] += dy[k] * unit;
                dx[k] += SG_NAME(sg_net_rms_slope)(scale, dy[k], gain[k], mean, unit);
            }
        }
        for (size_t k = 0; k < d; k++)
            dgain[k] += tile[k];
    }
    return SG_OK;
}

/* ---- embeddings */

static sg_status SG_NAME(embed)(const sg_net_state *s, const sg_net_view *net, void *out,
                                sg_error *error)
{
    size_t d = s->width, slots = s->slots;
    SG_REAL *x = out;
    (void)error;
    for (size_t r = 0; r < s->rows; r++, x += d) {
        size_t t = (size_t)s->position[r];
        memcpy(x, (const SG_REAL *)net->positions + t * d, d * sizeof *x);
        for (size_t slot = 0; slot < slots; slot++) {
            int32_t symbol = s->context[r * slots + slot];
            if (symbol < 0)
                continue;
            const SG_REAL *mix = (const SG_REAL *)net->mix + (t * slots + slot) * d;
            const SG_REAL *row = slot < s->prompt_length ? net->prompts : net->tokens;
            row += (size_t)symbol * d;
            for (size_t k = 0; k < d; k++)
                x[k] += mix[k] * row[k];
        }
    }
    return SG_OK;
}

static sg_status SG_NAME(embed_back)(const sg_net_state *s, const sg_net_view *net,
                                     const sg_net_view *gradient, const sg_net_terms *terms,
                                     void *parts, sg_error *error)
{
    size_t d = s->width;
    SG_REAL *tile = s->tiles;
    (void)parts;
    (void)error;
    for (size_t p = 0; p < terms->pieces; p++) {
        SG_REAL *to = (SG_REAL *)gradient->numbers + terms->to[p];
        memset(tile, 0, d * sizeof *tile);
        for (size_t i = terms->first[p]; i < terms->first[p + 1]; i++) {
            const SG_REAL *dx = (const SG_REAL *)s->dx + terms->row[i] * d;
            const SG_REAL *factor = terms->factor[i] == SIZE_MAX
                                        ? NULL
                                        : (const SG_REAL *)net->numbers + terms->factor[i];
            for (size_t k = 0; k < d; k++)
                tile[k] += factor ? dx[k] * factor[k] : dx[k];
        }
        for (size_t k = 0; k < d; k++)
            to[k] += tile[k];
    }
    return SG_OK;
}

/* ---- routes */

static sg_status SG_NAME(route)(const sg_net_state *s, size_t block, const sg_net_view *net,
                                sg_error *error)
{
    size_t d = s->width, next[SG_ROUTE_EXPERTS] = {0};
    double scores[SG_ROUTE_EXPERTS] = {0}, gates[SG_ROUTE_EXPERTS];
    const sg_net_block_state *b = &s->block[block];
    const SG_REAL *router = net->block[block].router;
    SG_REAL *gate = b->gate;
    (void)error;
    memset(b->first, 0, (s->experts + 1) * sizeof *b->first);
    /* Twice: the first time only counts. */
    for (int filling = 0; filling < 2; filling++) {
        for (size_t r = 0; r < s->rows; r++) {
            for (size_t e = 0; router && e < s->experts; e++)
                scores[e] = SG_NAME(dot)(d, router + e * d, (const SG_REAL *)b->n + r * d);
            if (!filling)
                b->set[r] = !router ? 1
                            : s->routes
                                ? s->routes[r * s->blocks + block]
                                : sg_route_choose(scores, (unsigned)s->experts, (unsigned)s->top_k);
            unsigned n = sg_route_gates(scores, b->set[r], gates), g = 0;
            b->gate_entropy[r] = sg_route_entropy(gates, n);
            for (size_t e = 0; e < s->experts; e++) {
                if (!(b->set[r] >> e & 1))
                    continue;
                if (!filling) {
                    b->first[e + 1]++;
                    continue;
                }
                uint32_t a = b->first[e] + (uint32_t)next[e]++;
                b->place[r * s->top_k + g] = a;
                b->row[a] = (uint32_t)r;
                gate[a] = (SG_REAL)gates[g++];
            }
        }
        for (size_t e = 0; !filling && e < s->experts; e++)
            b->first[e + 1] += b->first[e];
    }
    return SG_OK;
}

/* Scores get g (dg - sum g dg). */
static sg_status SG_NAME(router_back)(const sg_net_state *s, size_t block, const sg_net_view *net,
                                      const sg_net_view *gradient, sg_error *error)
{
    size_t d = s->width;
    const sg_net_block_state *b = &s->block[block];
    const SG_REAL *gate = b->gate, *dgate = s->dgate, *router = net->block[block].router;
    SG_REAL *drouter = gradient->block[block].router, *dn = s->dn;
    SG_REAL *mean = s->spread, *tile = s->tiles;
    (void)error;
    for (size_t r = 0; r < s->rows; r++) {
        mean[r] = 0;
        for (size_t j = 0; j < s->top_k; j++)
            mean[r] += gate[b->place[r * s->top_k + j]] * dgate[b->place[r * s->top_k + j]];
    }
    for (size_t e = 0; e < s->experts; e++)
        for (size_t start = b->first[e]; start < b->first[e + 1]; start += SG_NET_TILE) {
            size_t end = b->first[e + 1];
            size_t stop = end - start < SG_NET_TILE ? end : start + SG_NET_TILE;
            memset(tile, 0, d * sizeof *tile);
            for (size_t a = start; a < stop; a++) {
                size_t r = b->row[a];
                SG_REAL dscore = gate[a] * (dgate[a] - mean[r]);
                const SG_REAL *n = (const SG_REAL *)b->n + r * d;
                for (size_t k = 0; k < d; k++) {
                    tile[k] += dscore * n[k];
                    dn[r * d + k] += dscore * router[e * d + k];
                }
            }
            for (size_t k = 0; k < d; k++)
                drouter[e * d + k] += tile[k];
        }
    return SG_OK;
}

/* ---- experts */

static void SG_NAME(gather)(size_t m, size_t d, const uint32_t *row, const SG_REAL *from,
                            SG_REAL *to)
{
    for (size_t a = 0; a < m; a++)
        memcpy(to + a * d, from + row[a] * d, d * sizeof *to);
}

static sg_status SG_NAME(experts)(const sg_net_state *s, size_t block, const sg_net_view *net,
                                  void *out, sg_error *error)
{
    const sg_matrix_kernels *matrix = sg_matrix_select(s->precision);
    const sg_net_block_state *b = &s->block[block];
    size_t d = s->width, f = s->hidden;
    (void)error;
    for (size_t e = 0; e < s->experts; e++) {
        size_t first = b->first[e], m = b->first[e + 1] - first;
        if (m == 0)
            continue;
        SG_REAL *inner = (SG_REAL *)b->inner + first * f,
                *active = (SG_REAL *)b->active + first * f;
        SG_NAME(gather)(m, d, b->row + first, b->n, s->gathered);
        matrix->pack(d, f, (const SG_REAL *)net->block[block].inner + e * f * d, 1, d,
                     s->packed_weights);
        matrix->multiply(m, f, d, s->gathered, d, 1, s->packed_weights, inner, f, false);
        SG_SIGMOID(m * f, inner, active);
        for (size_t i = 0; i < m * f; i++)
            active[i] *= inner[i];
        matrix->pack(f, d, (const SG_REAL *)net->block[block].outer + e * d * f, 1, f,
                     s->packed_weights);
        matrix->multiply(m, d, f, active, f, 1, s->packed_weights, (SG_REAL *)b->outer + first * d,
                         d, false);
    }
    SG_REAL *x = out;
    memcpy(x, b->x, s->rows * d * sizeof *x);
    for (size_t r = 0; r < s->rows; r++, x += d)
        for (size_t j = 0; j < s->top_k; j++) {
            size_t a = b->place[r * s->top_k + j];
            const SG_REAL *outer = (const SG_REAL *)b->outer + a * d;
            SG_REAL gate = ((const SG_REAL *)b->gate)[a];
            for (size_t k = 0; k < d; k++)
                x[k] += gate * outer[k];
        }
    return SG_OK;
}

static sg_status SG_NAME(experts_back)(const sg_net_state *s, size_t block, const sg_net_view *net,
                                       const sg_net_view *gradient, sg_error *error)
{
    const sg_matrix_kernels *matrix = sg_matrix_select(s->precision);
    const sg_net_block_state *b = &s->block[block];
    size_t d = s->width, f = s->hidden;
    SG_REAL *dx = s->dx, *dn = s->dn, *dgate = s->dgate;
    SG_REAL *douter = s->douter, *dinner = s->dinner, *spread = s->spread;
    (void)error;
    memset(dn, 0, s->rows * d * sizeof *dn);
    for (size_t e = 0; e < s->experts; e++) {
        size_t first = b->first[e], m = b->first[e + 1] - first;
        if (m == 0)
            continue;
        const SG_REAL *inner = (const SG_REAL *)b->inner + first * f;
        const SG_REAL *active = (const SG_REAL *)b->active + first * f;
        const SG_REAL *outer = (const SG_REAL *)b->outer + first * d;
        for (size_t a = 0; a < m; a++) {
            const SG_REAL *out = dx + b->row[first + a] * d;
            SG_REAL gate = ((const SG_REAL *)b->gate)[first + a];
            dgate[first + a] = (SG_REAL)SG_NAME(dot)(d, out, outer + a * d);
            for (size_t k = 0; k < d; k++)
                douter[a * d + k] = gate * out[k];
        }
        matrix->pack(m, f, active, f, 1, s->packed_rows);
        matrix->multiply(d, f, m, douter, 1, d, s->packed_rows,
                         (SG_REAL *)gradient->block[block].outer + e * d * f, f, true);
        matrix->pack(d, f, (const SG_REAL *)net->block[block].outer + e * d * f, f, 1,
                     s->packed_weights);
        matrix->multiply(m, f, d, douter, d, 1, s->packed_weights, dinner, f, false);
        SG_SIGMOID(m * f, inner, spread);
        for (size_t i = 0; i < m * f; i++)
            dinner[i] *= SG_NAME(sg_silu_slope)(inner[i], spread[i]);
        SG_NAME(gather)(m, d, b->row + first, b->n, s->gathered);
        matrix->pack(m, d, s->gathered, d, 1, s->packed_rows);
        matrix->multiply(f, d, m, dinner, 1, f, s->packed_rows,
                         (SG_REAL *)gradient->block[block].inner + e * f * d, d, true);
        matrix->pack(f, d, (const SG_REAL *)net->block[block].inner + e * f * d, d, 1,
                     s->packed_weights);
        matrix->multiply(m, d, f, dinner, f, 1, s->packed_weights, spread, d, false);
        for (size_t a = 0; a < m; a++)
            for (size_t k = 0; k < d; k++)
                dn[b->row[first + a] * d + k] += spread[a * d + k];
    }
    return SG_OK;
}

static sg_status SG_NAME(weigh)(const sg_net_state *s, const double *weight, double *sums,
                                sg_error *error)
{
    const SG_REAL *h = s->h;
    (void)error;
    memset(sums, 0, s->width * sizeof *sums);
    for (size_t r = 0; r < s->rows; r++, h += s->width)
        for (size_t k = 0; k < s->width; k++)
            sums[k] += weight[r] * (double)h[k];
    return SG_OK;
}
