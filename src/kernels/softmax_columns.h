/* Softmax of contiguous samples, in vectors along the samples. Included by softmax.h, with the same
 * sums in the same order: the lanes of a vector there are a list of LANES vectors here. */

/* The sum over a list's entries, which are overwritten, by halves as sum_all adds lanes. */
static INLINE V FN(halves)(V *list) {
    UNROLLED
    for (int half = LANES / 2; half > 0; half /= 2)
        UNROLLED_FOR(l, half) list[l] += list[l + half];
    return list[0];
}

/* Class c of `samples` samples from j on; stride: between classes. */
#define LOAD_CLASS(p, stride)                                   \
    (samples == LANES ? FN(load)((p) + c * (stride) + j)        \
                      : FN(load_part)((p) + c * (stride) + j, samples))

/* Up to LANES classes: LANES samples at a time stay in registers. Even and odd classes are summed
 * separately, as in softmax_pairs. */
static INLINE void FN(softmax_few)(const int with_y, const nn_softmax *s) {
    const int classes = (int)s->classes;
#define EACH UNROLLED_FOR(c, LANES) if (c < classes)
    for (nn_index j = 0; j < s->batch; j += LANES) {
        const nn_index samples = s->batch - j < LANES ? s->batch - j : LANES;
        V p[LANES], y[LANES], top = FN(set)(-(real)INFINITY);
        FN(softmax_sums) sums[2] = {0};
        UNROLLED_FOR(c, LANES) p[c] = y[c] = (V){0};
        EACH p[c] = LOAD_CLASS((const real *)s->z, s->z_class);
        if (with_y) EACH y[c] = LOAD_CLASS((const real *)s->y, s->y_class);
        EACH top = FN(max)(top, p[c]);
        EACH p[c] = FN(softmax_add)(p[c], top, with_y ? y[c] : top, with_y, 0, &sums[c % 2], NULL);
        const V others = sums[0].others + sums[1].others, ties = sums[0].ties + sums[1].ties;
        V exp_rest = others + (ties - 1), scale = 1 / (exp_rest + 1);
        EACH p[c] *= scale;
        if (with_y) {
            const V labels = sums[0].label_sum + sums[1].label_sum;
            const V gap = sums[0].label_gap + sums[1].label_gap;
            FN(store_part)((real *)s->label_gap + j, gap, samples);
            FN(store_part)((real *)s->label_sum + j, labels, samples);
            FN(store_part)((real *)s->exp_rest + j, exp_rest, samples);
            const V weights = FN(gradient_weights)(s, j, samples, LANES, labels);
            EACH y[c] = FN(gradient_of)(p[c], weights, y[c]);
        }
        if (!with_y || s->grad != s->p)
            EACH FN(store_part)((real *)s->p + c * s->p_class + j, p[c], samples);
        if (with_y) EACH FN(store_part)((real *)s->grad + c * s->grad_class + j, y[c], samples);
    }
#undef EACH
}

/* Up to 2 LANES classes, in the same way but with the sums of softmax_rows. */
static INLINE void FN(softmax_several)(const int with_y, const nn_softmax *s) {
    const int classes = (int)s->classes;
#define EACH UNROLLED_FOR(c, 2 * LANES) if (c < classes)
#define CLEAR UNROLLED_FOR(l, LANES) list[l] = other[l] = (V){0};
    for (nn_index j = 0; j < s->batch; j += LANES) {
        const nn_index samples = s->batch - j < LANES ? s->batch - j : LANES;
        V p[2 * LANES], list[LANES], other[LANES];
        V weights = FN(set)(1), top = FN(set)(-(real)INFINITY);
        EACH p[c] = LOAD_CLASS((const real *)s->z, s->z_class);
        EACH top = FN(max)(top, p[c]);
        CLEAR
        if (with_y) {
            EACH {
                const V yi = LOAD_CLASS((const real *)s->y, s->y_class);
                list[c % LANES] += FN(gap_of)(p[c], top, yi);
                other[c % LANES] += yi;
            }
            const V label_gap = FN(halves)(list), labels = FN(halves)(other);
            FN(store_part)((real *)s->label_gap + j, label_gap, samples);
            FN(store_part)((real *)s->label_sum + j, labels, samples);
            weights = FN(gradient_weights)(s, j, samples, LANES, labels);
            CLEAR
        }
        EACH list[c % LANES] += p[c] = FN(exp_negative)(p[c] - top);
        V exp_rest = FN(halves)(list) - 1;
        const I below_one = exp_rest < 1;
        if (FN(any)(below_one & FN(first)(samples))) { /* as in softmax_rest */
            CLEAR
            EACH {
                const I equal = p[c] == 1;
                list[c % LANES] += (V)((I)p[c] & ~equal);
                other[c % LANES] += (V)((I)p[c] & equal);
            }
            const V others = FN(halves)(list);
            exp_rest = FN(select)(below_one, others + (FN(halves)(other) - 1), exp_rest);
        }
        const V scale = 1 / (exp_rest + 1);
        if (with_y) FN(store_part)((real *)s->exp_rest + j, exp_rest, samples);
        EACH {
            V pi = FN(rounded)(p[c] * scale);
            if (!with_y || s->grad != s->p)
                FN(store_part)((real *)s->p + c * s->p_class + j, pi, samples);
            if (with_y) {
                V grad = FN(gradient_of)(pi, weights, LOAD_CLASS((const real *)s->y, s->y_class));
                FN(store_part)((real *)s->grad + c * s->grad_class + j, grad, samples);
            }
        }
    }
#undef EACH
#undef CLEAR
}
#undef LOAD_CLASS

