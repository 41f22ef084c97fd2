/* SGD at batch size 1 on networks with at most FUSED_VECTORS vectors per layer, many steps per
 * call: the special path "fused-sgd" of the engine.
 *
 * A step is a latency chain of a few hundred cycles, so everything that can be is kept off it:
 * - Every layer's W is kept twice, W (m, n) and its transpose (n, m), with rows padded to whole
 *   vectors. The forward and the backward product are then the same routine, sums of scaled rows,
 *   and no sum runs across lanes. The two copies stay equal to the last bit, as both subtract the
 *   product of the same two numbers. Padding is zero and stays zero.
 * - The first layer's product with the next sample x' uses W from before the step, overlaps with
 *   the step, and is corrected once the step is known: with W <- W - x s, b <- b - s, z' = (W x' +
 *   b) - s (x x' + 1). All steps of a call but its first do so.
 * - For samples that are mostly zeros the first layer visits the rows of the non-zero inputs only,
 *   indexed during the previous step.
 * - Layers of one vector stay in registers between layers.
 * - Softmax subtracts the largest logit only if a logit is so large that an exponential could
 *   overflow or a probability become subnormal, which costs a hundred cycles.
 *
 * Deleting this file, its lines in kernels.h, fused.h and table.h and engine/fused.pxi with its
 * rows of STEPPERS leaves the general path, with the same results to rounding. (fused_minibatch.h
 * and fused_predict.h use its layers and add_rows.) */

/* sum += x[0] row 0 of w + x[1] row 1 + ... for m rows of one vector, with x in lanes. Two or four
 * chains hide latency. */
static INLINE V FN(add_lanes_unrolled)(const int m, const real *w, V x, V sum) {
    const int chains = m <= 1 ? 1 : m <= 4 ? 2 : 4;
    V part[4];
    part[0] = sum;
    UNROLLED_FOR(k, m) {
        V term = FN(set)(x[k]);
        const int chain = chains == 2 ? k >= m / 2 : k % chains,
                  begins = chain > 0 && k == (chains == 2 ? m / 2 : chain);
        if (begins) part[chain] = FN(load)(w + k * LANES) * term;
        else part[chain] += FN(load)(w + k * LANES) * term;
    }
    if (chains == 1) return part[0];
    if (chains == 2) return part[0] + part[1];
    return (part[0] + part[1]) + (part[2] + part[3]);
}

static INLINE V FN(add_lanes)(nn_index m, const real *w, V x, V sum) {
#define CASE(M) case M: return FN(add_lanes_unrolled)(M, w, x, sum);
    switch (m) {
    CASE(1)
#if LANES > 2
    CASE(2) CASE(3)
#endif
#if LANES > 4
    CASE(4) CASE(5) CASE(6) CASE(7)
#endif
#if LANES > 8
    CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14) CASE(15)
#endif
    default: return FN(add_lanes_unrolled)(LANES, w, x, sum);
    }
#undef CASE
}

/* sum[v] += x[k] w[k] for k < m. Several chains hide the latency of the multiply-add. */
static INLINE void FN(add_rows)(const int nv, nn_index m, const real *w, const real *x, V *sum) {
    const int chains = nv == 1 ? 4 : nv == 2 ? 2 : 1;
    V more[3][FUSED_VECTORS];
    UNROLLED_FOR(c, chains - 1)
        UNROLLED_FOR(v, nv) more[c][v] = (V){0};
    nn_index k = 0;
    for (; k + chains <= m; k += chains)
        UNROLLED_FOR(c, chains)
            UNROLLED_FOR(v, nv) {
                V *to = c == 0 ? &sum[v] : &more[c - 1][v];
                *to += FN(load)(w + ((k + c) * nv + v) * LANES) * x[k + c];
            }
    for (; k < m; k++)
        UNROLLED_FOR(v, nv) sum[v] += FN(load)(w + (k * nv + v) * LANES) * x[k];
    UNROLLED_FOR(c, chains - 1)
        UNROLLED_FOR(v, nv) sum[v] += more[c][v];
}

