/* The losses of the lists NN_ELEMENTWISE_LOSSES, NN_SHAPED_LOSSES and NN_PARAMETRIC_LOSSES in kernels.h, which are sums
 * over the outputs. NLL given logits is in softmax.h. Used by loss_arrays.h and the fused kernels. */

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

/* With the probability clipped to [eps, 1 - eps] in the value only; NaN stays NaN. float takes the
 * value from 1 / (1 + e^-z) with its rounding, as scikit-learn does: 1 - p has few digits there. */
static INLINE V FN(clipped_binary_nll_loss)(V z, V y, V *gradient, V parameter) {
    (void)parameter;
#if DOUBLE
    const V low = FN(set)(2.220446049250313e-16), high = FN(set)(36.04365338911715);
    V loss = FN(binary_nll_loss)(z, y, gradient);
    return FN(select)(loss < low, low, FN(select)(loss > high, high, loss));
#else
    const V eps = FN(set)(1.1920929e-07f);
    V p = 1 / (1 + FN(exp)(-z));
    *gradient = FN(sigmoid)(z) - y;
    p = FN(select)(p < eps, eps, FN(select)(p > 1 - eps, 1 - eps, p));
    return -(y * FN(log)(p) + (1 - y) * FN(log)(1 - p));
#endif
}

/* Half the Poisson deviance of y and a = e^z. */
static INLINE V FN(poisson_loss)(V z, V y, V *gradient, V parameter) {
    (void)parameter;
    V a = FN(exp)(z);
    *gradient = a - y;
    return FN(select)(y == 0, (V){0}, y * (FN(log)(y) - z)) - y + a;
}

static INLINE V FN(absolute_loss)(V z, V y, V *gradient) {
    V error = z - y, one = FN(set)((real)1);
    *gradient = FN(select)(error > 0, one, FN(select)(error < 0, -one, error * 0));
    return FN(max)(error, -error) + error * 0;
}

/* Quadratic up to an error of `parameter`, then linear. */
static INLINE V FN(huber_loss)(V z, V y, V *gradient, V parameter) {
    V error = z - y, size = FN(max)(error, -error);
    *gradient = FN(select)(error > parameter, parameter,
                           FN(select)(error < -parameter, -parameter, error));
    return FN(select)(size > parameter, parameter * (size - (real)0.5 * parameter),
                      (real)0.5 * error * error);
}

/* The pinball loss of the quantile `parameter`. */
static INLINE V FN(quantile_loss)(V z, V y, V *gradient, V parameter) {
    V error = z - y;
    V slope = FN(select)(error > 0, 1 - parameter, FN(select)(error < 0, -parameter, error * 0));
    *gradient = slope;
    return slope * error;
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
static INLINE V FN(absolute_term)(V a, V y) { V g; return FN(absolute_loss)(a, y, &g); }
static INLINE V FN(huber_term)(V a, V y, V p) { V g; return FN(huber_loss)(a, y, &g, p); }
