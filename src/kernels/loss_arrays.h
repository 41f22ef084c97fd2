/* Losses and their gradients of arrays, the gradient of NLL given probabilities, and smoothed and
 * weighted labels. Called by engine/layers.pxi, engine/fused.pxi and python/losses.pxi. */

static double FN(loss_and_gradient)(nn_index n, const void *z_, const void *y_, void *grad_,
                                    int loss, double parameter_) {
    const real *z = z_, *y = y_;
    real *grad = grad_;
    const V parameter = FN(set)((real)parameter_);
    nn_index i = 0;
    double in_order = 0; /* the sum if all terms fit one vector */
    FN(wide_total) total = {0};
#define SUM(NAME, ...)                                                      \
    case NN_##NAME:                                                         \
        for (; n > LANES && i + LANES <= n; i += LANES) {                   \
            V gradient, zi = FN(load)(z + i), yi = FN(load)(y + i);         \
            V terms = __VA_ARGS__;                                          \
            FN(add_vector)(&total, terms, 0);                               \
            FN(store)(grad + i, gradient);                                  \
        }                                                                   \
        for (; i < n; i += LANES) {                                         \
            nn_index part = n - i < LANES ? n - i : LANES;                  \
            V gradient, zi = FN(load_part)(z + i, part);                    \
            V yi = FN(load_part)(y + i, part), terms = __VA_ARGS__;         \
            if (n > LANES)                                                  \
                FN(add_vector)(&total, (V)((I)terms & FN(first)(part)), 0); \
            else                                                            \
                for (int l = 0; l < part; l++) in_order += terms[l];        \
            FN(store_part)(grad + i, gradient, part);                       \
        }                                                                   \
        break;
#define CASE(NAME, name) SUM(NAME, FN(name##_loss)(zi, yi, &gradient))
#define PARAMETRIC_CASE(NAME, name) SUM(NAME, FN(name##_loss)(zi, yi, &gradient, parameter))
    switch (loss) {
    NN_ELEMENTWISE_LOSSES(CASE)
    NN_SHAPED_LOSSES(PARAMETRIC_CASE)
    NN_PARAMETRIC_LOSSES(PARAMETRIC_CASE)
    default: return (double)NAN; /* not a sum over the outputs */
    }
#undef CASE
#undef PARAMETRIC_CASE
#undef SUM
    return n > LANES ? FN(wide_value)(&total) : in_order;
}

static void FN(loss_terms)(nn_index n, const void *p_, const void *y_, void *terms_, int loss,
                           double parameter_) {
    const real *p = p_, *y = y_;
    real *terms = terms_;
    const V parameter = FN(set)((real)parameter_);
    for (nn_index i = 0; i < n; i += LANES) {
        nn_index part = n - i < LANES ? n - i : LANES;
        V pi = FN(load_part)(p + i, part), yi = FN(load_part)(y + i, part), term;
        switch (loss) {
#define CASE(NAME, name) case NN_##NAME: term = FN(name##_term)(pi, yi); break;
        CASE(NLL, nll)
        NN_ELEMENTWISE_LOSSES(CASE)
#undef CASE
#define CASE(NAME, name) case NN_##NAME: term = FN(name##_term)(pi, yi, parameter); break;
        NN_SHAPED_LOSSES(CASE)
#undef CASE
        default: term = FN(set)((real)NAN);
        }
        FN(store_part)(terms + i, term, part);
    }
}

static void FN(nll_backward)(nn_index batch, nn_index classes, const void *p_, const void *y_,
                             void *grad_) {
    const real *p = p_, *y = y_;
    real *grad = grad_;
    for (nn_index j = 0; j < batch; j++, p += classes, y += classes, grad += classes) {
        V labels = {0};
        for (nn_index i = 0; i < classes; i += LANES)
            labels += FN(load_part)(y + i, classes - i < LANES ? classes - i : LANES);
        const V weight = FN(set)(FN(gradient_weight)(0, FN(sum_all)(labels)[0], classes, y, 1));
        for (nn_index i = 0; i < classes; i += LANES) {
            const nn_index part = classes - i < LANES ? classes - i : LANES;
            FN(store_part)(
                grad + i,
                FN(gradient_of)(FN(load_part)(p + i, part), weight, FN(load_part)(y + i, part)),
                part);
        }
    }
}

/* Sums in double: the labels of a sample that sum to 1 then do so after smoothing, to rounding. */
static void FN(adjust_labels)(nn_index batch, nn_index classes, void *y_, nn_index y_sample,
                              nn_index y_class, double smoothing, const double *weights) {
    const double keep = 1 - smoothing, share = smoothing / (double)classes;
    for (nn_index j = 0; j < batch; j++) {
        real *y = (real *)y_ + j * y_sample;
        double sum = 0;
        for (nn_index i = 0; i < classes; i++) sum += (double)y[i * y_class];
        const double every = share * sum;
        for (nn_index i = 0; i < classes; i++) {
            const double smooth = keep * (double)y[i * y_class] + every;
            y[i * y_class] = (real)(weights ? weights[i] * smooth : smooth);
        }
    }
}
