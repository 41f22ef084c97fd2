/* The losses named by NN_ELEMENTWISE_LOSSES in kernels.h, which are sums over the outputs. NLL given
 * logits is in softmax.h. Used by loss_arrays.h and the fused kernels. */

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
