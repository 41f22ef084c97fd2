/* The optimisers' steps, which update weights and state in one pass over both. Called by
 * engine/optimizer.pxi and python/optimizers.pxi. Formulas and sources:
 * nncore/kernels/numpy_kernels.py. */

/* The constants of a step, broadcast; rest = 1 - beta. */
typedef struct {
    V eta, scale, l2, keep, beta1, rest1, beta2, rest2, root, eps;
    int decays;
} FN(rule);

/* One vector: w, s1, s2 <- their values after the step along g. */
static INLINE void FN(optimize_one)(const int kind, const FN(rule) *r, V *w, V g, V *s1, V *s2) {
    g = g * r->scale;
    if (r->decays) g += *w * r->l2; /* 0 w would be NaN for an infinite w */
    switch (kind) {
    case NN_SGD:
        *w = *w - g * r->eta;
        break;
    case NN_MOMENTUM:
        *s1 = *s1 * r->beta1 + g;
        *w = *w - *s1 * r->eta;
        break;
    case NN_NESTEROV:
        *s1 = *s1 * r->beta1 + g;
        *w = *w - (*s1 * r->beta1 + g) * r->eta;
        break;
    case NN_ADAGRAD:
        *s1 = *s1 + g * g;
        *w = *w - r->eta * g / (FN(sqrt)(*s1) + r->eps);
        break;
    case NN_RMSPROP:
        *s1 = *s1 * r->beta2 + g * g * r->rest2;
        *w = *w - r->eta * g / (FN(sqrt)(*s1) + r->eps);
        break;
    default:
        *s1 = *s1 * r->beta1 + g * r->rest1;
        *s2 = *s2 * r->beta2 + g * g * r->rest2;
        *w = *w * r->keep - r->eta * *s1 / (FN(sqrt)(*s2) * r->root + r->eps);
    }
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

static int FN(optimizer_step)(nn_index n, void *w, const void *g, void *s1, void *s2,
                              const nn_rule *rule) {
    const FN(rule) r = {FN(set)((real)rule->eta),
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
    switch (rule->kind) {
    case NN_SGD: return FN(optimize_all)(NN_SGD, 0, n, w, g, NULL, NULL, &r);
    case NN_MOMENTUM: return FN(optimize_all)(NN_MOMENTUM, 1, n, w, g, s1, NULL, &r);
    case NN_NESTEROV: return FN(optimize_all)(NN_NESTEROV, 1, n, w, g, s1, NULL, &r);
    case NN_ADAGRAD: return FN(optimize_all)(NN_ADAGRAD, 1, n, w, g, s1, NULL, &r);
    case NN_RMSPROP: return FN(optimize_all)(NN_RMSPROP, 1, n, w, g, s1, NULL, &r);
    default: return FN(optimize_all)(NN_ADAM, 2, n, w, g, s1, s2, &r);
    }
}
