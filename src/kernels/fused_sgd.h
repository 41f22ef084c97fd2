/* Stochastic gradient descent on networks of a few vectors a layer, many steps a call: a special
 * path of the network program.
 *
 * A step is a chain of a few hundred cycles of latency; everything that can is kept off the chain.
 * - Every layer's W is kept twice, W (m, n) and its transpose (n, m), rows padded to whole vectors,
 * and both are updated: then the forward product and the product back are the same routine, sums of
 * scaled rows, and no sum runs across lanes. The two stay equal to the last bit, as both subtract
 * the product of the same two numbers. Padding is zero and stays zero.
 * - The first layer's product with the next sample x' is taken with W as it is before the step,
 * beside the step, and corrected when the step is known: with W <- W - x s, b <- b - s, z' = (W x'
 * + b) - s (x x' + 1). All steps of a call but its first do so.
 * - Of samples that are mostly zeros the first layer visits only the rows of their other inputs,
 * listed beside the step before.
 * - Layers of one vector stay in registers between layers.
 * - Softmax subtracts the largest logit only where one is so large that an exponential could
 * overflow, or a probability become subnormal, which costs a hundred cycles.
 *
 * Deleting this file, its lines in kernels.h and table.h and engine/fused.pxi with its rows
 * of STEPPERS leaves the general path, with the same results. */

/* sum += x[0] row 0 of w + x[1] row 1 + ... for m rows of one vector, x in lanes; two or four
 * chains hide latency */
static INLINE V FN(add_lanes_)(const int m, const real *w, V x, V sum) {
    const int chains = m <= 1 ? 1 : m <= 4 ? 2 : 4;
    V part[4];
    part[0] = sum;
UNROLLED
    for (int k = 0; k < m; k++) {
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
#define CASE(M) case M: return FN(add_lanes_)(M, w, x, sum);
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
    default: return FN(add_lanes_)(LANES, w, x, sum);
    }
#undef CASE
}

/* sum[v] += row k of w times x[k], for k < m; several chains hide the latency of the multiply-add
 */
static INLINE void FN(add_rows)(const int nv, nn_index m, const real *w, const real *x, V *sum) {
    const int chains = nv == 1 ? 4 : nv == 2 ? 2 : 1;
    V more[3][FUSED_VECTORS];
    UNROLLED
    for (int c = 0; c < chains - 1; c++)
        UNROLLED
        for (int v = 0; v < nv; v++) more[c][v] = (V){0};
    nn_index k = 0;
    for (; k + chains <= m; k += chains)
        UNROLLED
        for (int c = 0; c < chains; c++)
            UNROLLED
            for (int v = 0; v < nv; v++) {
                V *to = c == 0 ? &sum[v] : &more[c - 1][v];
                *to += FN(load)(w + ((k + c) * nv + v) * LANES) * x[k + c];
            }
    for (; k < m; k++)
        UNROLLED
        for (int v = 0; v < nv; v++) sum[v] += FN(load)(w + (k * nv + v) * LANES) * x[k];
    UNROLLED
    for (int c = 0; c < chains - 1; c++)
        UNROLLED
        for (int v = 0; v < nv; v++) sum[v] += more[c][v];
}

/* add_rows and subtract_rows for the rows k in index[0 .. m - 1] alone */
static INLINE void FN(add_listed)(const int nv, nn_index m, const int32_t *index, const real *w,
                                  const real *x, V *sum) {
    V more[FUSED_VECTORS];
    nn_index i = 0;
    UNROLLED
    for (int v = 0; v < nv; v++) more[v] = (V){0};
    for (; i + 2 <= m; i += 2)
        UNROLLED
        for (int v = 0; v < nv; v++) {
            sum[v] += FN(load)(w + (index[i] * nv + v) * LANES) * x[index[i]];
            more[v] += FN(load)(w + (index[i + 1] * nv + v) * LANES) * x[index[i + 1]];
        }
    for (; i < m; i++)
        UNROLLED
        for (int v = 0; v < nv; v++)
            sum[v] += FN(load)(w + (index[i] * nv + v) * LANES) * x[index[i]];
    UNROLLED
    for (int v = 0; v < nv; v++) sum[v] += more[v];
}