/* add_rows and subtract_rows for the rows k in index[0 .. m - 1]. */
static INLINE void FN(add_indexed)(const int nv, nn_index m, const int32_t *index, const real *w,
                                   const real *x, V *sum) {
    V more[FUSED_VECTORS];
    nn_index i = 0;
    UNROLLED_FOR(v, nv) more[v] = (V){0};
    for (; i + 2 <= m; i += 2)
        UNROLLED_FOR(v, nv) {
            sum[v] += FN(load)(w + (index[i] * nv + v) * LANES) * x[index[i]];
            more[v] += FN(load)(w + (index[i + 1] * nv + v) * LANES) * x[index[i + 1]];
        }
    for (; i < m; i++)
        UNROLLED_FOR(v, nv) sum[v] += FN(load)(w + (index[i] * nv + v) * LANES) * x[index[i]];
    UNROLLED_FOR(v, nv) sum[v] += more[v];
}

static INLINE void FN(subtract_indexed)(const int nv, nn_index m, const int32_t *index, real *w,
                                        const real *x, const V *step) {
    for (nn_index i = 0; i < m; i++)
        UNROLLED_FOR(v, nv) {
            real *row = w + (index[i] * nv + v) * LANES;
            FN(store)(row, FN(load)(row) - step[v] * x[index[i]]);
        }
}

/* w[k] -= x[k] step for k < m. */
static INLINE void FN(subtract_rows)(const int nv, nn_index m, real *w, const real *x,
                                     const V *step) {
    for (nn_index k = 0; k < m; k++)
        UNROLLED_FOR(v, nv) {
            real *row = w + (k * nv + v) * LANES;
            FN(store)(row, FN(load)(row) - step[v] * x[k]);
        }
}

/* back[v] = sum of dz[j] wt[j] and wt[j] -= step[j] a for j < n, in one pass. */
static INLINE void FN(back_rows)(const int nv, nn_index n, real *wt, const real *dz,
                                 const real *step, const V *a, V *back) {
    V more[FUSED_VECTORS];
    nn_index j = 0;
    UNROLLED_FOR(v, nv) back[v] = more[v] = (V){0};
#define ROW(to, j)                               \
    UNROLLED_FOR(v, nv) {                        \
        real *row = wt + ((j) * nv + v) * LANES; \
        V old = FN(load)(row);                   \
        to[v] += old * dz[j];                    \
        FN(store)(row, old - a[v] * step[j]);    \
    }
    for (; j + 2 <= n; j += 2) {
        ROW(back, j)
        ROW(more, j + 1)
    }
    if (j < n) ROW(back, j)
#undef ROW
    UNROLLED_FOR(v, nv) back[v] += more[v];
}

/* x x' + 1 */
static INLINE real FN(gram)(nn_index m, const real *x, const real *next) {
    V sum = {0};
    nn_index k = 0;
    for (; k + LANES <= m; k += LANES) sum += FN(load)(x + k) * FN(load)(next + k);
    if (k < m) sum += FN(load_part)(x + k, m - k) * FN(load_part)(next + k, m - k);
    return FN(sum_all)(sum)[0] + 1;
}

/* dz <- (sum of y) softmax(z) - y over nv vectors, 0 beyond the n classes. See labels.h for the
 * factor. */
static INLINE void FN(fused_softmax)(const int nv, nn_index n, int plain, const V *z, const real *y,
                                     V *dz) {
    const real limit = C(40.0f, 340.0);
    V top, sum = {0}, labels[FUSED_VECTORS], label_sum = {0};
    I large = {0}, used[FUSED_VECTORS];
    for (int v = 0; v < nv; v++) {
        used[v] = FN(first)(n - v * LANES < LANES ? n - v * LANES : LANES);
        large |= ~((z[v] < limit) & (z[v] > -limit)) & used[v];
    }
    if (__builtin_expect(FN(any)(large), 0)) {
        top = FN(set)(-(real)INFINITY);
        for (int v = 0; v < nv; v++) top = FN(max)(top, FN(select)(used[v], z[v], top));
        top = FN(max_all)(top);
        for (int v = 0; v < nv; v++) dz[v] = FN(exp)(z[v] - top);
    } else
        for (int v = 0; v < nv; v++) dz[v] = FN(exp_within)(z[v]);
    for (int v = 0; v < nv; v++) sum += dz[v] = (V)((I)dz[v] & used[v]);
    const V total = FN(sum_all)(sum), scale = 1 / total;
    for (int v = 0; v < nv; v++) {
        labels[v] = FN(load_part)(y + v * LANES, n - v * LANES < LANES ? n - v * LANES : LANES);
        label_sum += labels[v];
    }
    const real weight = FN(gradient_weight)(plain, FN(sum_all)(label_sum)[0], n, y, 1);
    if (__builtin_expect(weight == 1, 1)) {
        for (int v = 0; v < nv; v++) {
            V p = nv == 1 ? dz[v] / total : dz[v] * scale;
            dz[v] = p - labels[v];
        }
    } else
        for (int v = 0; v < nv; v++) dz[v] = dz[v] / total * weight - labels[v];
}

