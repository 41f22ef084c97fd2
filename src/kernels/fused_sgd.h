/* SGD at batch size 1 on networks whose layers fit one vector each, many steps per call: the special
 * path "fused-sgd" of the engine, which takes larger networks and other rules by fused_steps.h.
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
 * - z, dz and the step stay in registers from layer to layer and from step to step.
 * - Softmax subtracts the largest logit only if a logit is so large that an exponential could
 *   overflow or a probability become subnormal, which costs a hundred cycles.
 *
 * Deleting this file, fused_rows.h, fused_steps.h, their lines in kernels.h, fused.h and table.h and
 * engine/fused.pxi with its rows of STEPPERS leaves the general path, with the same results to
 * rounding. (fused_minibatch.h and fused_predict.h use its layers and add_rows.) */

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

/* sum += x[k] w[k] for the rows k in index[0 .. m - 1]. */
static INLINE V FN(add_indexed)(nn_index m, const int32_t *index, const real *w, const real *x,
                                V sum) {
    V more = {0};
    nn_index i = 0;
    for (; i + 2 <= m; i += 2) {
        sum += FN(load)(w + index[i] * LANES) * x[index[i]];
        more += FN(load)(w + index[i + 1] * LANES) * x[index[i + 1]];
    }
    for (; i < m; i++) sum += FN(load)(w + index[i] * LANES) * x[index[i]];
    return sum + more;
}

static INLINE void FN(subtract_indexed)(nn_index m, const int32_t *index, real *w, const real *x,
                                        V step) {
    for (nn_index i = 0; i < m; i++) {
        real *row = w + index[i] * LANES;
        FN(store)(row, FN(load)(row) - step * x[index[i]]);
    }
}

/* w[k] -= x[k] step for k < m. */
static INLINE void FN(subtract_rows)(nn_index m, real *w, const real *x, V step) {
    for (nn_index k = 0; k < m; k++) {
        real *row = w + k * LANES;
        FN(store)(row, FN(load)(row) - step * x[k]);
    }
}

/* x x' + 1 */
static INLINE real FN(gram)(nn_index m, const real *x, const real *next) {
    V sum = {0};
    nn_index k = 0;
    for (; k + LANES <= m; k += LANES) sum += FN(load)(x + k) * FN(load)(next + k);
    if (k < m) sum += FN(load_part)(x + k, m - k) * FN(load_part)(next + k, m - k);
    return FN(sum_all)(sum)[0] + 1;
}

/* One function, although long: z, dz and step stay in registers from layer to layer and step to
 * step. */
static NOINLINE int FN(fused_sgd_vectors)(const nn_fused_sgd *s) {
    const nn_index last = s->n_layers - 1;
    const nn_fused_layer *const first = &s->layers[0];
    real *const first_b = first->b, *const first_w = first->w;
    V bad = {0}; /* becomes NaN once a logit or a loss is non-finite */
    V z = {0}, dz = {0}, step = {0}, next_z;
    int32_t *index = s->nonzero_index,
            *next_index = index ? index + first->m + 16 : NULL;
    nn_index n_nonzero = 0, next_n_nonzero = 0;
    for (nn_index t = 0; t < s->steps; t++) {
        const real *sample = (const real *)s->x + s->sample_index[t] * s->x_stride,
                   *y = (const real *)s->y + s->label_index[t] * s->y_stride;
        const real *next = t + 1 < s->steps
                               ? (const real *)s->x + s->sample_index[t + 1] * s->x_stride
                               : sample;
        const real eta = (real)s->rates[t];
#define FIRST_PRODUCT(x, to)                                                     \
    if (index) {                                                                 \
        next_n_nonzero = FN(nonzero_index)(first->m, x, next_index);             \
        to = FN(add_indexed)(next_n_nonzero, next_index, first_w, x, FN(load)(first_b)); \
    } else {                                                                     \
        to = FN(load)(first_b);                                                  \
        FN(add_rows)(1, first->m, first_w, x, &to);                              \
    }
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
            if (layer->z != layer->a) FN(store)(layer->z, z);
            const V out =
                FN(activation)(z, layer->activation.kind, (real)layer->activation.slope);
            FN(store)(layer->a, out);
            z = FN(add_lanes)(after->m, after->w, out, FN(load)(after->b));
        }
        {
            const nn_fused_layer *layer = &s->layers[last];
            real *b = layer->b;
            if (s->logits) FN(store_part)((real *)s->logits + t * layer->n, z, layer->n);
            if (s->loss == NN_NLL) {
                FN(fused_softmax)(1, layer->n, s->plain, &z, y, &dz);
                bad += z * 0;
            } else
                bad += FN(fused_loss)(s, layer->n, z, y, &dz) * 0;
            step = dz * eta;
            FN(store)(b, FN(load)(b) - step);
        }
        for (nn_index l = last; l > 0; l--) {
            const nn_fused_layer *layer = &s->layers[l], *before = layer - 1;
            real *b = before->b;
            const real *a = before->a;
            FN(store)(layer->step, step);
            const V inputs = FN(load)(a);
            const V back = FN(add_lanes)(layer->n, layer->wt, dz, (V){0});
            FN(subtract_rows)(layer->n, layer->wt, layer->step, inputs);
            FN(subtract_rows)(layer->m, layer->w, a, step);
            const V u = before->z == before->a ? inputs : FN(load)(before->z);
            dz = FN(derivative)(back, u, before->activation.kind,
                                (real)before->activation.slope);
            step = dz * eta;
            FN(store)(b, FN(load)(b) - step);
        }
        z = next_z - dz * correction;
        if (index) FN(subtract_indexed)(n_nonzero, index, first_w, sample, step);
        else FN(subtract_rows)(first->m, first_w, sample, step);
        SWAP_INDEXES;
    }
    return FN(sum_all)(bad)[0] == 0;
}
#undef FIRST_PRODUCT
#undef SWAP_INDEXES

static int FN(fused_sgd)(const nn_fused_sgd *s) {
    return s->two_copies ? FN(fused_sgd_vectors)(s) : FN(fused_steps)(s);
}
