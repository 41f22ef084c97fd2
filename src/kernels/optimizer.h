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

/* The gradient scaled and, with a penalty, l2 w added; then the rule. */
static INLINE void FN(optimize_one)(const int kind, const FN(rule) *r, V *w, V g, V *s1, V *s2) {
    g = g * r->scale;
    if (r->decays) g += *w * r->l2; /* 0 w would be NaN for an infinite w */
#define CASE(NAME, name, n_states) \
    case NN_##NAME: FN(name##_rule)(r, w, g, s1, s2); break;
    switch (kind) {
    NN_RULES(CASE)
    NN_VELOCITY_RULES(CASE)
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
    NN_VELOCITY_RULES(CASE)
    }
#undef CASE
    return 0;
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

static int FN(optimizer_rows)(nn_index rows, nn_index n, void *w, nn_index w_stride, const void *g,
                              void *s1, void *s2, const nn_rule *rule, double *squares) {
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
