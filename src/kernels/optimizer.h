/* The optimizers' steps, which update weights and state in one pass over both. Called by
 * engine/optimizer.pxi and python/optimizers.pxi. Formulas and sources:
 * nncore/kernels/numpy_kernels.py. */

/* The constants of a step, broadcast; rest = 1 - beta. */
typedef struct {
    V eta, scale, l2, keep, beta1, rest1, beta2, rest2, root, eps;
    int decays;
} FN(rule);

/* One vector: w, s1, s2 <- their values after the step along g. */
static INLINE void FN(sgd_rule)(const FN(rule) *r, V *w, V g, V *s1, V *s2) {
    (void)s1, (void)s2;
    *w = *w - g * r->eta;
}

static INLINE void FN(momentum_rule)(const FN(rule) *r, V *w, V g, V *s1, V *s2) {
    (void)s2;
    *s1 = *s1 * r->beta1 + g;
    *w = *w - *s1 * r->eta;
}

static INLINE void FN(nesterov_rule)(const FN(rule) *r, V *w, V g, V *s1, V *s2) {
    (void)s2;
    *s1 = *s1 * r->beta1 + g;
    *w = *w - (*s1 * r->beta1 + g) * r->eta;
}

static INLINE void FN(adagrad_rule)(const FN(rule) *r, V *w, V g, V *s1, V *s2) {
    (void)s2;
    *s1 = *s1 + g * g;
    *w = *w - r->eta * g / (FN(sqrt)(*s1) + r->eps);
}

static INLINE void FN(rmsprop_rule)(const FN(rule) *r, V *w, V g, V *s1, V *s2) {
    (void)s2;
    *s1 = *s1 * r->beta2 + g * g * r->rest2;
    *w = *w - r->eta * g / (FN(sqrt)(*s1) + r->eps);
}

static INLINE void FN(adam_rule)(const FN(rule) *r, V *w, V g, V *s1, V *s2) {
    *s1 = *s1 * r->beta1 + g * r->rest1;
    *s2 = *s2 * r->beta2 + g * g * r->rest2;
    *w = *w * r->keep - r->eta * *s1 / (FN(sqrt)(*s2) * r->root + r->eps);
}

static INLINE void FN(velocity_rule)(const FN(rule) *r, V *w, V g, V *s1, V *s2) {
    (void)s2;
    *s1 = *s1 * r->beta1 - g * r->eta;
    *w = *w + *s1;
}

static INLINE void FN(nesterov_velocity_rule)(const FN(rule) *r, V *w, V g, V *s1, V *s2) {
    (void)s2;
    g = g * r->eta;
    *s1 = *s1 * r->beta1 - g;
    *w = *w + (*s1 * r->beta1 - g);
}

static INLINE void FN(apply_rule)(const int kind, const FN(rule) *r, V *w, V g, V *s1, V *s2) {
#define CASE(NAME, name, n_states) \
    case NN_##NAME: FN(name##_rule)(r, w, g, s1, s2); break;
    switch (kind) {
    NN_RULES(CASE)
    NN_VELOCITY_RULES(CASE)
    }
#undef CASE
}

/* The gradient scaled and, with a penalty, l2 w added; then the rule. */
static INLINE void FN(optimize_one)(const int kind, const FN(rule) *r, V *w, V g, V *s1, V *s2) {
    g = g * r->scale;
    if (r->decays) g += *w * r->l2; /* 0 w would be NaN for an infinite w */
    FN(apply_rule)(kind, r, w, g, s1, s2);
}

