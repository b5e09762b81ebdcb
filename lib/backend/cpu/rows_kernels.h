/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Kernels of one precision: included by rows.simd.c with SG_REAL, SG_NAME, SG_SCALE_EXP,
 * SG_SCALE_EXP_NEAR, SG_EXPM1_SMALL,
 * SG_SMALL, SG_ENTROPY_LOG, SG_SQRT and the names of its bits defined, hence no include guard. A
 * tile is handled in short stages; what passes between them stays in the first-level cache, and
 * each stage is a plain loop that compilers turn into vector code. */

/* One tile of a row. n is a multiple of SG_LANES and covers the padding. */
typedef struct SG_NAME(tile) {
    SG_REAL *q, *m, *v;
    size_t n;
} SG_NAME(tile);

static SG_NAME(tile) SG_NAME(tile_at)(const sg_row_view *row, size_t index)
{
    size_t base = index * SG_TILE, n = row->padded - base;
    SG_NAME(tile)
    tile = {(SG_REAL *)row->q + base, row->m ? (SG_REAL *)row->m + base : NULL,
            row->v ? (SG_REAL *)row->v + base : NULL, n < SG_TILE ? n : SG_TILE};
    return tile;
}

/* Sum of q over a tile: 16 lanes in double precision. */
static double SG_NAME(tile_mass)(const SG_REAL *q, size_t n)
{
    sg_lanes a = {0}, b = {0}, x, y;
    for (size_t i = 0; i < n; i += 16) {
        SG_NAME(widen)(q + i, &x);
        SG_NAME(widen)(q + i + 8, &y);
        a += x;
        b += y;
    }
    return lanes_total(&a, &b);
}

static double SG_NAME(tile_square)(const SG_REAL *q, size_t n)
{
    sg_lanes a = {0}, b = {0}, x, y;
    for (size_t i = 0; i < n; i += 16) {
        SG_NAME(widen)(q + i, &x);
        SG_NAME(widen)(q + i + 8, &y);
        a += x * x;
        b += y * y;
    }
    return lanes_total(&a, &b);
}

static void SG_NAME(set)(const sg_row_view *row, const double *logits, double offset)
{
    SG_REAL *q = row->q;
    for (size_t i = 0; i < row->vocabulary; i++)
        q[i] = (SG_REAL)sg_exp(logits[i] - offset);
    for (size_t t = 0; t * SG_TILE < row->padded; t++) {
        SG_NAME(tile) tile = SG_NAME(tile_at)(row, t);
        row->mass[t] = SG_NAME(tile_mass)(tile.q, tile.n);
    }
}

static void SG_NAME(get)(const sg_row_view *row, double *logits, double offset)
{
    const SG_REAL *q = row->q;
    for (size_t i = 0; i < row->vocabulary; i++)
        logits[i] = sg_log((double)q[i]) + offset;
}

static void SG_NAME(fill)(const sg_row_view *row, double value)
{
    SG_REAL *q = row->q;
    for (size_t i = 0; i < row->padded; i++)
        q[i] = i < row->vocabulary ? (SG_REAL)value : 0;
    if (row->m)
        memset(row->m, 0, row->padded * sizeof(SG_REAL));
    if (row->v)
        memset(row->v, 0, row->padded * sizeof(SG_REAL));
    for (size_t t = 0; t * SG_TILE < row->padded; t++) {
        SG_NAME(tile) tile = SG_NAME(tile_at)(row, t);
        row->mass[t] = SG_NAME(tile_mass)(tile.q, tile.n);
    }
}

static void SG_NAME(rescale)(const sg_row_view *row, double power)
{
    SG_REAL *q = row->q, factor = (SG_REAL)power;
    for (size_t i = 0; i < row->padded; i++)
        q[i] *= factor;
    for (size_t t = 0; t * SG_TILE < row->padded; t++) {
        SG_NAME(tile) tile = SG_NAME(tile_at)(row, t);
        row->mass[t] = SG_NAME(tile_mass)(tile.q, tile.n);
    }
}

