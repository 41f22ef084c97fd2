/* The gradient of NLL through a softmax is weight * a - y, where the weight is the sum of the
 * sample's labels, set to exactly 1 if it is 1 to rounding. One-hot and normalised labels then give
 * a - y to the last bit. Used by the softmax and fused kernels and by nll_backward.
 *
 * "To rounding" means |sum - 1| <= n 2^-23 for n labels, which normalising them in float32 may
 * lose, with the sum taken in float64 of labels in the network's type. All paths and both backends
 * use this rule. The sum in the network's type, which every path computes anyway, is off by less
 * than n 2^-24 for non-negative labels, so a sum within n 2^-24 of 1 decides at once. */

static NOINLINE real FN(label_weight)(nn_index n, const real *y, nn_index y_class) {
    double part[4] = {0, 0, 0, 0}; /* independent chains */
    for (nn_index i = 0; i < n; i++) part[i % 4] += (double)y[i * y_class];
    const double sum = (part[0] + part[1]) + (part[2] + part[3]), off = fabs(sum - 1);
    return off > (double)n * 0x1p-23 && off <= DBL_MAX ? (real)sum : 1; /* non-finite: 1 */
}

/* sum: of the labels, in the network's type. plain: weight 1 for any labels. */
static INLINE real FN(gradient_weight)(int plain, real sum, nn_index n, const real *y,
                                       nn_index y_class) {
    if (__builtin_expect(plain || fabs((double)sum - 1) <= (double)n * 0x1p-24, 1)) return 1;
    return FN(label_weight)(n, y, y_class);
}
