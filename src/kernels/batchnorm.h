/* Batch normalisation of samples as rows, in vectors along the features. Called by
 * engine/special.pxi and python/batchnorm.pxi. Formulas and source:
 * nncore/kernels/numpy_kernels.py. */

/* Features j .. j + part - 1 of all samples. */
static INLINE void FN(normalize_strip)(const nn_batchnorm *s, const nn_index j,
                                       const nn_index part) {
    const int whole = part == LANES;
    const real *x = (const real *)s->x + j;
    real *z = (real *)s->z + j, *norm = s->norm ? (real *)s->norm + j : NULL;
    const V g = LOAD((const real *)s->g + j, 0), shift = LOAD((const real *)s->shift + j, 0);
    V mean, var;
#define X LOAD(x + r * s->x_stride, 0)
    if (s->given) {
        mean = LOAD((const real *)s->mean + j, 0);
        var = LOAD((const real *)s->var + j, 0);
    } else {
        SUM_OVER_ROWS(total, s->batch, X)
        const V rough = total / (real)s->batch;
        /* The mean of a constant feature must be exact: with eps = 1e-20 an error of one ulp
         * normalises float32 to +-1 instead of 0. */
        SUM_OVER_ROWS(residual, s->batch, X - rough)
        mean = rough + residual / (real)s->batch;
        SUM_OVER_ROWS(squares, s->batch, (X - mean) * (X - mean))
        var = squares / (real)s->batch;
        STORE((real *)s->mean + j, 0, mean);
        STORE((real *)s->var + j, 0, var);
    }
    const V root = FN(sqrt)(var + (real)s->eps);
    for (nn_index r = 0; r < s->batch; r++) {
        V normal = (X - mean) / root;
        if (norm) STORE(norm + r * s->row_stride, 0, normal);
        STORE(z + r * s->row_stride, 0, g * normal + shift);
    }
#undef X
}

static void FN(batchnorm_forward)(const nn_batchnorm *s) {
    nn_index j = 0;
    for (; j + LANES <= s->features; j += LANES) FN(normalize_strip)(s, j, LANES);
    if (j < s->features) FN(normalize_strip)(s, j, s->features - j);
}

static INLINE void FN(normalize_back_strip)(const nn_batchnorm *s, const nn_index j,
                                            const nn_index part) {
    const int whole = part == LANES;
    const real *dz = (const real *)s->dz + j, *norm = (const real *)s->norm + j;
    real *dx = (real *)s->dx + j;
#define DZ LOAD(dz + r * s->row_stride, 0)
#define NORM LOAD(norm + r * s->row_stride, 0)
    SUM_OVER_ROWS(dg, s->batch, DZ * NORM)
    SUM_OVER_ROWS(dshift, s->batch, DZ)
    STORE((real *)s->dg + j, 0, dg);
    STORE((real *)s->dshift + j, 0, dshift);
    const V root = FN(sqrt)(LOAD((const real *)s->var + j, 0) + (real)s->eps),
            g = LOAD((const real *)s->g + j, 0);
    const V mean_dz = dshift / (real)s->batch, mean_product = dg / (real)s->batch;
    for (nn_index r = 0; r < s->batch; r++)
        STORE(dx + r * s->row_stride, 0, g * (DZ - mean_dz - NORM * mean_product) / root);
#undef DZ
#undef NORM
}

static void FN(batchnorm_backward)(const nn_batchnorm *s) {
    nn_index j = 0;
    for (; j + LANES <= s->features; j += LANES) FN(normalize_back_strip)(s, j, LANES);
    if (j < s->features) FN(normalize_back_strip)(s, j, s->features - j);
}

static void FN(ema_update)(nn_index n, void *running_, const void *of_batch_, double factor,
                           double momentum) {
    real *running = running_;
    const real *of_batch = of_batch_;
    for (nn_index i = 0; i < n; i++)
        running[i] += (real)momentum * (of_batch[i] * (real)factor - running[i]);
}
