/* The losses named by NN_ELEMENTWISE_LOSSES in kernels.h, which are sums over the outputs, and the
 * gradient of NLL given probabilities. NLL given logits is in softmax.h. Called by
 * engine/layers.pxi and python/losses.pxi. */

/* y softplus(-z) + (1 - y) softplus(z), softplus(z) = max(z, 0) + log1p(e^-|z|). A weight of 0
 * suppresses an infinite term. */
static INLINE V FN(sigmoid_loss)(V z, V y) {
    V tail = FN(log1p)(FN(exp)((V)((I)z | (I)FN(set)((real)-0.0))));
    V wrong_if_one = FN(max)((V){0}, -z) + tail, wrong_if_zero = FN(max)((V){0}, z) + tail;
    return FN(select)(y == 0, (V){0}, y * wrong_if_one) +
           FN(select)(y == 1, (V){0}, (1 - y) * wrong_if_zero);
}

static INLINE V FN(binary_nll_loss)(V z, V y, V *gradient) {
    *gradient = FN(sigmoid)(z) - y;
    return FN(sigmoid_loss)(z, y);
}

static INLINE V FN(squared_loss)(V z, V y, V *gradient) {
    V error = z - y;
    *gradient = 2 * error;
    return error * error;
}

static INLINE V FN(hinge_loss)(V z, V y, V *gradient) {
    V margin = y * z; /* NaN stays NaN */
    *gradient = FN(select)(margin < 1, -y, (V){0});
    return FN(select)(margin >= 1, (V){0}, 1 - margin);
}

/* -y log p, for binary labels also -(1 - y) log(1 - p); 0 log 0 = 0. */
static INLINE V FN(nll_term)(V p, V y) { return FN(select)(y == 0, (V){0}, y * -FN(log)(p)); }

static INLINE V FN(binary_nll_term)(V p, V y) {
    V term = FN(nll_term)(p, y);
    term += FN(select)(y == 1, (V){0}, (1 - y) * -FN(log1p)(-p));
    return term;
}

/* For these losses the network's output is its last Linear's. */
static INLINE V FN(squared_term)(V a, V y) { V g; return FN(squared_loss)(a, y, &g); }
static INLINE V FN(hinge_term)(V a, V y) { V g; return FN(hinge_loss)(a, y, &g); }

static double FN(loss_and_gradient)(nn_index n, const void *z_, const void *y_, void *grad_,
                                    int loss) {
    const real *z = z_, *y = y_;
    real *grad = grad_;
    double in_order = 0; /* the sum if all terms fit one vector */
    FN(wide_total) total = {0};
#define CASE(NAME, name)                                                                         \
    case NN_##NAME:                                                                              \
        for (nn_index i = 0; i < n; i += LANES) {                                                \
            nn_index part = n - i < LANES ? n - i : LANES;                                       \
            V gradient, terms = FN(name##_loss)(FN(load_part)(z + i, part),                      \
                                                FN(load_part)(y + i, part), &gradient);          \
            if (n > LANES)                                                                       \
                FN(add_vector)(&total, (V)((I)terms & FN(first)(part)), 0);                      \
            else                                                                                 \
                for (int l = 0; l < part; l++) in_order += terms[l];                             \
            FN(store_part)(grad + i, gradient, part);                                            \
        }                                                                                        \
        break;
    switch (loss) {
    NN_ELEMENTWISE_LOSSES(CASE)
    default: return (double)NAN; /* not a sum over the outputs */
    }
#undef CASE
    return n > LANES ? FN(wide_value)(&total) : in_order;
}

static void FN(loss_terms)(nn_index n, const void *p_, const void *y_, void *terms_, int loss) {
    const real *p = p_, *y = y_;
    real *terms = terms_;
    for (nn_index i = 0; i < n; i += LANES) {
        nn_index part = n - i < LANES ? n - i : LANES;
        V pi = FN(load_part)(p + i, part), yi = FN(load_part)(y + i, part), term;
        switch (loss) {
#define CASE(NAME, name) case NN_##NAME: term = FN(name##_term)(pi, yi); break;
        CASE(NLL, nll)
        NN_ELEMENTWISE_LOSSES(CASE)
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
