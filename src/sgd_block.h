/* Blocks of NN_BLOCK_STEPS consecutive steps of one sample each that share one pass over the first layer's W: a special path of the
 * network program for first layers that are large beside the cache nearest to the processor.
 *
 * With W and b as they stand before the block and s_k = eta_k dL/dz_k, step k of the block needs
 *     z_k = W_k' x_k + b_k = (W' x_k + b) - sum over j < k of (x_j . x_k + 1) s_j,
 * where the products with W are taken for all samples of the block in one pass, the products of the samples with each other (their
 * Gram matrix) need no W, and the s_j follow one after the other: the algorithm is the sequential one, with other rounding. The
 * block's updates W <- W - x_k s_k wait for the next block's pass, so W is read and written once a block.
 *
 * Deleting this file, its lines in kernels.h and kernel_body.h and the methods of program.pxi that call it leaves the general
 * path, with the same results to rounding. */

#define BLOCK_VECTORS 2

/* nv vectors of every row of W: the updates of a block, in its order, then the products with the next. old, next: (m, K), one row an
 * input; steps, z: (K, n). */
static INLINE void FN(block_strip)(const int nv, const int whole, const int updates, const int forwards, nn_index part, nn_index m,
                                   nn_index n, real *w, nn_index w_row, const real *old, const real *steps, const real *next,
                                   const real *bias, real *z) {
    V sum[NN_BLOCK_STEPS][BLOCK_VECTORS];
#define LOAD(p, v) (whole ? FN(load)((p) + (v) * LANES) : FN(load_part)((p), part))
#define STORE(p, v, x) do { if (whole) FN(store)((p) + (v) * LANES, (x)); else FN(store_part)((p), (x), part); } while (0)
#define EACH                                             \
    UNROLLED                                             \
    for (int k = 0; k < NN_BLOCK_STEPS; k++)             \
        UNROLLED                                         \
        for (int v = 0; v < nv; v++)
    EACH sum[k][v] = (V){0};
    for (nn_index i = 0; i < m; i++, w += w_row) {
        V row[BLOCK_VECTORS];
        UNROLLED
        for (int v = 0; v < nv; v++) row[v] = LOAD(w, v);
        if (updates) {
            EACH row[v] -= LOAD(steps + k * n, v) * old[i * NN_BLOCK_STEPS + k];
            UNROLLED
            for (int v = 0; v < nv; v++) STORE(w, v, row[v]);
        }
        if (forwards) EACH sum[k][v] += row[v] * next[i * NN_BLOCK_STEPS + k];
    }
    if (forwards) EACH STORE(z + k * n, v, sum[k][v] + LOAD(bias, v));
#undef LOAD
#undef STORE
#undef EACH
}

static INLINE void FN(block_strips)(const int updates, const int forwards, nn_index m, nn_index n, real *w, nn_index w_row, const real *old,
                                    const real *steps, const real *next, const real *bias, real *z) {
    nn_index j = 0;
#define STRIP(nv, whole, part) \
    FN(block_strip)(nv, whole, updates, forwards, part, m, n, w + j, w_row, old, steps + j, next, bias + j, z + j)
    for (; j + BLOCK_VECTORS * LANES <= n; j += BLOCK_VECTORS * LANES) STRIP(BLOCK_VECTORS, 1, LANES);
    for (; j + LANES <= n; j += LANES) STRIP(1, 1, LANES);
    if (j < n) STRIP(1, 0, n - j);
#undef STRIP
}

static void FN(block_pass)(nn_index m, nn_index n, void *w, nn_index w_row, const void *old, const void *steps, const void *next,
                           const void *bias, void *z) {
    if (old && next) FN(block_strips)(1, 1, m, n, w, w_row, old, steps, next, bias, z);
    else if (next) FN(block_strips)(0, 1, m, n, w, w_row, NULL, bias, next, bias, z);
    else FN(block_strips)(1, 0, m, n, w, w_row, old, steps, NULL, bias, z);
}

/* out[k][j] <- -(x_j . x_k + 1) for j < k of the block's samples x (K, m) */
static void FN(block_gram)(nn_index m, const void *x_, void *out_) {
    const real *x = x_;
    real *out = out_;
    for (int k = 1; k < NN_BLOCK_STEPS; k++) {
        V sum[NN_BLOCK_STEPS];
        UNROLLED
        for (int j = 0; j < NN_BLOCK_STEPS; j++) sum[j] = (V){0};
        nn_index i = 0;
#define TERMS(LOAD)                              \
    do {                                         \
        V xk = LOAD(x + k * m + i);              \
        for (int j = 0; j < k; j++) sum[j] += LOAD(x + j * m + i) * xk; \
    } while (0)
        for (; i + LANES <= m; i += LANES) TERMS(FN(load));
#define PART_OF(at) FN(load_part)(at, m - i)
        if (i < m) TERMS(PART_OF);
#undef PART_OF
#undef TERMS
        for (int j = 0; j < k; j++) out[k * NN_BLOCK_STEPS + j] = -1 - FN(sum_all)(sum[j])[0];
    }
}
#undef BLOCK_VECTORS