/* --------------------------------------------------------------------------------- many classes */

/* Up to SOFTMAX_COLUMN_VECTORS vectors of samples. A list holds `vectors` vectors for each of its
 * LANES entries. */
typedef struct {
    const nn_softmax *s;
    nn_index j, part; /* first sample; samples of the vector if it is not whole */
    int vectors;
    V *base, *sum, *scale;                          /* per block, see softmax_blocks */
    V *chain[SOFTMAX_GROUP], *sums;                 /* lists: sums of exponentials */
    V *label_gap, *label_sum, *lost_gap, *lost_sum; /* lists: sums over labels, rounding errors */
    V *top, *exp_rest, *weights;                    /* per vector */
} FN(columns);

#define EACH for (int v = 0; v < c->vectors; v++)
#define LOAD_CLASS(p, i, stride)                                                     \
    (whole ? FN(load)((p) + (i) * (stride) + v * LANES)                              \
           : FN(load_part)((p) + (i) * (stride), c->part))
#define STORE_CLASS(p, i, stride, x)                                                 \
    do {                                                                             \
        if (whole) FN(store)((p) + (i) * (stride) + v * LANES, (x));                 \
        else FN(store_part)((p) + (i) * (stride), (x), c->part);                     \
    } while (0)

static INLINE void FN(clear_list)(const FN(columns) *c, V *list) {
    for (int i = 0; i < LANES * c->vectors; i++) list[i] = (V){0};
}

/* list[v] <- the sum over the entries, which are overwritten. */
static INLINE void FN(list_sum)(const FN(columns) *c, V *list) {
    for (int half = LANES / 2 * c->vectors; half >= c->vectors; half /= 2)
        for (int i = 0; i < half; i++) list[i] += list[half + i];
}

/* sum[v] <- the sum over the entries as value_all takes it; both lists are overwritten. */
static INLINE void FN(list_value)(const FN(columns) *c, V *sum, V *lost) {
    for (int i = 0; i < LANES * c->vectors; i++) lost[i] += sum[i];
    FN(list_sum)(c, lost);
    FN(list_sum)(c, sum);
    EACH sum[v] = FN(select)((I)(lost[v] == lost[v]), lost[v], sum[v]);
}

/* Add the labels of the `count` classes i, i + LANES, ...; most labels are zero. */
static INLINE void FN(columns_label)(const int count, const int whole, const FN(columns) *c,
                                     nn_index i, const int compensated) {
    const nn_softmax *s = c->s;
    const real *z = (const real *)s->z + c->j, *y = (const real *)s->y + c->j;
    EACH {
        V yi[SOFTMAX_GROUP], label_gap = {0}, weight = {0};
        I labels = {0};
        UNROLLED_FOR(u, count)
            labels |= (I)(yi[u] = LOAD_CLASS(y, i + u * LANES, s->y_class));
        if (!FN(any)(labels)) continue;
        UNROLLED_FOR(u, count) {
            const V zi = LOAD_CLASS(z, i + u * LANES, s->z_class);
            label_gap += FN(gap_of)(zi, c->top[v], yi[u]);
            weight += yi[u];
        }
        const nn_index entry = i % LANES * c->vectors + v;
        FN(softmax_sums) sums = {.label_gap = c->label_gap[entry],
                                 .label_sum = c->label_sum[entry]};
        if (compensated) {
            FN(softmax_lost) lost = {c->lost_gap[entry], c->lost_sum[entry]};
            FN(add_labels)(label_gap, weight, &sums, &lost);
            c->lost_gap[entry] = lost.label_gap;
            c->lost_sum[entry] = lost.label_sum;
        } else FN(add_labels)(label_gap, weight, &sums, NULL);
        c->label_gap[entry] = sums.label_gap;
        c->label_sum[entry] = sums.label_sum;
    }
}

