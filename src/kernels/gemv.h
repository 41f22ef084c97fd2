/* GEMV and rank-1 updates, at batch size 1. Called by the engine's passes (engine/layers.pxi,
 * engine/lookahead.pxi), by the predictor and by linear_forward and linear_backward. */

/* z <- x W + bias for nv vectors of outputs, the last one of `part` entries unless `whole`. nv * ku
 * chains of sums hide the latency of the multiply-add. If `indexed`, the m terms are those of
 * index[0 .. m - 1]; if it is 2, x holds these terms alone. If `far`, rows of n entries are prefetched, some terms ahead. */
static INLINE void FN(gemv_strip)(const int nv, const int ku, const int whole, const int indexed,
                                  const int far, nn_index part, nn_index m, nn_index n,
                                  const real *x, const int32_t *index, const real *w,
                                  nn_index w_stride, const real *bias, real *z) {
    V sum[8][8];
    nn_index k = 0;
#define AT(p, v)                                             \
    (whole || (v) < nv - 1 ? FN(load)((p) + (v) * LANES)     \
                           : FN(load_part)((p) + (v) * LANES, part))
#define TERM(u, k)                                                       \
    do {                                                                 \
        const nn_index i = indexed ? index[k] : (k);                     \
        UNROLLED_FOR(v, nv) sum[u][v] += AT(w + i * w_stride, v) * x[indexed == 2 ? (k) : i]; \
    } while (0)
    UNROLLED_FOR(v, nv)
        UNROLLED_FOR(u, ku) sum[u][v] = (V){0};
    for (; k + ku <= m; k += ku) {
        if (far)
            for (nn_index u = k + GEMV_AHEAD; u < k + ku + GEMV_AHEAD && u < m; u++) {
                const char *row = (const char *)(w + index[u] * w_stride);
                for (nn_index i = 0; i < n * (nn_index)sizeof(real); i += 64)
                    __builtin_prefetch(row + i);
            }
        UNROLLED_FOR(u, ku) TERM(u, k + u);
    }
    for (; k < m; k++) TERM(0, k);
    UNROLLED_FOR(v, nv) {
        UNROLLED
        for (int half = ku / 2; half > 0; half /= 2)
            UNROLLED_FOR(u, half) sum[u][v] += sum[u + half][v];
        V out = sum[0][v] + AT(bias, v);
        if (whole || v < nv - 1) FN(store)(z + v * LANES, out);
        else FN(store_part)(z + v * LANES, out, part);
    }
#undef TERM
#undef AT
}

/* All n outputs in strips of 8, 4, 2, 1 vectors and part of a vector. */
static INLINE void FN(gemv_strips)(const int indexed, const int far, nn_index m, nn_index n,
                                   const real *x, const int32_t *index, const real *w,
                                   nn_index w_stride, const real *bias, real *z) {
    nn_index j = 0;
#define STRIP(nv, ku, whole, part)                                                              \
    do {                                                                                        \
        if (far && j == 0)                                                                      \
            FN(gemv_strip)(nv, ku, whole, indexed, far, part, m, n, x, index, w, w_stride,      \
                           bias, z);                                                            \
        else                                                                                    \
            FN(gemv_strip)(nv, ku, whole, indexed, 0, part, m, n, x, index, w + j, w_stride,    \
                           bias + j, z + j);                                                    \
    } while (0)
#if N_VECTOR_REGISTERS >= 32
    for (; j + 8 * LANES <= n; j += 8 * LANES) STRIP(8, 1, 1, LANES);
#endif
    for (; j + 4 * LANES <= n; j += 4 * LANES) STRIP(4, 2, 1, LANES);
    for (; j + 2 * LANES <= n; j += 2 * LANES) STRIP(2, 4, 1, LANES);
    for (; j + LANES <= n; j += LANES) STRIP(1, 8, 1, LANES);
    if (j < n) STRIP(1, 8, 0, n - j);
#undef STRIP
}

static void FN(gemv)(nn_index m, nn_index n, const void *x, const int32_t *index, const void *w,
                     nn_index w_stride, const void *bias, void *z, nn_activation f) {
    if (index) FN(gemv_strips)(1, 0, m, n, x, index, w, w_stride, bias, z);
    else FN(gemv_strips)(0, 0, m, n, x, NULL, w, w_stride, bias, z);
    if (f.kind != NN_NONE) FN(activation_forward)(n, z, z, f);
}

/* gemv with an index, for the m entries of x alone. */
static void FN(gemv_listed)(nn_index m, nn_index n, const void *x, const int32_t *index,
                            const void *w, nn_index w_stride, const void *bias, void *z,
                            nn_activation f) {
    if (m > 0 && index[m - 1] * w_stride * (nn_index)sizeof(real) > GEMV_FAR_BYTES)
        FN(gemv_strips)(2, 1, m, n, x, index, w, w_stride, bias, z);
    else FN(gemv_strips)(2, 0, m, n, x, index, w, w_stride, bias, z);
    if (f.kind != NN_NONE) FN(activation_forward)(n, z, z, f);
}