/* The change x of each logit of a tile, as if no token had a sample; moments move on unless
 * `look_only`. */
static void SG_NAME(changes)(const SG_NAME(tile) * tile, const sg_row_job *job, SG_REAL *restrict x,
                             bool look_only)
{
    const SG_REAL *restrict q = tile->q;
    SG_REAL *restrict m = tile->m, *restrict v = tile->v;
    const SG_NAME(sg_row_rule) rule = SG_NAME(sg_row_rule_of)(job);
    if (job->kind == SG_SGD) {
        for (size_t i = 0; i < tile->n; i++)
            x[i] = rule.factor * q[i];
    } else if (job->kind == SG_MOMENTUM) {
        for (size_t i = 0; i < tile->n; i++) {
            SG_REAL b = SG_NAME(sg_row_momentum)(rule, q[i], m[i]);
            x[i] = rule.step * b;
            m[i] = look_only ? m[i] : b;
        }
    } else {
        for (size_t i = 0; i < tile->n; i++) {
            SG_REAL first = SG_NAME(sg_row_adam_first)(rule, q[i], m[i]);
            SG_REAL second = SG_NAME(sg_row_adam_second)(rule, q[i], v[i]);
            x[i] = SG_NAME(sg_row_adam)(rule, first, second);
            m[i] = look_only ? m[i] : first;
            v[i] = look_only ? v[i] : second;
        }
    }
    if (job->decay > 0)
        for (size_t i = 0; i < tile->n; i++)
            x[i] -= SG_NAME(sg_row_fade)(rule, q[i]);
}

static void SG_NAME(lift)(touched *list, const SG_NAME(tile) * tile)
{
    for (size_t k = 0; k < list->count; k++) {
        size_t i = list->index[k];
        list->q[k] = (double)tile->q[i];
        list->m[k] = tile->m ? (double)tile->m[i] : 0;
        list->v[k] = tile->v ? (double)tile->v[i] : 0;
    }
}

/* The same changes for the sampled tokens, in double precision. Moments in the list move on. */
static void SG_NAME(touched_changes)(touched *list, const sg_row_job *job)
{
    for (size_t k = 0; k < list->count; k++)
        list->x[k] =
            sg_row_touched_change(job, list->push[k], list->q[k], &list->m[k], &list->v[k]);
}

static void SG_NAME(put_back)(const touched *list, const SG_NAME(tile) * tile, double shift)
{
    for (size_t k = 0; k < list->count; k++) {
        size_t i = list->index[k];
        tile->q[i] = (SG_REAL)sg_scale_exp(list->q[k], list->x[k] - shift);
        if (tile->m)
            tile->m[i] = (SG_REAL)list->m[k];
        if (tile->v)
            tile->v[i] = (SG_REAL)list->v[k];
    }
}

/* Sums over the free tokens (the others have been set to q = x = 0) when no |x| exceeds 2^-6. Four moments are enough below 2^-12; `most` is a constant where this is called. */
static inline __attribute__((always_inline)) void SG_NAME(moments)(const SG_NAME(tile) * tile,
                                                                   const sg_row_job *job,
                                                                   const SG_REAL *x, int most,
                                                                   sg_row_sums *sums)
{
    const sg_lanes zero = {0};
    sg_lanes mass = zero, square = zero, norm = zero, m1 = zero, m2 = zero, m3 = zero, m4 = zero,
             m5 = zero, m6 = zero, m7 = zero;
    double inverse_total = job->inverse_total;
    for (size_t i = 0; i < tile->n; i += 8) {
        sg_lanes p, d;
        SG_NAME(widen)(tile->q + i, &p);
        SG_NAME(widen)(x + i, &d);
        p *= inverse_total;
        mass += p;
        square += p * p;
        norm += d * d;
        p *= d;
        m1 += p;
        p *= d;
        m2 += p;
        p *= d;
        m3 += p;
        p *= d;
        m4 += p;
        if (most > 4) {
            p *= d;
            m5 += p;
            p *= d;
            m6 += p;
            p *= d;
            m7 += p;
        }
    }
    const double moment[8] = {
        0,
        lanes_total(&m1, &zero),
        lanes_total(&m2, &zero),
        lanes_total(&m3, &zero),
        lanes_total(&m4, &zero),
        lanes_total(&m5, &zero),
        lanes_total(&m6, &zero),
        lanes_total(&m7, &zero),
    };
    sums->free_mass = lanes_total(&mass, &zero);
    sums->free_collision = lanes_total(&square, &zero);
    sums->norm2 = lanes_total(&norm, &zero);
    sg_row_sums_of_moments(sums, moment);
}

