/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Head kernels of one precision: included by head.simd.c with SG_REAL, SG_NAME and SG_LEAST (below
 * it exp is 0) defined, hence no include guard. */

static void SG_NAME(finish)(size_t n, void *logits, const void *bias, double sharpness)
{
    SG_REAL *restrict z = logits;
    const SG_REAL *restrict b = bias;
    SG_REAL factor = (SG_REAL)sharpness;
    if (b)
        for (size_t i = 0; i < n; i++)
            z[i] = (z[i] + b[i]) * factor;
    else if (factor != 1)
        for (size_t i = 0; i < n; i++)
            z[i] *= factor;
    for (size_t i = n; i % SG_HEAD_PAD; i++)
        z[i] = -(SG_REAL)INFINITY;
}

/* NaN is skipped; a row of nothing but -inf gives -inf. */
static SG_REAL SG_NAME(greatest)(size_t n, const SG_REAL *z)
{
    SG_REAL lane[SG_HEAD_PAD], max = -(SG_REAL)INFINITY;
    for (size_t l = 0; l < SG_HEAD_PAD; l++)
        lane[l] = max;
    for (size_t i = 0; i < n; i += SG_HEAD_PAD)
        for (size_t l = 0; l < SG_HEAD_PAD; l++)
            lane[l] = z[i + l] > lane[l] ? z[i + l] : lane[l];
    for (size_t l = 0; l < SG_HEAD_PAD; l++)
        max = lane[l] > max ? lane[l] : max;
    return max;
}

static double SG_NAME(log_mass)(size_t n, const void *logits)
{
    const SG_REAL *restrict z = logits;
    SG_REAL e[SG_HEAD_TILE], max = SG_NAME(greatest)(n, z);
    if (max == -(SG_REAL)INFINITY)
        return z[0] != z[0] ? (double)NAN : -(double)INFINITY;
    for (size_t i = 0; i < n; i++)
        e[i] = SG_NAME(sg_decay)(1, z[i] - max);
    SG_REAL lane[SG_HEAD_PAD] = {0};
    for (size_t i = 0; i < n; i += SG_HEAD_PAD)
        for (size_t l = 0; l < SG_HEAD_PAD; l++)
            lane[l] += e[i + l];
    double sum = 0;
    for (size_t l = 0; l < SG_HEAD_PAD; l++)
        sum += (double)lane[l];
    return (double)max + sg_log(sum);
}

/* log_norm in two parts: rounding it once would scale the whole row. */
static void SG_NAME(weigh)(size_t n, void *logits, double factor, double log_norm)
{
    SG_REAL *restrict z = logits;
    SG_REAL high = (SG_REAL)log_norm, low = (SG_REAL)(log_norm - (double)high);
    SG_REAL scale = (SG_REAL)factor;
    for (size_t i = 0; i < n; i++)
        z[i] = SG_NAME(sg_decay)(scale, (z[i] - high) - low);
}

static void SG_NAME(add)(size_t n, const void *row, void *total)
{
    const SG_REAL *restrict z = row;
    SG_REAL *restrict sum = total;
    for (size_t i = 0; i < n; i++)
        sum[i] += z[i];
}

/* The padding has no least logit and did not underflow. */
static void SG_NAME(look)(size_t n, const void *logits, double log_norm, sg_head_sums *sums)
{
    const SG_REAL *restrict z = logits;
    double t[SG_HEAD_TILE], e[SG_HEAD_TILE], lost[SG_HEAD_TILE], low[SG_HEAD_TILE];
    for (size_t i = 0; i < n; i++) {
        double x = (double)z[i] - log_norm;
        t[i] = x < SG_LEAST ? SG_LEAST : x;
        e[i] = sg_decay_f64(1, x < SG_LEAST ? -1000.0 : x); /* 0 log 0 = 0 */
        lost[i] = (x < SG_LEAST && x > -(double)INFINITY) ? 1.0 : 0.0;
        low[i] = x > -(double)INFINITY ? -(double)z[i] : -(double)INFINITY;
    }
    double mass[8] = {0}, plogp[8] = {0}, squares[8] = {0}, none[8] = {0}, greatest[8];
    for (size_t l = 0; l < 8; l++)
        greatest[l] = -(double)INFINITY;
    for (size_t i = 0; i < n; i += 8)
        for (size_t l = 0; l < 8; l++) {
            mass[l] += e[i + l];
            plogp[l] += e[i + l] * t[i + l];
            squares[l] += e[i + l] * e[i + l];
            none[l] += lost[i + l];
            greatest[l] = low[i + l] > greatest[l] ? low[i + l] : greatest[l];
        }
    for (size_t l = 0; l < 8; l++) {
        sums->mass += mass[l];
        sums->plogp += plogp[l];
        sums->squares += squares[l];
        sums->underflowed += none[l];
        sums->min = -greatest[l] < sums->min ? -greatest[l] : sums->min;
    }
    double max = (double)SG_NAME(greatest)(n, z);
    sums->max = max > sums->max ? max : sums->max;
}

static void SG_NAME(compare)(size_t n, const void *logits_a, double norm_a, const void *logits_b,
                             double norm_b, double sums[3])
{
    const SG_REAL *a = logits_a, *b = logits_b;
    double ab[SG_HEAD_TILE], ba[SG_HEAD_TILE], apart[SG_HEAD_TILE];
    for (size_t i = 0; i < n; i++) {
        double s = (double)a[i] - norm_a, t = (double)b[i] - norm_b;
        s = s < -1e4 ? -1e4 : s;
        t = t < -1e4 ? -1e4 : t;
        double p = sg_exp(s), q = sg_exp(t);
        ab[i] = sg_kl_term(p, q, t - s);
        ba[i] = sg_kl_term(q, p, s - t);
        apart[i] = fabs(p - q);
    }
    for (size_t i = 0; i < n; i++) {
        sums[0] += ab[i];
        sums[1] += ba[i];
        sums[2] += 0.5 * apart[i];
    }
}

static size_t SG_NAME(find)(size_t n, const void *logits, double share)
{
    const SG_REAL *z = logits;
    double e[SG_HEAD_TILE], max = (double)SG_NAME(greatest)(n, z);
    for (size_t i = 0; i < n; i++)
        e[i] = sg_exp((double)z[i] - max);
    return sg_head_find(n, e, share);
}
