/* Batch normalisation of samples as rows, in vectors along the features. Formulas and source:
 * nncore/kernels/numpy_kernels.py. */

#define LOAD(p) (part == LANES ? FN(load)(p) : FN(load_part)(p, part))
#define STORE(p, x)                     \
    do {                                \
        if (part == LANES)              \
            FN(store)(p, x);            \
        else                            \
            FN(store_part)(p, x, part); \
    } while (0)

static INLINE void FN(normalize_strip)(const nn_batchnorm *s, const nn_index j, const nn_index part) {
    const real *x = (const real *)s->x + j;
    real *z = (real *)s->z + j, *norm = s->norm ? (real *)s->norm + j : NULL;
    const V g = LOAD((const real *)s->g + j), shift = LOAD((const real *)s->shift + j);
    V mean, var;
    if (s->given) {
        mean = LOAD((const real *)s->mean + j);
        var = LOAD((const real *)s->var + j);
    } else {
        SUM_OVER_ROWS(total, s->batch, LOAD(x + r * s->x_stride))
        const V rough = total / (real)s->batch;
        /* A constant feature must have exactly its own mean: an ulp beside it, with eps = 1e-20,
         * normalises float32 to +-1 instead of 0. */
        SUM_OVER_ROWS(residual, s->batch, LOAD(x + r * s->x_stride) - rough)
        mean = rough + residual / (real)s->batch;
        SUM_OVER_ROWS(squares, s->batch,
                      (LOAD(x + r * s->x_stride) - mean) * (LOAD(x + r * s->x_stride) - mean))
        var = squares / (real)s->batch;
        STORE((real *)s->mean + j, mean);
        STORE((real *)s->var + j, var);
    }
    const V root = FN(sqrt)(var + (real)s->eps);
    for (nn_index r = 0; r < s->batch; r++) {
        V normal = (LOAD(x + r * s->x_stride) - mean) / root;
        if (norm) STORE(norm + r * s->row_stride, normal);
        STORE(z + r * s->row_stride, g * normal + shift);
    }
}

static void FN(batchnorm_forward)(const nn_batchnorm *s) {
    nn_index j = 0;
    for (; j + LANES <= s->features; j += LANES) FN(normalize_strip)(s, j, LANES);
    if (j < s->features) FN(normalize_strip)(s, j, s->features - j);
}

static INLINE void FN(normalize_back_strip)(const nn_batchnorm *s, const nn_index j,
                                            const nn_index part) {
    const real *dz = (const real *)s->dz + j, *norm = (const real *)s->norm + j;
    real *dx = (real *)s->dx + j;
    SUM_OVER_ROWS(dg, s->batch, LOAD(dz + r * s->row_stride) * LOAD(norm + r * s->row_stride))
    SUM_OVER_ROWS(dshift, s->batch, LOAD(dz + r * s->row_stride))
    STORE((real *)s->dg + j, dg);
    STORE((real *)s->dshift + j, dshift);
    const V root = FN(sqrt)(LOAD((const real *)s->var + j) + (real)s->eps),
            g = LOAD((const real *)s->g + j);
    const V mean_dz = dshift / (real)s->batch, mean_product = dg / (real)s->batch;
    for (nn_index r = 0; r < s->batch; r++)
        STORE(dx + r * s->row_stride,
              g * (LOAD(dz + r * s->row_stride) - mean_dz - LOAD(norm + r * s->row_stride) * mean_product) /
                  root);
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

#undef LOAD
#undef STORE