/* The same for steps of any size. A common shift of all logits changes no divergence. */
static void SG_NAME(any_moments)(const SG_NAME(tile) * tile, const sg_row_job *job,
                                 const SG_REAL *x, sg_row_sums *sums)
{
    _Alignas(64) double p[SG_TILE], d[SG_TILE], excess[SG_TILE], reverse[SG_TILE];
    size_t n = tile->n;
    for (size_t i = 0; i < n; i++) {
        p[i] = (double)tile->q[i] * job->inverse_total;
        d[i] = (double)x[i];
    }
    sums->free_mass = sum_array(p, n);
    sums->free_collision = sum_products(p, p, n);
    sums->norm2 = sum_products(d, d, n);
    double shift = job->shift;
    for (size_t i = 0; i < n; i++) {
        double y = d[i] - shift, e = sg_exp_excess(y);
        d[i] = y;
        excess[i] = e;
        reverse[i] = y * (e + y) - e;
    }
    sums->first = sum_products(p, d, n);
    sums->excess = sum_products(p, excess, n);
    sums->reverse = sum_products(p, reverse, n);
}

/* Greatest of 0 and x[i]. */
static double SG_NAME(greatest)(const SG_REAL *x, size_t n)
{
    SG_INT best = 0;
    for (size_t i = 0; i < n; i++) {
        SG_INT bits = (SG_INT)SG_BITS(x[i]);
        best = bits > best ? bits : best;
    }
    return (double)SG_REAL_OF_BITS((SG_UINT)best);
}

/* Greatest |x[i]|; NaN where there is one. */
static double SG_NAME(size)(const SG_REAL *x, size_t n)
{
    SG_INT best = 0;
    for (size_t i = 0; i < n; i++) {
        SG_INT bits = (SG_INT)SG_BITS(x[i]) & SG_INT_MAX;
        best = bits > best ? bits : best;
    }
    return (double)SG_REAL_OF_BITS((SG_UINT)best);
}

/* Takes the sampled tokens out of the tile (put_back brings them back) and x. */
static void SG_NAME(statistics)(const SG_NAME(tile) * tile, const sg_row_job *job,
                                const touched *list, SG_REAL *x, double reach, sg_row_sums *sums)
{
    for (size_t k = 0; k < list->count; k++)
        tile->q[list->index[k]] = x[list->index[k]] = 0;
    *sums = (sg_row_sums){0};
    if (reach <= 0x1p-12)
        SG_NAME(moments)(tile, job, x, 4, sums);
    else if (reach <= 0x1p-6)
        SG_NAME(moments)(tile, job, x, 7, sums);
    else
        SG_NAME(any_moments)(tile, job, x, sums);
    sums->max_free = SG_NAME(greatest)(x, tile->n);
    for (size_t k = 0; k < list->count; k++)
        sg_row_sums_touched(sums, job, list->push[k], list->q[k], list->x[k]);
}

/* q <- q exp(x - shift), by the shortest way that `reach` allows; each is exact to the last place
 * or so. */