static INLINE void FN(subtract_listed)(const int nv, nn_index m, const int32_t *index, real *w,
                                       const real *x, const V *step) {
    for (nn_index i = 0; i < m; i++)
        UNROLLED
        for (int v = 0; v < nv; v++) {
            real *at = w + (index[i] * nv + v) * LANES;
            FN(store)(at, FN(load)(at) - step[v] * x[index[i]]);
        }
}

/* row k of w -= x[k] step, for k < m */
static INLINE void FN(subtract_rows)(const int nv, nn_index m, real *w, const real *x,
                                     const V *step) {
    for (nn_index k = 0; k < m; k++)
        UNROLLED
        for (int v = 0; v < nv; v++) {
            real *at = w + (k * nv + v) * LANES;
            FN(store)(at, FN(load)(at) - step[v] * x[k]);
        }
}

/* back[v] += row j of wt times dz[j] and row j of wt -= step[j] a, for j < n, in one pass */
static INLINE void FN(back_rows)(const int nv, nn_index n, real *wt, const real *dz,
                                 const real *step, const V *a, V *back) {
    V more[FUSED_VECTORS];
    nn_index j = 0;
    UNROLLED
    for (int v = 0; v < nv; v++) back[v] = more[v] = (V){0};
#define ROW(to, j)                                              \
    UNROLLED                                                    \
    for (int v = 0; v < nv; v++) {                              \
        real *at = wt + ((j) * nv + v) * LANES;                 \
        V row = FN(load)(at);                                   \
        to[v] += row * dz[j];                                   \
        FN(store)(at, row - a[v] * step[j]);                    \
    }
    for (; j + 2 <= n; j += 2) {
        ROW(back, j)
        ROW(more, j + 1)
    }
    if (j < n) ROW(back, j)
#undef ROW
    UNROLLED
    for (int v = 0; v < nv; v++) back[v] += more[v];
}

/* x x' + 1 */
static INLINE real FN(gram)(nn_index m, const real *x, const real *next) {
    V sum = {0};
    nn_index k = 0;
    for (; k + LANES <= m; k += LANES) sum += FN(load)(x + k) * FN(load)(next + k);
    if (k < m) sum += FN(load_part)(x + k, m - k) * FN(load_part)(next + k, m - k);
    return FN(sum_all)(sum)[0] + 1;
}

/* dz <- weight softmax(z) - y over nv vectors, 0 beyond the n classes. */
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