static INLINE int FN(optimize_all)(const int kind, const int states, nn_index n, real *w,
                                   const real *g, real *s1, real *s2, const FN(rule) *rule) {
    V bad = {0};
    nn_index i = 0;
    for (; i + LANES <= n; i += LANES) {
        V wi = FN(load)(w + i), a = {0}, b = {0};
        if (states > 0) a = FN(load)(s1 + i);
        if (states > 1) b = FN(load)(s2 + i);
        FN(optimize_one)(kind, rule, &wi, FN(load)(g + i), &a, &b);
        FN(store)(w + i, wi);
        if (states > 0) FN(store)(s1 + i, a);
        if (states > 1) FN(store)(s2 + i, b);
        bad += wi * 0 + (a * 0 + b * 0);
    }
    if (i < n) {
        const nn_index part = n - i;
        V wi = FN(load_part)(w + i, part), a = {0}, b = {0};
        if (states > 0) a = FN(load_part)(s1 + i, part);
        if (states > 1) b = FN(load_part)(s2 + i, part);
        FN(optimize_one)(kind, rule, &wi, FN(load_part)(g + i, part), &a, &b);
        FN(store_part)(w + i, wi, part);
        if (states > 0) FN(store_part)(s1 + i, a, part);
        if (states > 1) FN(store_part)(s2 + i, b, part);
        /* lanes beyond the part may be NaN if eps = 0 */
        V part_bad = wi * 0 + (a * 0 + b * 0);
        bad += (V)((I)part_bad & FN(first)(part));
    }
    return FN(sum_all)(bad)[0] == 0;
}

static INLINE FN(rule) FN(broadcast_rule)(const nn_rule *rule) {
    return (FN(rule)){FN(set)((real)rule->eta),
                      FN(set)((real)rule->scale),
                      FN(set)((real)rule->l2),
                      FN(set)((real)rule->keep),
                      FN(set)((real)rule->beta1),
                      FN(set)((real)(1 - rule->beta1)),
                      FN(set)((real)rule->beta2),
                      FN(set)((real)(1 - rule->beta2)),
                      FN(set)((real)rule->root),
                      FN(set)((real)rule->eps),
                      rule->l2 != 0};
}

/* The sum of squares of a row, in the real type: one term of a penalty. */
static INLINE double FN(row_squares)(nn_index n, const real *w) {
    V sum = {0};
    nn_index i = 0;
    for (; i + LANES <= n; i += LANES) sum += FN(load)(w + i) * FN(load)(w + i);
    if (i < n) sum += FN(load_part)(w + i, n - i) * FN(load_part)(w + i, n - i);
    return (double)FN(sum_all)(sum)[0];
}

static INLINE int FN(optimize_rows)(const int kind, const int states, nn_index rows, nn_index n,
                                    real *w, nn_index w_stride, const real *g, real *s1, real *s2,
                                    const FN(rule) *rule, double *squares) {
    int finite = 1;
    for (nn_index r = 0; r < rows; r++, w += w_stride, g += n) {
        if (squares) squares[r] = FN(row_squares)(n, w);
        finite &= FN(optimize_all)(kind, states, n, w, g, s1, s2, rule);
        if (states > 0) s1 += n;
        if (states > 1) s2 += n;
    }
    return finite;
}