static void SG_NAME(apply)(const SG_NAME(tile) * tile, const sg_row_job *job,
                           const SG_REAL *restrict x, double reach)
{
    SG_REAL *restrict q = tile->q, shift = (SG_REAL)job->shift;
    if (reach <= SG_SMALL)
        for (size_t i = 0; i < tile->n; i++)
            q[i] += q[i] * SG_EXPM1_SMALL(x[i]);
    else if (reach <= SG_NEAR)
        for (size_t i = 0; i < tile->n; i++)
            q[i] = SG_SCALE_EXP_NEAR(q[i], x[i]);
    else
        for (size_t i = 0; i < tile->n; i++)
            q[i] = SG_SCALE_EXP(q[i], x[i] - shift);
}

/* SGD by small steps, the case that matters most: one pass with everything in registers. The same
 * operations in the same order as the stages below, hence the same bits. Returns the new mass. */
static double SG_NAME(sgd_small)(const SG_NAME(tile) * tile, const sg_row_job *job)
{
    typedef SG_REAL sixteen __attribute__((vector_size(16 * sizeof(SG_REAL)), may_alias));
    sixteen *v = (sixteen *)(void *)tile->q;
    SG_REAL factor = (SG_REAL)(job->gradient * job->step);
    sg_lanes a = {0}, b = {0}, low, high;
    for (size_t i = 0; i < tile->n / 16; i++) {
        sixteen q = v[i], x = factor * q;
        q += q * SG_EXPM1_SMALL(x);
        v[i] = q;
        SG_NAME(widen)(tile->q + 16 * i, &low);
        SG_NAME(widen)(tile->q + 16 * i + 8, &high);
        a += low;
        b += high;
    }
    return lanes_total(&a, &b);
}

static void SG_NAME(update_tile)(const sg_row_view *row, const sg_row_job *job,
                                 const tile_filter *filter, touched *list, size_t index,
                                 sg_row_sums *sums)
{
    SG_NAME(tile) tile = SG_NAME(tile_at)(row, index);
    gather(list, job, filter, index);
    if (sums)
        *sums = (sg_row_sums){0};
    if (job->sparse && list->count == 0)
        return;
    double reach = sg_row_reach(job, row->mass[index]);
    if (job->kind == SG_SGD && !sums && list->count == 0 && reach <= SG_SMALL) {
        row->mass[index] = SG_NAME(sgd_small)(&tile, job);
        return;
    }
    _Alignas(64) SG_REAL x[SG_TILE];
    SG_NAME(lift)(list, &tile);
    SG_NAME(touched_changes)(list, job);
    SG_NAME(changes)(&tile, job, x, false);
    if (reach > SG_SMALL && job->shift == 0) /* a look is cheaper than the long way */
        reach = fmin(reach, SG_NAME(size)(x, tile.n));
    if (sums)
        SG_NAME(statistics)(&tile, job, list, x, reach, sums);
    SG_NAME(apply)(&tile, job, x, reach);
    SG_NAME(put_back)(list, &tile, job->shift);
    row->mass[index] = SG_NAME(tile_mass)(tile.q, tile.n);
}

static void SG_NAME(update_tree)(const sg_row_view *row, const sg_row_job *job,
                                 const tile_filter *filter, touched *list, size_t first, size_t end,
                                 sg_row_sums *sums)
{
    if (end - first == 1) {
        SG_NAME(update_tile)(row, job, filter, list, first, sums);
        return;
    }
    size_t middle = sg_tree_split(first, end);
    sg_row_sums right;
    SG_NAME(update_tree)(row, job, filter, list, first, middle, sums);
    SG_NAME(update_tree)(row, job, filter, list, middle, end, &right);
    sg_row_sums_add(sums, &right);
}

static void SG_NAME(update)(const sg_row_view *row, const sg_row_job *job, size_t first, size_t end,
                            sg_row_sums *sums)
{
    touched list;
    tile_filter filter;
    filter_init(&filter, job);
    if (sums)
        SG_NAME(update_tree)(row, job, &filter, &list, first, end, sums);
    else
        for (size_t t = first; t < end; t++)
            SG_NAME(update_tile)(row, job, &filter, &list, t, NULL);
}