/* Add the labels of the classes first .. last - 1, those before `grouped` in groups. */
static INLINE void FN(columns_labels)(const int whole, const FN(columns) *c, nn_index first,
                                      nn_index grouped, nn_index last, const int compensated) {
    for (nn_index i = first; i < grouped; i += STAGE_GROUP)
        for (int l = 0; l < LANES; l++) FN(columns_label)(SOFTMAX_GROUP, whole, c, i + l, 1);
    for (nn_index i = grouped; i < last; i++) FN(columns_label)(1, whole, c, i, compensated);
}

/* label_gap, label_sum and the gradient weights of the samples. */
static INLINE void FN(columns_weights)(const int whole, const FN(columns) *c) {
    const nn_softmax *s = c->s;
    FN(list_value)(c, c->label_gap, c->lost_gap);
    FN(list_value)(c, c->label_sum, c->lost_sum);
    EACH {
        const nn_index first = c->j + v * LANES, samples = whole ? LANES : c->part;
        FN(store_part)((real *)s->label_gap + first, c->label_gap[v], samples);
        FN(store_part)((real *)s->label_sum + first, c->label_sum[v], samples);
        c->weights[v] = FN(gradient_weights)(s, first, samples, LANES, c->label_sum[v]);
    }
}

/* p <- e^(z - base) for the classes first .. last - 1, added to the entries of a chain in turn. */
static INLINE void FN(columns_exp)(const int whole, const FN(columns) *c, nn_index first,
                                   nn_index last, const V *base, V *chain) {
    const nn_softmax *s = c->s;
    const real *z = (const real *)s->z + c->j + first * s->z_class;
    real *p = (real *)s->p + c->j + first * s->p_class;
    int lane = 0;
    for (nn_index i = first; i < last; i++, z += s->z_class, p += s->p_class) {
        EACH {
            V e = FN(exp_negative)(LOAD_CLASS(z, 0, 0) - base[v]);
            STORE_CLASS(p, 0, 0, e);
            chain[v] += e;
        }
        chain += c->vectors;
        if (++lane == LANES) {
            lane = 0;
            chain -= LANES * c->vectors;
        }
    }
}

/* The same for whole groups, whose vectors add to one chain each. */
static INLINE void FN(columns_groups)(const int whole, const FN(columns) *c, nn_index first,
                                      nn_index last, const V *base) {
    for (nn_index i = first; i < last; i += STAGE_GROUP)
        for (int u = 0; u < SOFTMAX_GROUP; u++)
            FN(columns_exp)(whole, c, i + u * LANES, i + (u + 1) * LANES, base, c->chain[u]);
}

/* sums += the chains, which are reset. */
static INLINE void FN(add_chains)(const FN(columns) *c) {
    V *const *chain = c->chain;
    for (int i = 0; i < LANES * c->vectors; i++) {
        c->sums[i] += (chain[0][i] + chain[1][i]) + (chain[2][i] + chain[3][i]);
        for (int u = 0; u < SOFTMAX_GROUP; u++) chain[u][i] = (V){0};
    }
}

/* sums[v] <- the sum of the exponentials of a row: first the rest after the thirds, then these.
 * Labels come before the probabilities, which may overwrite the logits. */
static INLINE void FN(columns_row)(const int with_y, const int whole, const FN(columns) *c,
                                   const V *base) {
    const nn_index n = c->s->classes, third = FN(third_of)(n), end = 3 * third;
    if (with_y) FN(columns_labels)(whole, c, end, end, n, 0);
    FN(columns_exp)(whole, c, end, n, base, third ? c->chain[0] : c->sums);
    for (nn_index i = 0; i < end; i += third) {
        if (with_y) FN(columns_labels)(whole, c, i, i + third, i + third, 0);
        FN(columns_groups)(whole, c, i, i + third, base);
        FN(add_chains)(c);
    }
    FN(list_sum)(c, c->sums);
}