static INLINE int FN(fused_sgd_vectors)(const nn_fused_sgd *s, const int only, const int lists) {
    const nn_index last = s->count - 1;
    const nn_fused_layer *const first = &s->layers[0];
    const int first_nv = only ? 1 : (int)first->vectors;
    V finite = {0}; /* becomes NaN once a logit is not finite */
    V z[FUSED_VECTORS] = {{0}}, dz[FUSED_VECTORS], step[FUSED_VECTORS], ahead[FUSED_VECTORS];
    int32_t *index = s->nonzero_index, *next_index = lists ? s->nonzero_index + first->m + 16
                                                      : NULL; /* of the sample, of the next */
    nn_index listed = 0, next_listed = 0;
    for (nn_index t = 0; t < s->steps; t++) {
        const real *sample = (const real *)s->x + s->draws[t] * s->x_stride,
                   *y = (const real *)s->y + s->draws[t] * s->y_stride;
        const real *next =
            t + 1 < s->steps ? (const real *)s->x + s->draws[t + 1] * s->x_stride : sample;
        const real eta = (real)s->rates[t];
#define FIRST_PRODUCT(x, to)                                                                \
    for (int v = 0; v < first_nv; v++) to[v] = FN(load)((real *)first->b + v * LANES);      \
    if (lists) next_listed = FN(nonzero_index)(first->m, x, next_index);                     \
    if (only && lists)                                                                      \
        FN(add_listed)(1, next_listed, next_index, first->w, x, to);                       \
    else if (only)                                                                          \
        FN(add_rows)(1, first->m, first->w, x, to);                                         \
    else if (lists)                                                                         \
        BY_VECTORS(first_nv, FN(add_listed)(NV, next_listed, next_index, first->w, x, to)) \
    else                                                                                    \
        BY_VECTORS(first_nv, FN(add_rows)(NV, first->m, first->w, x, to))
#define TURN_LISTS               \
    do {                         \
        int32_t *other = index; \
        index = next_index;    \
        next_index = other;     \
        listed = next_listed;    \
    } while (0)
        if (t == 0) {
            FIRST_PRODUCT(sample, z)
            TURN_LISTS;
        }
        FIRST_PRODUCT(next, ahead)
        const real correction = eta * FN(gram)(first->m, sample, next);
        for (nn_index l = 0; l < last; l++) {
            const nn_fused_layer *layer = &s->layers[l], *after = layer + 1;
            const int nv = only ? 1 : (int)layer->vectors,
                      after_nv = only ? 1 : (int)after->vectors;
            real *b = after->b, *a = layer->a;
            V out = {0};
            for (int v = 0; v < nv; v++) {
                if (layer->z != layer->a) FN(store)((real *)layer->z + v * LANES, z[v]);
                out = FN(activation)(z[v], layer->activation.kind, (real)layer->activation.slope);
                FN(store)(a + v * LANES, out);
            }
            for (int v = 0; v < after_nv; v++) z[v] = FN(load)(b + v * LANES);
            if (only) z[0] = FN(add_lanes)(after->m, after->w, out, z[0]);
            else BY_VECTORS(after_nv, FN(add_rows)(NV, after->m, after->w, a, z))
        }
        {
            const nn_fused_layer *layer = &s->layers[last];
            const int nv = only ? 1 : (int)layer->vectors;
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
            const int nv = only ? 1 : (int)layer->vectors, mv = only ? 1 : (int)before->vectors;
            real *dz_scalars = layer->dz, *steps = layer->step, *b = before->b;
            const real *a = before->a;
            V back[FUSED_VECTORS], inputs[FUSED_VECTORS];
            for (int v = 0; v < nv; v++) {
                if (!only) FN(store)(dz_scalars + v * LANES, dz[v]);
                FN(store)(steps + v * LANES, step[v]);
            }
            for (int v = 0; v < mv; v++) inputs[v] = FN(load)(a + v * LANES);
            if (only) {
                back[0] = FN(add_lanes)(layer->n, layer->wt, dz[0], (V){0});
                FN(subtract_rows)(1, layer->n, layer->wt, steps, inputs);
                FN(subtract_rows)(1, layer->m, layer->w, a, step);
            } else {
                BY_VECTORS(mv,
                           FN(back_rows)(NV, layer->n, layer->wt, dz_scalars, steps, inputs, back))
                BY_VECTORS(nv, FN(subtract_rows)(NV, layer->m, layer->w, a, step))
            }
            for (int v = 0; v < mv; v++) {
                const V u = before->z == before->a ? inputs[v] : FN(load)((real *)before->z + v * LANES);
                dz[v] = FN(derivative)(back[v], u, before->activation.kind,
                                       (real)before->activation.slope);
                step[v] = dz[v] * eta;
                FN(store)(b + v * LANES, FN(load)(b + v * LANES) - step[v]);
            }
        }
        for (int v = 0; v < first_nv; v++) z[v] = ahead[v] - dz[v] * correction;
        if (only && lists) FN(subtract_listed)(1, listed, index, first->w, sample, step);
        else if (only) FN(subtract_rows)(1, first->m, first->w, sample, step);
        else if (lists)
            BY_VECTORS(first_nv, FN(subtract_listed)(NV, listed, index, first->w, sample, step))
        else BY_VECTORS(first_nv, FN(subtract_rows)(NV, first->m, first->w, sample, step))
        TURN_LISTS;
    }
    return FN(sum_all)(finite)[0] == 0;
}
#undef FIRST_PRODUCT
#undef TURN_LISTS

static int FN(fused_sgd)(const nn_fused_sgd *s) {
    int only = 1;
    for (nn_index l = 0; l < s->count; l++) only = only && s->layers[l].vectors == 1;
    if (s->nonzero_index) return only ? FN(fused_sgd_vectors)(s, 1, 1) : FN(fused_sgd_vectors)(s, 0, 1);
    return only ? FN(fused_sgd_vectors)(s, 1, 0) : FN(fused_sgd_vectors)(s, 0, 0);
}

#undef BY_VECTORS