/* gemv without an index for W without padding, with the bits of gemv for rows padded to whole
 * vectors: the last vector belongs to the strip that a whole one would be in. */
static void FN(gemv_unpadded)(nn_index m, nn_index n, const void *x, const void *w_,
                              nn_index w_stride, const void *bias_, void *z_, nn_activation f) {
    const real *w = w_, *bias = bias_;
    real *z = z_;
    nn_index j = 0;
#define STRIPS(nv, ku)                                                                            \
    for (; j + ((nv) - 1) * LANES < n; j += (nv) * LANES) {                                       \
        if (j + (nv) * LANES <= n)                                                                \
            FN(gemv_strip)(nv, ku, 1, 0, 0, LANES, m, n, x, NULL, w + j, w_stride, bias + j,      \
                           z + j);                                                                \
        else                                                                                      \
            FN(gemv_strip)(nv, ku, 0, 0, 0, n - j - ((nv) - 1) * LANES, m, n, x, NULL, w + j,     \
                           w_stride, bias + j, z + j);                                            \
    }
#if N_VECTOR_REGISTERS >= 32
    STRIPS(8, 1)
#endif
    STRIPS(4, 2)
    STRIPS(2, 4)
    STRIPS(1, 8)
#undef STRIPS
    if (f.kind != NN_NONE) FN(activation_forward)(n, z, z, f);
}

/* dx[r] = W[r] . dz and then, if `update`, W[r] -= eta x[r] dz, for r < rows. Parts of vectors are
 * loaded for all rows before any is stored: a masked store holds up a load from the whole vector's
 * place, and the next row begins within it (32 x 10 without padding: 276 -> 67 ns). */
static INLINE void FN(rows_back)(const int rows, const int update, nn_index n, real *w,
                                 nn_index w_stride, const real *x, const real *dz, real *dx,
                                 real eta) {
    V sum[8], old[8];
    real step[8];
    UNROLLED_FOR(r, rows) {
        sum[r] = (V){0};
        step[r] = update ? eta * x[r] : 0;
    }
    nn_index j = 0;
    for (; j + LANES <= n; j += LANES) {
        V d = FN(load)(dz + j);
        UNROLLED_FOR(r, rows) {
            real *p = w + r * w_stride + j;
            V v = FN(load)(p);
            sum[r] += v * d;
            if (update) FN(store)(p, v - d * step[r]);
        }
    }
    if (j < n) {
        nn_index part = n - j;
        V d = FN(load_part)(dz + j, part);
        UNROLLED_FOR(r, rows) old[r] = FN(load_part)(w + r * w_stride + j, part);
        UNROLLED_FOR(r, rows) {
            sum[r] += old[r] * d;
            if (update) FN(store_part)(w + r * w_stride + j, old[r] - d * step[r], part);
        }
    }
    if (rows >= 4) FN(four_sums)(sum[0], sum[1], sum[2], sum[3], dx);
    if (rows == 8) FN(four_sums)(sum[4], sum[5], sum[6], sum[7], dx + 4);
    if (rows < 4)
        for (int r = 0; r < rows; r++) dx[r] = FN(sum_all)(sum[r])[0];
}

/* rows_back with `update` for rows of one number that follow each other, with the same bits. Row by
 * row, each load would wait for the store before it, which it overlaps (4-64-64-1 in the user's
 * memory: 1.2 -> 0.85 us per step). */