/* sums[v] <- the sum of the exponentials of a block. */
static INLINE void FN(columns_block)(const int whole, const FN(columns) *c, nn_index first,
                                     nn_index grouped, nn_index last, const V *base) {
    FN(columns_groups)(whole, c, first, grouped, base);
    FN(columns_exp)(whole, c, grouped, last, base, c->chain[0]);
    FN(add_chains)(c);
    FN(list_sum)(c, c->sums);
}

/* sum_apart of the classes first .. last - 1 of vector v, for the samples selected by the mask. */
static INLINE void FN(columns_apart)(const int whole, const FN(columns) *c, nn_index first,
                                     nn_index last, int v, I mask, V *others, V *lost, V *ties) {
    const nn_softmax *s = c->s;
    const real *p = (const real *)s->p + c->j;
    for (nn_index low = first; low < last; low += SUM_GROUP * LANES) {
        const nn_index high = last - low < SUM_GROUP * LANES ? last : low + SUM_GROUP * LANES;
        V group[LANES];
        for (int l = 0; l < LANES; l++) group[l] = (V){0};
        for (nn_index i = low; i < high; i++) {
            V e = LOAD_CLASS(p, i, s->p_class);
            I equal = e == 1;
            group[(i - low) % LANES] += (V)((I)e & ~equal & mask);
            ties[(i - low) % LANES * c->vectors + v] += (V)((I)e & equal & mask);
        }
        for (int l = 0; l < LANES; l++)
            NN_TWO_SUM(V, others[l * c->vectors + v], lost[l * c->vectors + v], group[l]);
    }
}

#define BLOCK_END(b) ((b) < blocks - 1 ? ((b) + 1) * length : n)
#define GROUPED(b) (BLOCK_END(b) - (BLOCK_END(b) - (b) * length) % STAGE_GROUP)

/* exp_rest <- the sums without one largest exponential; scale <- the factors from the blocks'
 * exponentials to probabilities. */
static INLINE void FN(columns_rest)(const int whole, const FN(columns) *c) {
    const nn_index n = c->s->classes, length = FN(block_length)(n);
    const int blocks = FN(block_count)(n), by_blocks = FN(uses_blocks)(n), vectors = c->vectors;
    V *const others = c->chain[0], *const lost = c->chain[1], *const ties = c->chain[2];
    V *const scale = c->scale, *const sum = c->sum;
    for (int i = 0; i < blocks * vectors; i++) scale[i] = by_blocks ? c->base[i] : FN(set)(1);
    EACH {
        const V top = c->top[v];
        V all = by_blocks ? FN(join_blocks)(blocks, scale + v, sum + v, vectors, top) : sum[v];
        const I below_one = all - 1 < 1;
        c->exp_rest[v] = all - 1;
        if (!FN(any)(below_one & FN(first)(whole ? LANES : c->part))) continue;
        FN(clear_list)(c, others);
        FN(clear_list)(c, lost);
        FN(clear_list)(c, ties);
        for (int b = 0; b < blocks; b++) {
            const int entry = b * vectors + v;
            const I highest = by_blocks ? (I)(c->base[entry] == top) : below_one;
            if (FN(any)(highest & below_one))
                FN(columns_apart)(whole, c, b * length, BLOCK_END(b), v, highest, others, lost,
                                  ties);
            NN_TWO_SUM(V, others[v], lost[v], (V)((I)sum[entry] & ~highest));
        }
        for (int i = 0; i < LANES * vectors; i++)
            others[i] = FN(value)((FN(total)){others[i], lost[i]});
        FN(list_sum)(c, others);
        FN(list_sum)(c, ties);
        c->exp_rest[v] = FN(select)(below_one, others[v] + (ties[v] - 1), c->exp_rest[v]);
    }
    for (int b = 0; b < blocks; b++) EACH scale[b * vectors + v] /= c->exp_rest[v] + 1;
}

