/* The element-wise activations named by NN_ACTIVATIONS in kernels.h: f, f', and the switches over
 * the list. Used by the GEMM, GEMV, SpMM and fused kernels and by elementwise.h. */

static INLINE V FN(tanh_forward)(V z, real slope) { (void)slope; return FN(tanh)(z); }
static INLINE V FN(tanh_backward)(V da, V a, real slope) { (void)slope; return da * (1 - a * a); }

static INLINE V FN(relu_forward)(V z, real slope) { (void)slope; return FN(max)((V){0}, z); }
static INLINE V FN(relu_backward)(V da, V a, real slope) {
    (void)slope;
    return (V)((I)da & (a > 0));
}

static INLINE V FN(sigmoid_forward)(V z, real slope) { (void)slope; return FN(sigmoid)(z); }
static INLINE V FN(sigmoid_backward)(V da, V a, real slope) {
    (void)slope;
    return da * (a * (1 - a));
}

static INLINE V FN(leaky_relu_forward)(V z, real slope) { return FN(select)(z > 0, z, z * slope); }
static INLINE V FN(leaky_relu_backward)(V da, V a, real slope) {
    return FN(select)(a > 0, da, da * slope);
}

/* z Phi(z), Phi the standard normal distribution; derivative Phi(z) + z phi(z). */
static NOINLINE V FN(gelu_forward)(V z, real slope) {
    (void)slope;
    V density, tail = FN(normal_tail)((V)((I)z & ~(I)FN(set)((real)-0.0)), &density);
    z = FN(max)(FN(set)(C(-16.0f, -40.0)), z); /* so that -infinity times 0 gives 0 */
    return z * FN(select)(z > 0, 1 - tail, tail);
}
static NOINLINE V FN(gelu_backward)(V da, V z, real slope) {
    (void)slope;
    V density, tail = FN(normal_tail)((V)((I)z & ~(I)FN(set)((real)-0.0)), &density);
    z = -FN(max)(FN(set)(C(-16.0f, -40.0)), -FN(max)(FN(set)(C(-16.0f, -40.0)), z));
    return da * (FN(select)(z > 0, 1 - tail, tail) + z * density);
}

/* s = sigmoid(x); *derivative = s (1 - s), without cancellation if s is nearly 1. */
static INLINE V FN(sigmoid_pair)(V x, V *derivative) {
    const I sign = (I)FN(set)((real)-0.0);
    const V q = FN(exp)((V)((I)x | sign)), r = 1 / (1 + q);
    *derivative = q * r * r;
    return FN(select)(x > 0, r, q * r);
}

/* z sigmoid(2 u) = z (1 + tanh u) / 2 with u = sqrt(2 / pi) (z + 0.044715 z^3). */
#define SLOPE_OF_U (real)1.59576912160573071 /* 2 sqrt(2 / pi) */
static NOINLINE V FN(gelu_tanh_forward)(V z, real slope) {
    (void)slope;
    z = FN(max)(FN(set)((real)-1000), z);
    return z * FN(sigmoid)((z + z * z * z * (real)0.044715) * SLOPE_OF_U);
}
static NOINLINE V FN(gelu_tanh_backward)(V da, V z, real slope) {
    (void)slope;
    z = -FN(max)(FN(set)((real)-1000), -FN(max)(FN(set)((real)-1000), z));
    V d, s = FN(sigmoid_pair)((z + z * z * z * (real)0.044715) * SLOPE_OF_U, &d);
    return da * (s + z * d * (1 + z * z * (real)0.134145) * SLOPE_OF_U);
}
#undef SLOPE_OF_U

static NOINLINE V FN(silu_forward)(V z, real slope) {
    (void)slope;
    z = FN(max)(FN(set)((real)-1000), z);
    return z * FN(sigmoid)(z);
}
static NOINLINE V FN(silu_backward)(V da, V z, real slope) {
    (void)slope;
    z = -FN(max)(FN(set)((real)-1000), -FN(max)(FN(set)((real)-1000), z));
    V d, s = FN(sigmoid_pair)(z, &d);
    return da * (s + z * d);
}

/* a = f(z) */
#define CASE(NAME, name, ...) case NN_##NAME: return FN(name##_forward)(z, slope);
static INLINE V FN(activation)(V z, const int kind, real slope) {
    switch (kind) {
    NN_ACTIVATIONS(CASE)
    default: return z;
    }
}
#undef CASE

/* dz = da f'(u), u = a or z */
#define CASE(NAME, name, ...) case NN_##NAME: return FN(name##_backward)(da, u, slope);
static INLINE V FN(derivative)(V da, V u, const int kind, real slope) {
    switch (kind) {
    NN_ACTIVATIONS(CASE)
    default: return da;
    }
}
#undef CASE