static double SG_NAME(norm2_tile)(const sg_row_view *row, const sg_row_job *job,
                                  const tile_filter *filter, touched *list, size_t index)
{
    SG_NAME(tile) tile = SG_NAME(tile_at)(row, index);
    _Alignas(64) SG_REAL free[SG_TILE];
    const SG_REAL *q = tile.q;
    double sum = 0;
    gather(list, job, filter, index);
    SG_NAME(lift)(list, &tile);
    if (list->count > 0 && job->gradient != 0) {
        memcpy(free, q, tile.n * sizeof *free);
        for (size_t k = 0; k < list->count; k++)
            free[list->index[k]] = 0;
        q = free;
    }
    if (job->gradient != 0)
        sum = job->gradient * job->gradient * SG_NAME(tile_square)(q, tile.n);
    for (size_t k = 0; k < list->count; k++) {
        double g = list->push[k] + job->gradient * list->q[k];
        sum += g * g;
    }
    return sum;
}

static double SG_NAME(norm2_tree)(const sg_row_view *row, const sg_row_job *job,
                                  const tile_filter *filter, touched *list, size_t first,
                                  size_t end)
{
    if (end - first == 1)
        return SG_NAME(norm2_tile)(row, job, filter, list, first);
    size_t middle = sg_tree_split(first, end);
    double left = SG_NAME(norm2_tree)(row, job, filter, list, first, middle);
    return left + SG_NAME(norm2_tree)(row, job, filter, list, middle, end);
}

static double SG_NAME(norm2)(const sg_row_view *row, const sg_row_job *job, size_t first,
                             size_t end)
{
    touched list;
    tile_filter filter;
    filter_init(&filter, job);
    return SG_NAME(norm2_tree)(row, job, &filter, &list, first, end);
}

static double SG_NAME(peak)(const sg_row_view *row, const sg_row_job *job, size_t first, size_t end)
{
    touched list;
    tile_filter filter;
    filter_init(&filter, job);
    double best = -INFINITY;
    for (size_t t = first; t < end; t++) {
        SG_NAME(tile) tile = SG_NAME(tile_at)(row, t);
        _Alignas(64) SG_REAL x[SG_TILE];
        gather(&list, job, &filter, t);
        SG_NAME(lift)(&list, &tile);
        SG_NAME(touched_changes)(&list, job);
        SG_NAME(changes)(&tile, job, x, true);
        for (size_t k = 0; k < list.count; k++)
            x[list.index[k]] = (SG_REAL)list.x[k];
        for (size_t i = 0; i < tile.n; i++) {
            double y = sg_log((double)tile.q[i]) + (double)x[i];
            best = y > best ? y : best;
        }
    }
    return best;
}

/* Sum of x[i] over the first `cut` of n reals, the others counting as 0. */
static double SG_NAME(sum_to)(const SG_REAL *x, size_t n, size_t cut)
{
    _Alignas(64) SG_REAL part[SG_TILE];
    for (size_t i = 0; i < n; i++)
        part[i] = i < cut ? x[i] : 0;
    return SG_NAME(tile_mass)(part, n);
}

static double SG_NAME(sum_from)(const SG_REAL *x, size_t n, size_t cut)
{
    _Alignas(64) SG_REAL part[SG_TILE];
    for (size_t i = 0; i < n; i++)
        part[i] = i < cut ? 0 : x[i];
    return SG_NAME(tile_mass)(part, n);
}

/* Greatest and least positive q, and how many there are, through the order of their bits. */
static void SG_NAME(look_extremes)(const SG_REAL *q, size_t n, sg_row_look *look)
{
    SG_INT max = 0, min = SG_INT_MAX;
    for (size_t i = 0; i < n; i++) {
        SG_INT bits = (SG_INT)SG_BITS(q[i]);
        max = bits > max ? bits : max;
        min = bits < min ? bits : min;
    }
    look->positive = n;
    if (min == 0) { /* rare: only now is it worth to count */
        min = SG_INT_MAX;
        look->positive = 0;
        for (size_t i = 0; i < n; i++) {
            SG_INT bits = (SG_INT)SG_BITS(q[i]);
            min = bits != 0 && bits < min ? bits : min;
            look->positive += bits != 0;
        }
    }
    look->max = (double)SG_REAL_OF_BITS((SG_UINT)max);
    look->min = look->positive ? (double)SG_REAL_OF_BITS((SG_UINT)min) : (double)INFINITY;
}