static INLINE void FN(columns_softmax)(const int with_y, const int whole, const FN(columns) *c) {
    const nn_softmax *s = c->s;
    const nn_index n = s->classes, length = FN(block_length)(n);
    const int blocks = FN(block_count)(n), by_blocks = FN(uses_blocks)(n), vectors = c->vectors;
    const real *z = (const real *)s->z + c->j, *y = with_y ? (const real *)s->y + c->j : NULL;
    real *p = (real *)s->p + c->j, *grad = with_y ? (real *)s->grad + c->j : p;
    V *const top = c->top;
    for (int u = 0; u < SOFTMAX_GROUP; u++) FN(clear_list)(c, c->chain[u]);
    V *const of_labels[] = {c->label_gap, c->label_sum, c->lost_gap, c->lost_sum};
    for (int u = 0; with_y && u < 4; u++) FN(clear_list)(c, of_labels[u]);
    EACH top[v] = FN(set)(-(real)INFINITY);
    for (int b = 0; b < blocks; b++) {
        const nn_index first = b * length, last = BLOCK_END(b);
        V *const base = c->base + b * vectors;
        FN(clear_list)(c, c->sums);
        for (nn_index i = first; i < last; i++)
            EACH top[v] = FN(max)(top[v], LOAD_CLASS(z, i, s->z_class));
        EACH base[v] = by_blocks ? FN(block_base)(top[v]) : top[v];
        if (by_blocks) FN(columns_block)(whole, c, first, GROUPED(b), last, base);
        else FN(columns_row)(with_y, whole, c, base);
        EACH c->sum[b * vectors + v] = c->sums[v];
    }
    for (int b = 0; with_y && by_blocks && b < blocks; b++)
        FN(columns_labels)(whole, c, b * length, GROUPED(b), BLOCK_END(b), 1);
    if (with_y) FN(columns_weights)(whole, c);
    FN(columns_rest)(whole, c);
    for (int b = 0; b < blocks; b++)
        for (nn_index i = b * length; i < BLOCK_END(b); i++) EACH {
            V pi = FN(rounded)(LOAD_CLASS(p, i, s->p_class) * c->scale[b * vectors + v]);
            if (!with_y || grad != p) STORE_CLASS(p, i, s->p_class, pi);
            if (!with_y) continue;
            V gi = FN(gradient_of)(pi, c->weights[v], LOAD_CLASS(y, i, s->y_class));
            STORE_CLASS(grad, i, s->grad_class, gi);
        }
    real *exp_rest = (real *)s->exp_rest + c->j;
    if (with_y) EACH FN(store_part)(exp_rest + v * LANES, c->exp_rest[v], whole ? LANES : c->part);
}
#undef BLOCK_END
#undef GROUPED
#undef EACH
#undef LOAD_CLASS
#undef STORE_CLASS

static NOINLINE void FN(columns_alone)(const FN(columns) *c) { FN(columns_softmax)(0, 1, c); }
static NOINLINE void FN(columns_labelled)(const FN(columns) *c) { FN(columns_softmax)(1, 1, c); }
/* One function for both, as it takes the last samples alone. */
static NOINLINE void FN(columns_part)(const FN(columns) *c) {
    FN(columns_softmax)(c->s->y != NULL, 0, c);
}

static nn_index FN(softmax_workspace)(nn_index batch, nn_index classes) {
    const nn_index most = (batch + LANES - 1) / LANES, lists = SOFTMAX_GROUP + 5;
    const nn_index vectors = most < SOFTMAX_COLUMN_VECTORS ? most : SOFTMAX_COLUMN_VECTORS;
    if (classes <= 2 * LANES) return 0;
    return vectors * (3 * FN(block_count)(classes) + lists * LANES + 3) * WIDTH;
}

static void FN(softmax_columns)(const nn_softmax *s) {
    const int blocks = FN(block_count)(s->classes);
    FN(columns) c = {.s = s};
    for (nn_index vectors; c.j < s->batch; c.j += vectors > 0 ? vectors * LANES : c.part) {
        c.part = s->batch - c.j;
        vectors = c.part / LANES < SOFTMAX_COLUMN_VECTORS ? c.part / LANES : SOFTMAX_COLUMN_VECTORS;
        c.vectors = vectors > 0 ? (int)vectors : 1;
        V *next = s->workspace;
        V **const of_blocks[] = {&c.base, &c.sum, &c.scale};
        V **const single[] = {&c.top, &c.exp_rest, &c.weights};
        V **const lists[] = {&c.sums, &c.label_gap, &c.label_sum, &c.lost_gap, &c.lost_sum};
        for (int i = 0; i < 3; i++, next += blocks * c.vectors) *of_blocks[i] = next;
        for (int i = 0; i < 3; i++, next += c.vectors) *single[i] = next;
        for (int u = 0; u < SOFTMAX_GROUP; u++, next += LANES * c.vectors) c.chain[u] = next;
        for (int i = 0; i < 5; i++, next += LANES * c.vectors) *lists[i] = next;
        if (vectors > 0 && s->y) FN(columns_labelled)(&c);
        else if (vectors > 0) FN(columns_alone)(&c);
        else FN(columns_part)(&c);
    }
}
