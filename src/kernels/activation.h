/* The activations: what the list in kernels.h names, and what is expanded from it. */

static INLINE V FN(tanh_forward)(V z, real slope) { (void)slope; return FN(tanh)(z); }
static INLINE V FN(tanh_backward)(V da, V a, real slope) { (void)slope; return da * (1 - a * a); }

static INLINE V FN(relu_forward)(V z, real slope) { (void)slope; return FN(max)((V){0}, z); }
static INLINE V FN(relu_backward)(V da, V a, real slope) { (void)slope; return (V)((I)da & (a > 0)); }

static INLINE V FN(sigmoid_forward)(V z, real slope) { (void)slope; return FN(sigmoid)(z); }
static INLINE V FN(sigmoid_backward)(V da, V a, real slope) { (void)slope; return da * (a * (1 - a)); }

/* a = f(z) */
#define CASE(NAME, name, ...) case NN_##NAME: return FN(name##_forward)(z, slope);
static INLINE V FN(activation)(V z, const int kind, real slope) {
    switch (kind) {
    NN_ACTIVATIONS(CASE)
    default: return z;
    }
}
#undef CASE

/* dz = da f', a function of u = a or z */
#define CASE(NAME, name, ...) case NN_##NAME: return FN(name##_backward)(da, u, slope);
static INLINE V FN(derivative)(V da, V u, const int kind, real slope) {
    switch (kind) {
    NN_ACTIVATIONS(CASE)
    default: return da;
    }
}
#undef CASE
