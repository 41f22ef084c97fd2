/* Element-wise kernels: scaling, copies, finite checks, activations. Called by the engine and by
 * the kernels of arrays in python/. */

static void FN(subtract_scaled)(nn_index n, void *y_, const void *x_, double eta_) {
    real *y = y_;
    const real *x = x_, eta = (real)eta_;
    nn_index i = 0;
    for (; i + LANES <= n; i += LANES) FN(store)(y + i, FN(load)(y + i) - FN(load)(x + i) * eta);
    if (i < n)
        FN(store_part)(y + i, FN(load_part)(y + i, n - i) - FN(load_part)(x + i, n - i) * eta,
                       n - i);
}

static void FN(apply)(nn_index n, const void *x_, void *y_, int function) {
    const real *x = x_;
    real *y = y_;
    for (nn_index i = 0; i < n; i += LANES) {
        nn_index part = n - i < LANES ? n - i : LANES;
        V v = FN(load_part)(x + i, part);
        v = function == NN_EXP ? FN(exp)(v) : function == NN_LOG ? FN(log)(v) : FN(log1p)(v);
        FN(store_part)(y + i, v, part);
    }
}

static int FN(all_finite)(nn_index n, const void *x_) {
    const real *x = x_;
    V bad = {0};
    nn_index i = 0;
    for (; i + LANES <= n; i += LANES)
        bad += FN(load)(x + i) * 0; /* NaN for NaN and infinity, and it persists */
    if (i < n) bad += FN(load_part)(x + i, n - i) * 0;
    return FN(sum_all)(bad)[0] == 0;
}

static double FN(largest)(nn_index n, const void *x_) {
    const real *x = x_;
    const I sign = (I)FN(set)((real)-0.0);
    V bad = {0}, most = {0};
    for (nn_index i = 0; i < n; i += LANES) {
        V xi = n - i < LANES ? FN(load_part)(x + i, n - i) : FN(load)(x + i);
        bad += xi * 0;
        most = FN(max)(most, (V)((I)xi & ~sign));
    }
    return FN(sum_all)(bad)[0] == 0 ? (double)FN(max_all)(most)[0] : (double)INFINITY;
}

static int FN(copy_finite)(nn_index n, const void *x_, void *out_) {
    const real *x = x_;
    real *out = out_;
    V bad[2] = {{0}, {0}};
    nn_index i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES)
        UNROLLED_FOR(v, 2) {
            V xi = FN(load)(x + i + v * LANES);
            FN(store)(out + i + v * LANES, xi);
            bad[v] += xi * 0;
        }
    for (nn_index part; i < n; i += part) {
        part = n - i < LANES ? n - i : LANES;
        V xi = FN(load_part)(x + i, part);
        FN(store_part)(out + i, xi, part);
        bad[0] += xi * 0;
    }
    return FN(sum_all)(bad[0] + bad[1])[0] == 0;
}

static void FN(scaled)(nn_index n, const void *x_, double eta, void *y_) {
    const real *x = x_;
    real *y = y_;
    for (nn_index i = 0; i < n; i++) y[i] = x[i] * (real)eta;
}

/* One loop per activation, so that the switch is outside the loop. */
static void FN(activation_forward)(nn_index n, const void *z_, void *a_, nn_activation f) {
    const real *z = z_, slope = (real)f.slope;
    real *a = a_;
    nn_index i = 0;
#define CASE(NAME, name, ...)                                                             \
    case NN_##NAME:                                                                       \
        for (; i + LANES <= n; i += LANES)                                                \
            FN(store)(a + i, FN(name##_forward)(FN(load)(z + i), slope));                 \
        if (i < n)                                                                        \
            FN(store_part)(a + i, FN(name##_forward)(FN(load_part)(z + i, n - i), slope), \
                           n - i);                                                        \
        return;
    switch (f.kind == NN_OUTPUT_SIGMOID ? NN_SIGMOID : f.kind) {
    NN_ACTIVATIONS(CASE)
    default: memmove(a, z, (size_t)n * sizeof(real));
    }
#undef CASE
}

static void FN(activation_backward)(nn_index n, const void *da_, const void *u_, void *dz_,
                                    nn_activation f) {
    const real *da = da_, *u = u_, slope = (real)f.slope;
    real *dz = dz_;
    nn_index i = 0;
#define CASE(NAME, name, ...)                                                                     \
    case NN_##NAME:                                                                               \
        for (; i + LANES <= n; i += LANES)                                                        \
            FN(store)(dz + i, FN(name##_backward)(FN(load)(da + i), FN(load)(u + i), slope));     \
        if (i < n)                                                                                \
            FN(store_part)(dz + i,                                                                \
                           FN(name##_backward)(FN(load_part)(da + i, n - i),                      \
                                               FN(load_part)(u + i, n - i), slope),               \
                           n - i);                                                                \
        return;
    switch (f.kind) {
    NN_ACTIVATIONS(CASE)
    default: memmove(dz, da, (size_t)n * sizeof(real));
    }
#undef CASE
}