static NOINLINE int FN(optimizer_rows)(nn_index rows, nn_index n, void *w, nn_index w_stride,
                                       const void *g, void *s1, void *s2, const nn_rule *rule,
                                       double *squares) {
    const FN(rule) r = FN(broadcast_rule)(rule);
#define CASE(NAME, name, n_states)                                                           \
    case NN_##NAME:                                                                          \
        return FN(optimize_rows)(NN_##NAME, n_states, rows, n, w, w_stride, g, s1, s2, &r, squares);
    switch (rule->kind) {
    NN_RULES(CASE)
    NN_VELOCITY_RULES(CASE)
    }
#undef CASE
    return 0;
}

/* A single row, by the code of many. */
static int FN(optimizer_step)(nn_index n, void *w, const void *g, void *s1, void *s2,
                              const nn_rule *rule) {
    return FN(optimizer_rows)(1, n, w, n, g, s1, s2, rule, NULL);
}

/* Vector j of the rows first .. first + rows - 1 of a rank-one step; `part` of its lanes are columns.
 * Each product of the gradient is rounded, as when the gradient is stored; scale is 1. Several rows
 * are independent chains for square roots and divisions, and share a load and store of the sums. */
static INLINE void FN(rank1_vector)(const int kind, const int states, const int rows,
                                    const int whole, nn_index part, const nn_rank1 *u,
                                    const FN(rule) *rule, nn_index first, nn_index j, V *bad) {
    const real *scalar = (const real *)u->scalar + first, *factor = (const real *)u->factor + first;
    const nn_index at = first * u->stride + j;
    real *w = (real *)u->w + at, *s1 = (real *)u->s1 + at, *s2 = (real *)u->s2 + at,
         *sums = (real *)u->sums + j;
    const I used = FN(first)(part);
    V before[4], after[4], a[4], b[4], g = FN(load)((const real *)u->vector + j);
    if (!whole) g = (V)((I)g & used);
    UNROLLED_FOR(r, rows) {
        const nn_index row = r * u->stride;
        after[r] = before[r] = FN(load)(w + row);
        if (states > 0) a[r] = FN(load)(s1 + row);
        if (states > 1) b[r] = FN(load)(s2 + row);
        V product = FN(rounded)(g * scalar[r]);
        if (rule->decays) product += before[r] * rule->l2;
        FN(apply_rule)(kind, rule, &after[r], product, &a[r], &b[r]);
        if (!whole) after[r] = (V)((I)after[r] & used); /* else NaN if eps = 0 */
        FN(store)(w + row, after[r]);
        if (states > 0) FN(store)(s1 + row, a[r]);
        if (states > 1) FN(store)(s2 + row, b[r]);
        bad[r] += after[r] * 0;
        /* the first of two states makes w non-finite if it is */
        if (states == 1) bad[r] += a[r] * 0;
        if (states == 2) bad[r] += b[r] * 0;
    }
    if (u->factor == NULL) return;
    V sum = FN(load)(sums);
    if (u->after) UNROLLED_FOR(r, rows) sum += after[r] * factor[r];
    else UNROLLED_FOR(r, rows) sum += before[r] * factor[r];
    FN(store)(sums, sum);
}

static INLINE V FN(rank1_all)(const int kind, const int states, const nn_rank1 *u,
                              const FN(rule) *rule) {
    V bad[4] = {{0}, {0}, {0}, {0}};
    nn_index first = 0, j;
#define ROWS(rows)                                                                             \
    for (j = 0; j + LANES <= u->columns; j += LANES)                                           \
        FN(rank1_vector)(kind, states, rows, 1, LANES, u, rule, first, j, bad);                \
    if (j < u->columns)                                                                        \
        FN(rank1_vector)(kind, states, rows, 0, u->columns - j, u, rule, first, j, bad);
#if WIDTH == LEVEL_BYTES
    for (; first + 4 <= u->rows; first += 4) { ROWS(4) }
#endif
    for (; first < u->rows; first++) { ROWS(1) }
#undef ROWS
    return (bad[0] + bad[1]) + (bad[2] + bad[3]);
}

/* sums += the rows of W times their factors, added in the order of rank1_vector */
static NOINLINE void FN(rank1_product)(const nn_rank1 *u) {
    const real *w = u->w, *factor = u->factor;
    real *sums = u->sums;
    for (nn_index j = 0; j < u->columns; j += LANES) {
        V sum = FN(load)(sums + j);
        for (nn_index r = 0; r < u->rows; r++) sum += FN(load)(w + r * u->stride + j) * factor[r];
        FN(store)(sums + j, sum);
    }
}

static NOINLINE V FN(rank1_bad)(const nn_rank1 *u, const nn_rule *rule) {
    const FN(rule) r = FN(broadcast_rule)(rule);
    const nn_rank1 local = *u; /* no store can change it */
#define CASE(NAME, name, n_states) \
    case NN_##NAME: return FN(rank1_all)(NN_##NAME, n_states, &local, &r);
    switch (rule->kind) {
    NN_RULES(CASE)
    }
#undef CASE
    return FN(set)((real)NAN);
}

/* 1 if all results are finite */
static int FN(rank1_rule)(const nn_rank1 *u, const nn_rule *rule) {
    if (!rule) {
        FN(rank1_product)(u);
        return 1;
    }
    return FN(sum_all)(FN(rank1_bad)(u, rule))[0] == 0;
}