static void SG_NAME(look_tile)(const sg_row_view *row, size_t head, size_t index, sg_row_look *look)
{
    SG_NAME(tile) tile = SG_NAME(tile_at)(row, index);
    _Alignas(64) SG_REAL product[SG_TILE];
    size_t n = tile.n, base = index * SG_TILE;
    for (size_t i = 0; i < n; i++)
        product[i] = tile.q[i] * SG_ENTROPY_LOG(tile.q[i]);
    *look = (sg_row_look){.mass = row->mass[index],
                          .mass_log = SG_NAME(tile_mass)(product, n),
                          .square = SG_NAME(tile_square)(tile.q, n)};
    SG_NAME(look_extremes)(tile.q, n, look);
    size_t cut = head <= base ? 0 : head - base >= n ? n : head - base;
    if (cut == n) {
        look->head_mass = look->mass;
        look->head_mass_log = look->mass_log;
    } else if (cut == 0) {
        look->tail_mass = look->mass;
        look->tail_mass_log = look->mass_log;
    } else {
        look->head_mass = SG_NAME(sum_to)(tile.q, n, cut);
        look->head_mass_log = SG_NAME(sum_to)(product, n, cut);
        look->tail_mass = SG_NAME(sum_from)(tile.q, n, cut);
        look->tail_mass_log = SG_NAME(sum_from)(product, n, cut);
    }
}

static void SG_NAME(look)(const sg_row_view *row, size_t head, size_t first, size_t end,
                          sg_row_look *look)
{
    if (end - first == 1) {
        SG_NAME(look_tile)(row, head, first, look);
        return;
    }
    size_t middle = sg_tree_split(first, end);
    sg_row_look right;
    SG_NAME(look)(row, head, first, middle, look);
    SG_NAME(look)(row, head, middle, end, &right);
    sg_row_look_add(look, &right);
}

/* First token of [first, end) at which the running sum passes target; the last positive one when
 * rounding leaves the sum short of it. */
static size_t SG_NAME(scan)(const SG_REAL *q, size_t first, size_t end, double sum, double target)
{
    size_t last = first;
    for (size_t i = first; i < end; i++) {
        if (!(q[i] > 0))
            continue;
        last = i;
        sum += (double)q[i];
        if (target < sum)
            break;
    }
    return last;
}

static size_t SG_NAME(find)(const sg_row_view *row, double target)
{
    enum { PIECE = 128 };
    size_t tiles = (row->padded + SG_TILE - 1) / SG_TILE, found = 0;
    double sum = 0, before = 0;
    for (size_t t = 0; t < tiles; t++) {
        if (!(row->mass[t] > 0))
            continue;
        found = t;
        before = sum;
        sum += row->mass[t];
        if (target < sum)
            break;
    }
    SG_NAME(tile) tile = SG_NAME(tile_at)(row, found);
    size_t first = 0, count = tile.n < PIECE ? tile.n : PIECE;
    sum = before;
    for (size_t i = 0; i < tile.n; i += PIECE) {
        size_t n = tile.n - i < PIECE ? tile.n - i : PIECE;
        double mass = SG_NAME(tile_mass)(tile.q + i, n);
        if (!(mass > 0))
            continue;
        first = i;
        count = n;
        before = sum;
        sum += mass;
        if (target < sum)
            break;
    }
    return found * SG_TILE + SG_NAME(scan)(tile.q, first, first + count, before, target);
}

static double SG_NAME(at)(const sg_row_view *row, size_t token)
{
    return (double)((const SG_REAL *)row->q)[token];
}
