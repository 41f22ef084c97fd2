/* What multiplies a sample's probabilities in the gradient of NLL, weight a - y: the sum of its
 * labels, exactly 1 if that is 1 to rounding. One-hot and normalised labels then give a - y to the
 * last bit.
 *
 * To rounding: |sum - 1| <= n 2^-23 for n labels, what normalising them in float32 may lose, with
 * the sum taken in float64 of labels in the network's type. All paths and both backends decide by
 * this rule. A sum in the network's type, which every path has at hand, is off by less than n 2^-24
 * for labels that are not negative, so within n 2^-24 of 1 it decides at once. */

static NOINLINE real FN(weight_of_labels)(nn_index n, const real *y, nn_index y_class) {
    double part[4] = {0, 0, 0, 0}; /* chains that need not wait for each other */
    for (nn_index i = 0; i < n; i++) part[i % 4] += (double)y[i * y_class];
    const double sum = (part[0] + part[1]) + (part[2] + part[3]), off = fabs(sum - 1);
    return off > (double)n * 0x1p-23 && off <= DBL_MAX ? (real)sum : 1; /* also if not finite */
}

/* sum: of the labels, in the network's type. plain: a - y whatever they sum to. */
static INLINE real FN(gradient_weight)(int plain, real sum, nn_index n, const real *y,
                                       nn_index y_class) {
    if (__builtin_expect(plain || fabs((double)sum - 1) <= (double)n * 0x1p-24, 1)) return 1;
    return FN(weight_of_labels)(n, y, y_class);
}