#define BY_VECTORS(nv, CALL) \
    switch (nv) {            \
    case 1: { enum { NV = 1 }; CALL; break; } \
    case 2: { enum { NV = 2 }; CALL; break; } \
    case 3: { enum { NV = 3 }; CALL; break; } \
    default: { enum { NV = 4 }; CALL; break; } \
    }

/* one_vector: every layer is one vector; sparse: the samples are read through their non-zero index.
 * One function, although long: z, dz and step stay in registers from layer to layer and step to
 * step. */
static INLINE int FN(fused_sgd_vectors)(const nn_fused_sgd *s, const int one_vector,
                                        const int sparse) {
    const nn_index last = s->n_layers - 1;
    const nn_fused_layer *const first = &s->layers[0];
    const int first_nv = one_vector ? 1 : (int)first->vectors;
    V finite = {0}; /* becomes NaN once a logit is non-finite */
    V z[FUSED_VECTORS] = {{0}}, dz[FUSED_VECTORS], step[FUSED_VECTORS], next_z[FUSED_VECTORS];
    int32_t *index = s->nonzero_index,
            *next_index = sparse ? s->nonzero_index + first->m + 16 : NULL;
    nn_index n_nonzero = 0, next_n_nonzero = 0;
    for (nn_index t = 0; t < s->steps; t++) {
        const real *sample = (const real *)s->x + s->sample_index[t] * s->x_stride,
                   *y = (const real *)s->y + s->sample_index[t] * s->y_stride;
        const real *next = t + 1 < s->steps
                               ? (const real *)s->x + s->sample_index[t + 1] * s->x_stride
                               : sample;
        const real eta = (real)s->rates[t];
#define FIRST_PRODUCT(x, to)                                                                   \
    for (int v = 0; v < first_nv; v++) to[v] = FN(load)((real *)first->b + v * LANES);         \
    if (sparse) next_n_nonzero = FN(nonzero_index)(first->m, x, next_index);                   \
    if (one_vector && sparse)                                                                  \
        FN(add_indexed)(1, next_n_nonzero, next_index, first->w, x, to);                       \
    else if (one_vector)                                                                       \
        FN(add_rows)(1, first->m, first->w, x, to);                                            \
    else if (sparse)                                                                           \
        BY_VECTORS(first_nv, FN(add_indexed)(NV, next_n_nonzero, next_index, first->w, x, to)) \
    else                                                                                       \
        BY_VECTORS(first_nv, FN(add_rows)(NV, first->m, first->w, x, to))
#define SWAP_INDEXES                \
    do {                            \
        int32_t *other = index;     \
        index = next_index;         \
        next_index = other;         \
        n_nonzero = next_n_nonzero; \
    } while (0)
        if (t == 0) {
            FIRST_PRODUCT(sample, z)
            SWAP_INDEXES;
        }
        FIRST_PRODUCT(next, next_z)
        const real correction = eta * FN(gram)(first->m, sample, next);
        for (nn_index l = 0; l < last; l++) {
            const nn_fused_layer *layer = &s->layers[l], *after = layer + 1;
            const int nv = one_vector ? 1 : (int)layer->vectors,
                      after_nv = one_vector ? 1 : (int)after->vectors;
            real *b = after->b, *a = layer->a;
            V out = {0};
            for (int v = 0; v < nv; v++) {
                if (layer->z != layer->a) FN(store)((real *)layer->z + v * LANES, z[v]);
                out = FN(activation)(z[v], layer->activation.kind, (real)layer->activation.slope);
                FN(store)(a + v * LANES, out);
            }
            for (int v = 0; v < after_nv; v++) z[v] = FN(load)(b + v * LANES);
            if (one_vector) z[0] = FN(add_lanes)(after->m, after->w, out, z[0]);
            else BY_VECTORS(after_nv, FN(add_rows)(NV, after->m, after->w, a, z))
        }
        {
            const nn_fused_layer *layer = &s->layers[last];
            const int nv = one_vector ? 1 : (int)layer->vectors;
            real *b = layer->b;
            FN(fused_softmax)(nv, layer->n, s->plain, z, y, dz);
            for (int v = 0; v < nv; v++) {
                finite += z[v] * 0;
                step[v] = dz[v] * eta;
                FN(store)(b + v * LANES, FN(load)(b + v * LANES) - step[v]);
            }
        }
        for (nn_index l = last; l > 0; l--) {
            const nn_fused_layer *layer = &s->layers[l], *before = layer - 1;
            const int nv = one_vector ? 1 : (int)layer->vectors,
                      mv = one_vector ? 1 : (int)before->vectors;
            real *dz_scalars = layer->dz, *steps = layer->step, *b = before->b;
            const real *a = before->a;
            V back[FUSED_VECTORS], inputs[FUSED_VECTORS];
            for (int v = 0; v < nv; v++) {
                if (!one_vector) FN(store)(dz_scalars + v * LANES, dz[v]);
                FN(store)(steps + v * LANES, step[v]);
            }
            for (int v = 0; v < mv; v++) inputs[v] = FN(load)(a + v * LANES);
            if (one_vector) {
                back[0] = FN(add_lanes)(layer->n, layer->wt, dz[0], (V){0});
                FN(subtract_rows)(1, layer->n, layer->wt, steps, inputs);
                FN(subtract_rows)(1, layer->m, layer->w, a, step);
            } else {
                BY_VECTORS(mv,
                           FN(back_rows)(NV, layer->n, layer->wt, dz_scalars, steps, inputs, back))
                BY_VECTORS(nv, FN(subtract_rows)(NV, layer->m, layer->w, a, step))
            }
            for (int v = 0; v < mv; v++) {
                const V u = before->z == before->a ? inputs[v]
                                                   : FN(load)((real *)before->z + v * LANES);
                dz[v] = FN(derivative)(back[v], u, before->activation.kind,
                                       (real)before->activation.slope);
                step[v] = dz[v] * eta;
                FN(store)(b + v * LANES, FN(load)(b + v * LANES) - step[v]);
            }
        }
        for (int v = 0; v < first_nv; v++) z[v] = next_z[v] - dz[v] * correction;
        if (one_vector && sparse)
            FN(subtract_indexed)(1, n_nonzero, index, first->w, sample, step);
        else if (one_vector)
            FN(subtract_rows)(1, first->m, first->w, sample, step);
        else if (sparse)
            BY_VECTORS(first_nv,
                       FN(subtract_indexed)(NV, n_nonzero, index, first->w, sample, step))
        else
            BY_VECTORS(first_nv, FN(subtract_rows)(NV, first->m, first->w, sample, step))
        SWAP_INDEXES;
    }
    return FN(sum_all)(finite)[0] == 0;
}
#undef FIRST_PRODUCT
#undef SWAP_INDEXES

static int FN(fused_sgd)(const nn_fused_sgd *s) {
    int one_vector = 1;
    for (nn_index l = 0; l < s->n_layers; l++)
        one_vector = one_vector && s->layers[l].vectors == 1;
    if (s->nonzero_index)
        return one_vector ? FN(fused_sgd_vectors)(s, 1, 1) : FN(fused_sgd_vectors)(s, 0, 1);
    return one_vector ? FN(fused_sgd_vectors)(s, 1, 0) : FN(fused_sgd_vectors)(s, 0, 0);
}

#undef BY_VECTORS
