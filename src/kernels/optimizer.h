/* The optimisers' steps, which update weights and state in one pass over both. Called by
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

/* The gradient scaled and, with a penalty, l2 w added; then the rule. */
static INLINE void FN(optimize_one)(const int kind, const FN(rule) *r, V *w, V g, V *s1, V *s2) {
    g = g * r->scale;
    if (r->decays) g += *w * r->l2; /* 0 w would be NaN for an infinite w */
#define CASE(NAME, name, n_states) \
    case NN_##NAME: FN(name##_rule)(r, w, g, s1, s2); break;
    switch (kind) {
    NN_RULES(CASE)
    }
#undef CASE
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

static int FN(optimizer_step)(nn_index n, void *w, const void *g, void *s1, void *s2,
                              const nn_rule *rule) {
    const FN(rule) r = FN(broadcast_rule)(rule);
#define CASE(NAME, name, n_states)                                                     \
    case NN_##NAME:                                                                    \
        return FN(optimize_all)(NN_##NAME, n_states, n, w, g, (n_states) > 0 ? s1 : NULL, \
                                (n_states) > 1 ? s2 : NULL, &r);
    switch (rule->kind) {
    NN_RULES(CASE)
    }
#undef CASE
    return 0;
}

/* Rows are taken four at a time: independent chains for the square roots and divisions, and one
 * load and store of the sums for four rows. Each product of the gradient is rounded, as when the
 * gradient is stored. */
static INLINE V FN(rank1_rows)(const int kind, const int states, const nn_rank1 *u,
                               const FN(rule) *rule) {
    const real *scalar = u->scalar, *vector = u->vector,
               *factor = u->factor ? u->factor : u->scalar;
    const I all = FN(first)(LANES);
    V bad = {0};
    for (nn_index first = 0; first < u->rows; first += 4) {
        const nn_index end = u->rows - first < 4 ? u->rows : first + 4;
        for (nn_index j = 0; j < u->columns; j += LANES) {
            const I used = u->columns - j < LANES ? FN(first)(u->columns - j) : all;
            const V g = FN(load)(vector + j);
            V sum = {0};
            for (nn_index r = first; r < end; r++) {
                const nn_index at = r * u->stride + j;
                real *w = (real *)u->w + at, *s1 = (real *)u->s1 + at, *s2 = (real *)u->s2 + at;
                const V before = FN(load)(w);
                V after = before, a = {0}, b = {0};
                if (states > 0) a = FN(load)(s1);
                if (states > 1) b = FN(load)(s2);
                FN(optimize_one)(kind, rule, &after,
                                 FN(rounded)((V)((I)g & used) * scalar[r]), &a, &b);
                after = (V)((I)after & used); /* NaN beyond the columns if eps = 0 */
                FN(store)(w, after);
                if (states > 0) FN(store)(s1, a);
                if (states > 1) FN(store)(s2, b);
                bad += after * 0 + (a * 0 + b * 0);
                sum += (u->after ? after : before) * factor[r];
            }
            if (u->factor) {
                real *out = (real *)u->sums + j;
                FN(store)(out, FN(load)(out) + sum);
            }
        }
    }
    return bad;
}

static NOINLINE V FN(rank1_bad)(const nn_rank1 *u, const nn_rule *rule) {
    const FN(rule) r = FN(broadcast_rule)(rule);
#define CASE(NAME, name, n_states) \
    case NN_##NAME: return FN(rank1_rows)(NN_##NAME, n_states, u, &r);
    switch (rule->kind) {
    NN_RULES(CASE)
    }
#undef CASE
    return FN(set)((real)NAN);
}

/* 1 if all results are finite */
static int FN(rank1_rule)(const nn_rank1 *u, const nn_rule *rule) {
    return FN(sum_all)(FN(rank1_bad)(u, rule))[0] == 0;
}