static INLINE void FN(column_back)(nn_index m, real *w, const real *x, real dz, real *dx,
                                   real eta) {
    nn_index k = 0;
#define ROWS(load, store, ...)                      \
    do {                                            \
        V v = FN(load)(w + k, ##__VA_ARGS__);       \
        V step = FN(load)(x + k, ##__VA_ARGS__) * eta, zero = {0}; \
        FN(store)(dx + k, zero + v * dz, ##__VA_ARGS__);  \
        FN(store)(w + k, v - step * dz, ##__VA_ARGS__);   \
    } while (0)
    for (; k + LANES <= m; k += LANES) ROWS(load, store);
    if (k < m) ROWS(load_part, store_part, m - k);
#undef ROWS
}

static void FN(gemv_backward)(nn_index m, nn_index n, void *w_, nn_index w_stride, const void *x_,
                             const void *dz, void *dx_, nn_activation f, double eta) {
    real *w = w_, *dx = dx_;
    const real *x = x_;
    nn_index k = n == 1 && w_stride == 1 ? m : 0;
    if (k) FN(column_back)(m, w, x, *(const real *)dz, dx, (real)eta);
    for (; k + 8 <= m && n % LANES; k += 8)
        FN(rows_back)(8, 1, n, w + k * w_stride, w_stride, x + k, dz, dx + k, (real)eta);
    for (; k + 4 <= m; k += 4)
        FN(rows_back)(4, 1, n, w + k * w_stride, w_stride, x + k, dz, dx + k, (real)eta);
    for (; k < m; k++)
        FN(rows_back)(1, 1, n, w + k * w_stride, w_stride, x + k, dz, dx + k, (real)eta);
    FN(activation_backward)(m, dx, x, dx, f);
}

static void FN(gemv_t)(nn_index m, nn_index n, const void *w_, nn_index w_stride, const void *dz,
                       void *dx_) {
    real *w = (real *)w_, *dx = dx_; /* rows_back without `update` does not write W */
    nn_index k = 0;
    for (; k + 4 <= m; k += 4)
        FN(rows_back)(4, 0, n, w + k * w_stride, w_stride, NULL, dz, dx + k, 0);
    for (; k < m; k++) FN(rows_back)(1, 0, n, w + k * w_stride, w_stride, NULL, dz, dx + k, 0);
}

/* gemv_backward for nv vectors of wt's rows, which are W's columns. */
static INLINE void FN(transposed_strip)(const int nv, const int whole, nn_index part, nn_index n,
                                        real *wt, nn_index wt_stride, const real *x,
                                        const real *dz, real *dx, nn_activation f, real eta) {
    V sum[4], a[4];
    UNROLLED_FOR(v, nv) {
        sum[v] = (V){0};
        a[v] = LOAD(x, v);
    }
    for (nn_index j = 0; j < n; j++, wt += wt_stride) {
        const real step = eta * dz[j];
        UNROLLED_FOR(v, nv) {
            V w = LOAD(wt, v);
            sum[v] += w * dz[j];
            STORE(wt, v, w - a[v] * step);
        }
    }
    UNROLLED_FOR(v, nv) STORE(dx, v, FN(derivative)(sum[v], a[v], f.kind, (real)f.slope));
}

static void FN(gemv_backward_wt)(nn_index m, nn_index n, void *wt_, nn_index wt_stride,
                                 const void *x_, const void *dz, void *dx_, nn_activation f,
                                 double eta) {
    real *wt = wt_, *dx = dx_;
    const real *x = x_;
    nn_index i = 0;
#define STRIP(nv, whole, part) \
    FN(transposed_strip)(nv, whole, part, n, wt + i, wt_stride, x + i, dz, dx + i, f, (real)eta)
    for (; i + 4 * LANES <= m; i += 4 * LANES) STRIP(4, 1, LANES);
    for (; i + LANES <= m; i += LANES) STRIP(1, 1, LANES);
    if (i < m) STRIP(1, 0, m - i);
#undef STRIP
}

static void FN(gemv_wt)(nn_index m, nn_index n, const void *x, const void *wt, nn_index wt_stride,
                        const void *bias_, void *z_, nn_activation f) {
    const real *bias = bias_;
    real *z = z_;
    FN(gemv_t)(n, m, wt, wt_stride, x, z);
    for (nn_index j = 0; j < n; j++) z[j] += bias[j];
    if (f.kind != NN_NONE) FN(activation_forward)(n, z, z, f);
}

/* nv vectors of every row, last row first: the forward product has left the last rows in the cache,
 * and the next one begins with the first. */
static INLINE void FN(update_strip)(const int nv, const int whole, nn_index part, nn_index m,
                                    real *w, nn_index w_stride, const real *x,
                                    const int32_t *index, const real *step) {
    V steps[8];
    UNROLLED_FOR(v, nv) steps[v] = LOAD(step, v);
    nn_index k = m - 1;
    if (!whole) /* see rows_back */
        for (; k >= 7; k -= 8) {
            V old[8];
#define ROW(r) (index ? index[k - (r)] : k - (r))
            UNROLLED_FOR(r, 8) old[r] = LOAD(w + ROW(r) * w_stride, 0);
            UNROLLED_FOR(r, 8) STORE(w + ROW(r) * w_stride, 0, old[r] - steps[0] * x[ROW(r)]);
#undef ROW
        }
    for (; k >= 0; k--) {
        const nn_index i = index ? index[k] : k;
        real *row = w + i * w_stride;
        UNROLLED_FOR(v, nv) STORE(row, v, LOAD(row, v) - steps[v] * x[i]);
    }
}

static void FN(rank1_update)(nn_index m, nn_index n, void *w_, nn_index w_stride, const void *x,
                             const int32_t *index, const void *step_) {
    real *w = w_;
    const real *step = step_;
    nn_index j = 0;
#define STRIP(nv, whole, part) \
    FN(update_strip)(nv, whole, part, m, w + j, w_stride, x, index, step + j)
    for (; j + 8 * LANES <= n; j += 8 * LANES) STRIP(8, 1, LANES);
    for (; j + 2 * LANES <= n; j += 2 * LANES) STRIP(2, 1, LANES);
    for (; j + LANES <= n; j += LANES) STRIP(1, 1, LANES);
    if (j < n) STRIP(1, 0, n - j);
#undef STRIP
}
